"""Where a chart comes from on the page: upload, clipboard or camera, a random one, a thumbnail; components alone."""

import gradio as gr

from chartqa_demo.data.splits import Split
from chartqa_demo.ui.compare.cards.answers import OWN_CHART, thumbnails
from chartqa_demo.ui.compare.charts import gallery_of, split_in_words
from chartqa_demo.ui.markup import PICK_JS


class Charts:
    """The components, built where it is called, in the order of reading. examples: what is drawn and shown from."""

    def __init__(self, examples: Split) -> None:
        self.thumbnails = gallery_of(examples)
        self.notice = gr.HTML(
            js_on_load="takeCharts(element, trigger);", elem_id="chart-notice", apply_default_css=False
        )
        self.image = gr.Image(
            label="Chart",
            type="filepath",
            image_mode=None,
            format="png",
            sources=["upload", "clipboard", "webcam"],
            buttons=["fullscreen"],
            interactive=True,
            alt_text="The chart you are asking about",
            elem_id="chart",
        )
        gr.HTML(OWN_CHART, apply_default_css=False)
        with gr.Row(elem_id="random-row"):
            self.kind = gr.Radio(
                ["any", "human", "machine"],
                value="any",
                label=f"From {split_in_words(examples)}, questions by",
                elem_id="kind",
                elem_classes="plain",
                min_width=240,
            )
            self.random = gr.Button("Random chart", elem_id="random", min_width=140, scale=0)
        self.strip = gr.HTML(
            thumbnails([(picture, example.question) for example, picture in self.thumbnails]),
            js_on_load=PICK_JS,
            elem_id="examples",
            apply_default_css=False,
        )

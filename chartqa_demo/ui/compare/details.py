"""What each arm was told, and what can be changed about a question: folded up below the answers."""

import gradio as gr

from chartqa_demo.arms import PROMPTED
from chartqa_demo.engines import Engine, Options
from chartqa_demo.settings import Settings
from chartqa_demo.ui.compare.question import MAX_TEMPERATURE, SETTINGS
from chartqa_demo.ui.compare.table import TablePart
from chartqa_demo.ui.events import QUICK, Updates

PIXEL_LIMITS = (100_352, 200_704, 401_408, 802_816, 1_003_520)  # 128 to 1,280 image tokens of 784 pixels


class Details:
    """The components, built where it is called. `settings` holds them in the order of `read_question`."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.table = TablePart(engine, settings)
        with gr.Accordion("The exact prompt of each arm", open=False, elem_id="prompts"):
            self.prompts = [
                gr.Textbox(
                    label=arm.title,
                    value="Ask a question, and the exact text that this arm received appears here.",
                    lines=3,
                    max_lines=30,
                    interactive=False,
                    buttons=["copy"],
                    elem_id=f"prompt-{arm.key}",
                    elem_classes="prompt",
                )
                for arm in engine.arms
            ]
        with gr.Accordion("System message of the prompted arm", open=False, elem_id="system-settings"):
            self.system = gr.Textbox(
                value=PROMPTED.system,
                label="System message",
                info="It changes the prompted arm alone: the adapter keeps the message it was trained with, and the "
                "pretrained arm has none of ours. Empty leaves the default of the model's chat template.",
                lines=3,
                max_lines=10,
                elem_id="system",
            )
            self.reset_button = gr.Button("Reset", elem_id="reset-system", size="sm")
        with gr.Accordion("Generation settings", open=False, elem_id="generation"), gr.Row():
            self.max_new_tokens = gr.Slider(
                1,
                settings.most_new_tokens,
                value=settings.max_new_tokens,
                step=1,
                label="Max new tokens",
                info="longest answer",
                elem_id="max-new-tokens",
            )
            self.temperature = gr.Slider(
                0, MAX_TEMPERATURE, value=0, step=0.1, label="Temperature", info="0 is greedy", elem_id="temperature"
            )
            self.max_pixels = gr.Dropdown(
                [("As the model is served", 0), *((f"{pixels:,} pixels", pixels) for pixels in PIXEL_LIMITS)],
                value=0,
                label="Pixel limit",
                info="larger charts are shrunk to it",
                elem_id="max-pixels",
            )
            self.seed = gr.Number(
                value=None, precision=0, minimum=0, label="Seed", info="brings a sampled answer back", elem_id="seed"
            )
        self.settings = [self.max_new_tokens, self.temperature, self.max_pixels, self.system, self.seed]

    def show(self, options: Options) -> Updates:
        """The settings of a question that was asked before."""
        usual = {"max_pixels": 0, "system": PROMPTED.system}
        values = [getattr(options, name) for name in SETTINGS]
        shown = [usual.get(name) if value is None else value for name, value in zip(SETTINGS, values, strict=True)]
        return dict(zip(self.settings, shown, strict=True))

    def connect(self, image: gr.Image) -> None:
        """Reset brings the system message back that the app comes with. image: the chart, for its table."""
        self.table.connect(image)
        self.reset_button.click(lambda: PROMPTED.system, None, self.system, **QUICK)

"""The HTML of the Compare tab: answer cards, chips, thumbnails. As in `ui.markup`, every text is escaped once."""

import json
from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from PIL import Image

from chartqa_demo.arms import Arm
from chartqa_demo.engines import Answer, Options
from chartqa_demo.evaluate.rules import Verdict
from chartqa_demo.ui.compare.cards.winner import winner_line
from chartqa_demo.ui.compare.history import Entry, Phase
from chartqa_demo.ui.compare.question import Question, why_cut
from chartqa_demo.ui.markup import confidence_mark, small_picture, verdict

OWN_CHART = (
    '<p class="own">Your own chart: <button type="button" data-own-chart>choose a file</button>, or drop or paste it '
    "anywhere on this page.</p>"
)
SHARE = (
    '<button type="button" data-copy="link">Copy link</button>'
    '<button type="button" data-copy="markdown">Copy as Markdown</button>'
    '<button type="button" data-image="copy">Copy as image</button>'
    '<button type="button" data-image="save">Save image</button>'
    '<button type="button" data-index="0" class="onward">Same question on the next chart <kbd>S</kbd></button>'
    '<p class="legend">Underlined: what one answer alone says.</p>'
    '<p class="private">Your own chart stays private, so there is no link to it.</p>'
)


def answer_card(
    arm: Arm,
    answer: Answer | None,
    phase: Phase,
    judged: Verdict | None = None,
    options: Options | None = None,
    marked: str | None = None,
) -> str:
    """One column: name, state, text, verdict, times. The parts keep their place from the first word to the last;
    marked: the text as HTML, see `differences`."""
    state, label = _state(answer, phase)
    if answer and options and (cut := why_cut(answer, options)):
        label = cut.capitalize()
    text = answer.text if answer else ""
    if text or state in ("running", "waiting"):
        body = f'<p class="answer" dir="auto">{escape(text) if marked is None else marked}</p>'
    elif state == "failed":
        body = ""
    elif state == "done":
        body = '<p class="empty">The model ended without a word.</p>'
    elif state == "stopped":
        body = '<p class="empty">Stopped before the first word.</p>'
    else:
        body = '<p class="empty">The answer appears here.</p>'
    if answer and answer.error:  # a server may break off behind half an answer
        body += f'<p class="failed">{escape(answer.error)}</p>'
    if answer and answer.recorded:
        body += f'<p class="recorded">{escape(answer.recorded)}</p>'
    copy = '<button type="button" class="copy">Copy</button>' if text and state in ("done", "stopped", "failed") else ""
    return (
        f'<article class="card" tabindex="-1" data-arm="{arm.key}" data-state="{state}" '
        f'aria-label="{escape(arm.title)}">'
        f'<header><h3>{escape(arm.title)}</h3><p class="about">{escape(arm.about)}</p>'
        f'{confidence_mark(answer.confidence if answer else None)}<span class="state">{label}</span></header>'
        f'<div class="body">{body}</div>'
        f'<div class="verdicts">{verdict(judged.standing, judged.told) if judged else ""}</div>'
        f"<footer>{_figures(answer)}<details><summary>Details</summary></details>{copy}</footer></article>"
    )


def asked_line(
    asked: Question | None = None,
    arms: Sequence[Arm] = (),
    judged: Sequence[Verdict | None] = (),
    kept: Entry | None = None,
    hidden: bool = False,
) -> str:
    """The question that the cards answer, its gold answer or why there is no verdict, and who is right; `kept` is what
    the browser keeps of it, `hidden` whether the gold answer is."""
    if asked is None:
        hint = '<p class="hint">Pick a chart, ask a question, and compare.</p>'
        return f'<div class="asked"><h2>Answers</h2>{hint}</div>'
    if asked.gold and hidden:
        told = "Gold answer hidden until you answer or vote."
    elif asked.gold:
        source = "yours" if asked.gold_from == "you" else asked.gold_from
        told = f"Gold answer {_gold(asked.gold)}{f' ({escape(source)})' if source else ''}"
        if asked.sampled:
            told += f"; {escape(asked.sampled_from)} {'say' if asked.sampled_from.endswith('s') else 'says'} "
            told += _gold(asked.sampled)
    else:
        told = "No gold answer is known, so there are answers and no verdicts."
    winner = escape(winner_line(arms, judged, asked.gold)) if asked.gold and not hidden else ""
    pinned = f'<img class="pinned" src="gradio_api/file={quote(str(asked.chart))}" alt="">'
    return (
        f'<div class="asked{" judged" if asked.gold else ""}" data-entry="{escape(json.dumps(kept))}" '
        f'data-done="{bool(kept and kept["done"])}" data-link="{escape(kept["link"] if kept else "")}" '
        f'data-hidden="{hidden}">{pinned}'
        f'<h2>Answers</h2><p class="question" dir="auto">{escape(asked.text)}</p>'
        f'<p class="gold">{told}</p><p class="winner">{winner}</p></div>'
    )


def followed_line(kind: str, number: int, total: int) -> str:
    """Where one is among the questions of an evaluation, and the way to the one before and behind; kind: "Question"."""
    ways = "".join(
        f'<button type="button" data-index="{index}">{words} <kbd>{key}</kbd></button>'
        for index, (words, key) in enumerate((("Previous", "P"), ("Next", "N")))
    )
    place = f"<span>{escape(kind)} <strong>{number:,}</strong> of {total:,}</span>"
    return f'<nav class="followed" aria-label="Questions of the evaluation">{place}{ways}</nav>'


def _gold(answers: Sequence[str]) -> str:
    return f"<strong>{escape(' or '.join(answers))}</strong>"


def chips(questions: Sequence[str], example: str = "", chart: str = "") -> str:
    """Questions that are asked with one click; `example` and `chart` are what a link and the history call the chart."""
    return (
        f'<div class="chips" data-example="{escape(example)}" data-name="{escape(chart)}">'
        + "".join(
            f'<button type="button" data-index="{index}">{escape(question)}</button>'
            for index, question in enumerate(questions)
        )
        + "</div>"
    )


def thumbnails(charts: Sequence[tuple[Image.Image, str]]) -> str:
    """One button per (chart, its first question), the pictures inside the page so that no file has to be served."""
    return (
        '<h2 class="label">Or start with one of these</h2><div class="strip">'
        + "".join(
            f'<button type="button" data-index="{index}" tabindex="{-1 if index else 0}">'
            f'<img src="{small_picture(image, 224, 160)}" alt="Example chart {index + 1}: {escape(question)}"></button>'
            for index, (image, question) in enumerate(charts)
        )
        + "</div>"
    )


def _state(answer: Answer | None, phase: Phase) -> tuple[str, str]:
    if answer and answer.error:
        return "failed", "Failed"
    if answer and answer.done:
        return "done", "Recorded" if answer.recorded else "Done"
    if phase == "running" and not (answer and answer.text):
        return "running", "Reading the chart"
    return phase, {
        "idle": "Ready",
        "waiting": "Waiting",
        "running": "Answering",
        "stopped": "Stopped",
        "done": "Done",
    }[phase]


def _figures(answer: Answer | None) -> str:
    first = "–" if answer is None or answer.first_token_s is None else f"{answer.first_token_s:.2f} s"
    total = "–" if answer is None or answer.total_s is None else f"{answer.total_s:.2f} s"
    tokens = "–" if answer is None else str(answer.tokens)
    return (
        "<dl>"
        + "".join(
            f"<div><dt>{name}</dt><dd>{value}</dd></div>"
            for name, value in (("First text", first), ("Total", total), ("Tokens", tokens))
        )
        + "</dl>"
    )

"""The HTML of the Compare tab: answer cards, chips, thumbnails. As in `ui.markup`, every text is escaped once."""

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import Literal

from PIL import Image

from chartqa_demo.arms import Arm
from chartqa_demo.engines import Answer
from chartqa_demo.evaluate.rules import Verdict
from chartqa_demo.ui.markup import verdict

Phase = Literal["idle", "waiting", "running", "stopped", "done"]

# One listener on the element that stays, since Gradio replaces what is inside it.
COPY_JS = """
element.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const answer = element.querySelector(".answer");
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(answer.textContent);
  } else {
    getSelection().selectAllChildren(answer);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});
"""


def answer_card(arm: Arm, answer: Answer | None, phase: Phase, judged: Verdict | None = None) -> str:
    """One column: name, state, text, verdict, times. The parts keep their place from the first word to the last."""
    state, label = _state(answer, phase)
    text = answer.text if answer else ""
    if text or state in ("running", "waiting"):
        body = f'<p class="answer" dir="auto">{escape(text)}</p>'
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
        f'<article class="card" data-state="{state}" aria-label="{escape(arm.title)}">'
        f'<header><h3>{escape(arm.title)}</h3><span class="state">{label}</span></header>'
        f'<p class="about">{escape(arm.about)}</p>'
        f'<div class="body">{body}</div>'
        f'<div class="verdicts">{_verdicts(judged)}</div>'
        f"<footer>{_figures(answer)}{copy}</footer></article>"
    )


def asked_line(question: str = "", gold: Sequence[str] = (), gold_from: str = "") -> str:
    """The question that the cards answer, and the gold answer or why there is no verdict."""
    if not question:
        told = '<p class="hint">Pick a chart, ask a question, and compare.</p>'
    elif gold:
        source = " (yours)" if gold_from == "you" else f" ({escape(gold_from)})" if gold_from else ""
        told = f'<p class="gold">Gold answer <strong>{escape(" or ".join(gold))}</strong>{source}</p>'
    else:
        told = '<p class="gold">No gold answer is known, so there are answers and no verdicts.</p>'
    asked = f'<p class="question" dir="auto">{escape(question)}</p>' if question else ""
    return f'<div class="asked"><h2>Answers</h2>{asked}{told}</div>'


def chips(questions: Sequence[str]) -> str:
    """Questions that are asked with one click."""
    return (
        '<div class="chips">'
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
            f'<button type="button" data-index="{index}">'
            f'<img src="{_small(image)}" alt="Example chart {index + 1}: {escape(question)}"></button>'
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


def _verdicts(judged: Verdict | None) -> str:
    if judged is None:
        return ""
    lines = verdict("Correct" if judged.correct else "Not correct", judged.correct, judged.reason)
    if judged.tolerant_reason is not None:
        name = "Correct when format is forgiven" if judged.tolerant else "Not correct under the tolerant rule"
        lines += verdict(name, judged.tolerant, judged.tolerant_reason)
    return lines


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


def _small(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((224, 160))
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()

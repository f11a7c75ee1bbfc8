"""HTML that several tabs share: notices, the banner, signs and verdicts. Every text passes `escape` here, once.

Gradio's own templates are not used for texts: it renders `{{value}}` with Handlebars and then evaluates the outcome as
a JavaScript template, so an answer holding `${...}` would run in the visitor's browser. Strings that were escaped in
Python and are handed to `gr.HTML` whole are not evaluated.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO

from PIL import Image

from chartqa_demo.errors import whole
from chartqa_demo.evaluate.rules import Standing

CHECK = "M13.5 4.5 6.5 11.5 2.5 7.5"
CROSS = "M4 4 12 12M12 4 4 12"
WAVE = "M2.5 9.5C4.5 5.5 6.5 5.5 8 8S11.5 10.5 13.5 6.5"

# Standing under both rules -> (words for a reader, class in the style sheets, sign).
STANDINGS: dict[Standing, tuple[str, str, str]] = {
    "right": ("Right", "good", CHECK),
    "other-form": ("Right, but not in ChartQA's form", "partly", WAVE),
    "only-canonical": ("Right by ChartQA's 5 % alone", "partly", WAVE),
    "wrong": ("Wrong", "bad", CROSS),
}

CONFIDENCE = ((0.9, "Sure"), (0.6, "Likely"), (0.0, "Unsure"))  # from this confidence on
MEASURED_ON = "Measured on generated charts; on real charts it is right less often than that."

# One listener on the element that stays, since Gradio replaces what is inside it.
PICK_JS = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-index]");
  if (!button) return;
  for (const one of element.querySelectorAll("[aria-current]")) one.removeAttribute("aria-current");
  if (button.closest(".items")) button.setAttribute("aria-current", "true");
  trigger("select", { index: Number(button.dataset.index) });
});
"""


def _text(words: str) -> str:
    """A text for a page, which takes no half of a pair: a file's name can hold one."""
    return escape(whole(words))


def status(told: str) -> str:
    """What a screen reader says when it changes."""
    return f'<p role="status">{_text(told)}</p>'


def notice(sentence: str) -> str:
    """What the visitor has to know now; empty without a sentence."""
    return f'<p class="notice" role="alert">{_text(sentence)}</p>' if sentence else ""


def hint(sentence: str) -> str:
    """Why there is nothing to see yet; what stands between backticks is a command."""
    marked = re.sub("`(.+?)`", r"<code>\1</code>", _text(sentence))
    return f'<p class="notice hint">{marked}</p>'


def done(sentence: str) -> str:
    """What the visitor asked for has happened."""
    return f'<p class="done" role="status">{_text(sentence)}</p>'


def page_head(title: str, about: str, links: Mapping[str, str]) -> str:
    """Title, what the page is, and what to read on (words -> address, opened in a tab of its own)."""
    told = "".join(
        f'<a href="{escape(address)}" target="_blank" rel="noopener">{escape(words)}</a>'
        for words, address in links.items()
    )
    told += '<button type="button" class="earlier">Your questions</button>'
    keys = '<button type="button" class="keys">Keys <kbd>?</kbd></button>'
    return (
        f'<header class="page-head"><h1>{escape(title)}</h1><p>{escape(about)}</p>'
        f'<p class="links">{told}{keys}</p></header>'
    )


def small_picture(image: Image.Image, width: int, height: int) -> str:
    """The picture, at most so large, as the address of an `img`: no file has to be served for it."""
    small, buffer = image.copy(), BytesIO()
    small.thumbnail((width, height))
    small.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def banner(title: str, notes: Sequence[str]) -> str:
    """Which model answers, and behind "Details" what a visitor may want to know about it."""
    model = f"<span>Model: <strong>{escape(title)}</strong></span>"
    if not notes:
        return f'<div class="banner"><p>{model}</p></div>'
    told = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f'<details class="banner"><summary>{model} <span class="more">Details</span></summary>{told}</details>'


def progress_bar(told: str, done: int, total: int) -> str:
    """How far an evaluation is, in words and as a bar."""
    share = 100 * done / total if total else 0
    return (
        f'<div class="progress"><div role="progressbar" aria-label="Questions asked" aria-valuemin="0" '
        f'aria-valuemax="{total}" aria-valuenow="{done}"><span style="width:{share:.1f}%"></span></div>'
        f"{status(told)}</div>"
    )


def standing_words(standing: Standing) -> str:
    """A verdict inside a sentence: "right, but not in ChartQA's form"."""
    words = STANDINGS[standing][0]
    return words[:1].lower() + words[1:]


def verdict(standing: Standing, reason: str, rule: str = "") -> str:
    """A verdict with its reason, as a line of its own; `rule` names the rule where it is that of one rule alone."""
    words, css, path = STANDINGS[standing]
    name = f"{words} ({rule})" if rule else words
    told = f'<strong>{escape(name)}</strong> <span class="reason">{escape(reason)}</span>'
    return f'<p class="verdict {css}">{_icon(path)}<span>{told}</span></p>'


def sign(standing: Standing, kind: str = "sign") -> str:
    """A verdict in a few words, inside a line; `kind` is its class in the style sheets."""
    words, css, path = STANDINGS[standing]
    return f'<span class="{kind} {css}">{_icon(path)}<span>{escape(words)}</span></span>'


def confidence_words(confidence: float) -> tuple[str, str]:
    """How sure an arm is, in a word, and what that word means."""
    word = next(word for least, word in CONFIDENCE if confidence >= least)
    return word, f"{100 * confidence:.0f} % likely to be right, by how sure the model was of each token. {MEASURED_ON}"


def confidence_mark(confidence: float | None) -> str:
    """The word with its figure behind it; its place is kept where nothing is known."""
    if confidence is None:
        return '<span class="confidence"></span>'
    word, told = confidence_words(confidence)
    return f'<span class="confidence {word.lower()}" title="{escape(told)}">{word}</span>'


def _icon(path: str) -> str:
    """A small drawn sign; the words beside it say the same."""
    return f'<svg viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d="{path}"/></svg>'

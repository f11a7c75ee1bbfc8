"""HTML that several tabs share: notices, the banner, signs and verdicts. Every text passes `escape` here, once.

Gradio's own templates are not used for texts: it renders `{{value}}` with Handlebars and then evaluates the outcome as
a JavaScript template, so an answer holding `${...}` would run in the visitor's browser. Strings that were escaped in
Python and are handed to `gr.HTML` whole are not evaluated.
"""

import re
from collections.abc import Sequence
from html import escape

CHECK = "M13.5 4.5 6.5 11.5 2.5 7.5"
CROSS = "M4 4 12 12M12 4 4 12"

# One listener on the element that stays, since Gradio replaces what is inside it.
PICK_JS = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-index]");
  if (button) trigger("select", { index: Number(button.dataset.index) });
});
"""


def status(told: str) -> str:
    """What a screen reader says when it changes."""
    return f'<p role="status">{escape(told)}</p>'


def notice(sentence: str) -> str:
    """What the visitor has to know now; empty without a sentence."""
    return f'<p class="notice" role="alert">{escape(sentence)}</p>' if sentence else ""


def hint(sentence: str) -> str:
    """Why there is nothing to see yet; what stands between backticks is a command."""
    marked = re.sub("`(.+?)`", r"<code>\1</code>", escape(sentence))
    return f'<p class="notice">{marked}</p>'


def done(sentence: str) -> str:
    """What the visitor asked for has happened."""
    return f'<p class="done" role="status">{escape(sentence)}</p>'


def banner(title: str, notes: Sequence[str]) -> str:
    """Which model answers and what a visitor has to know about it."""
    told = " ".join(f"<span>{escape(note)}</span>" for note in notes)
    return f'<div class="banner"><p>Model: <strong>{escape(title)}</strong></p><p>{told}</p></div>'


def progress_bar(told: str, done: int, total: int) -> str:
    """How far an evaluation is, in words and as a bar."""
    share = 100 * done / total if total else 0
    return (
        f'<div class="progress"><div role="progressbar" aria-label="Questions asked" aria-valuemin="0" '
        f'aria-valuemax="{total}" aria-valuenow="{done}"><span style="width:{share:.1f}%"></span></div>'
        f"{status(told)}</div>"
    )


def verdict(name: str, good: bool, reason: str) -> str:
    """A verdict with its reason, as a line of its own."""
    return (
        f'<p class="verdict {"good" if good else "bad"}">{_icon(good)}'
        f"<span><strong>{escape(name)}</strong> {escape(reason)}</span></p>"
    )


def sign(name: str, good: bool, kind: str = "sign") -> str:
    """A verdict in a word or two, inside a line; `kind` is its class in the style sheets."""
    return f'<span class="{kind} {"good" if good else "bad"}">{_icon(good)}<span>{escape(name)}</span></span>'


def _icon(good: bool) -> str:
    """A small drawn sign; the words beside it say the same."""
    path = CHECK if good else CROSS
    return f'<svg viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d="{path}"/></svg>'

"""What the page says in other languages: one JSON file of words for each, key -> text, beside the English one.

The code says every text once, in English; the file en.json gives these texts their keys, and a translation is found by
the English text. That is so because most of what the page says is no label: the server makes sentences with figures in
them (verdicts, banners, progress), scripts make the history. Gradio's i18n knows static texts only, and the request's
`Accept-Language` would have to be handed to every function that makes a sentence, which the API shares. So `gr.I18n`
carries the words to the browser, and `browser/words.js` puts them in the place of the English texts, wherever these
come from. What has no words stays English. Answers, questions, prompts and names are never translated.

A text may have placeholders: `{count…}` is a figure, `{arm…}` an arm's title, `{told…}` a text with words of its own,
any other name a text that stays as it is.
"""

import json
from functools import cache
from pathlib import Path

import gradio as gr

FOLDER = Path(__file__).parent


@cache
def words(language: str) -> dict[str, str]:
    """Key -> text of "en", "es", "fr" or "zh-CN", as Gradio names them."""
    return json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))


def languages() -> list[str]:
    """All that there are words of."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def page_words() -> gr.I18n:
    """English text -> text, for every other language; Gradio itself translates the choices of its lists with it."""
    english = words("en")
    others = (one for one in languages() if one != "en")
    return gr.I18n(**{one: {english[key]: text for key, text in words(one).items()} for one in others})

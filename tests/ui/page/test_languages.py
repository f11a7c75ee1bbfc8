"""The page in English, Spanish, French and Chinese: the words themselves, and what a browser of that language shows."""

import ast
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import product
from pathlib import Path

import pytest
from page_fixtures import Tab, Windows, expect, replies
from playwright.sync_api import Page

from chartqa_demo.adapters.runs import TrainingRun
from chartqa_demo.engines.scripted import ScriptedEngine
from chartqa_demo.evaluate.statistics import compare, in_words
from chartqa_demo.evaluate.tables import Figures
from chartqa_demo.ui.evaluate.scores import _counted
from chartqa_demo.ui.training.tab import standing
from chartqa_demo.ui.words import languages, words

pytest_plugins = ("page_fixtures",)

PACKAGE = Path(__file__).parents[3] / "chartqa_demo"
OTHERS = [one for one in languages() if one != "en"]
# What is the same in several languages, or a name.
SAME = {"Question", "Questions", "Notebook", "Tokens", "Pretrained", "Prompted", "Adapter", "canonical", "exact"}
SAME |= {"year-strict", "tolerant", "human", "machine", "bars", "Arm", "step"}
SAME |= {"validation 1.5"}  # the same word in French
SAME |= {"Texts are replayed word by word for work on the page; nothing reads the chart."}  # the engine's own note
READ = """() => {
  const said = [];
  const texts = document.createTreeWalker(document.querySelector("gradio-app"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { data, parentElement } = texts.currentNode;
    const theirs =
      "script, style, textarea, [dir=auto], [translate=no], #chips, .question, .answer, strong, .meta, kbd, code";
    if (/\\p{L}{3}/u.test(data) && parentElement.getClientRects().length && !parentElement.closest(theirs))
      said.push(data.trim());
  }
  for (const name of ["alt", "placeholder", "aria-label"])
    for (const one of document.querySelectorAll(`#workbench [${name}]`)) said.push(one.getAttribute(name));
  return said.filter(Boolean);
}"""


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"{(\w+)}", text))


def test_there_are_the_four_languages() -> None:
    assert languages() == ["en", "es", "fr", "zh-CN"]


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_every_key_with_the_same_placeholders(language: str) -> None:
    english, other = words("en"), words(language)
    assert list(other) == list(english)
    assert {key: placeholders(text) for key, text in other.items()} == {
        key: placeholders(text) for key, text in english.items()
    }
    assert all(text.strip() for text in other.values())


def test_an_english_text_has_one_key() -> None:
    texts = list(words("en").values())
    assert sorted(one for one in set(texts) if texts.count(one) > 1) == []


def said_by_the_code() -> Iterator[str]:
    """Every string of the package's Python, pieces of f-strings apart, and the text of what runs in the browser."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    yield from (path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.js"))


# What the code puts into its sentences by itself: numbers of things, arms, yes and no.
PUT_IN = (
    r"{\w+}|\b(?:Pretrained|Prompted|Adapter|rows?|tokens?|within|more than|and|Both|All three|found|None of the three"
)
PUT_IN += r"|only|none|pass|passes|yes|no|says?|stopped|arms?|all)\b"


def test_every_english_text_is_one_that_the_code_says() -> None:
    said = "\n".join(said_by_the_code()).lower()
    gone = {}
    for key, text in words("en").items():
        if key.startswith("gradio."):  # Gradio's own, that it says in English to everyone
            continue
        pieces = [one for part in re.split(PUT_IN, text, flags=re.I) for one in re.split(r"[;:,.] |[.:]$", part)]
        if missing := [one for one in pieces if one.strip(" .,:;()“”").lower() not in said]:
            gone[key] = missing
    assert gone == {}


@pytest.fixture
def visit(windows: Windows, app_url: str) -> Iterator[Callable[[str], Tab]]:
    tabs: list[Tab] = []

    def visit(locale: str) -> Tab:
        tab = Tab(windows(locale=locale), app_url)
        tabs.append(tab)
        tab.page.goto(app_url)
        expect(tab.card("Adapter")).to_be_visible(timeout=60_000)  # a new profile has no files of the page yet
        return tab

    yield visit
    for tab in tabs:
        tab.leave()


@pytest.fixture(scope="module")
def in_french(windows: Windows, scripted_app: tuple[ScriptedEngine, str]) -> Iterator[Page]:
    """A French page, for tests that do no more than ask its words."""
    tab = Tab(windows(locale="fr-FR"), scripted_app[1])
    tab.page.goto(tab.url)
    expect(tab.card("Adapter")).to_be_visible(timeout=60_000)
    yield tab.page
    tab.leave()


@pytest.mark.parametrize(
    ("locale", "language", "button", "answers", "verdict", "ready"),
    [
        pytest.param(
            *("fr-FR", "fr", "Demander", "Réponses", "Juste", "3 réponses prêtes : Pretrained faux; Prompted faux"),
            marks=pytest.mark.campaign,
        ),
        pytest.param(
            *("es-MX", "es", "Preguntar", "Respuestas", "Correcta", "3 respuestas listas: Pretrained incorrecta"),
            marks=pytest.mark.campaign,
        ),
        ("zh-TW", "zh-CN", "提问", "回答", "正确", "3 个回答已就绪：Pretrained 错误"),
    ],
)
def test_a_browser_of_a_language_gets_the_page_in_it(
    visit: Callable[[str], Tab],
    engine: ScriptedEngine,
    locale: str,
    language: str,
    button: str,
    answers: str,
    verdict: str,
    ready: str,
) -> None:
    engine.script = replies("Stopped.", "Right", "200")  # words of the page, said by a model
    tab = visit(locale)
    root = tab.page.locator("html")
    expect(root).to_have_attribute("lang", language)
    expect(root).to_have_attribute("dir", "ltr")
    expect(tab.page.locator("#asked h2")).to_have_text(answers)
    tab.page.locator("#examples button").first.click()
    expect(tab.page.locator("#question textarea")).to_have_value("How many visitors came in the fourth quarter?")
    tab.press(button)
    expect(tab.card("Adapter").locator(".verdict strong")).to_have_text(verdict)
    expect(tab.page.locator("#status")).to_contain_text(ready)
    assert [tab.answer(arm).inner_text() for arm in ("Pretrained", "Prompted", "Adapter")] == [
        "Stopped.",
        "Right",
        "200",
    ]
    assert tab.errors == []


def test_sentences_are_composed_and_what_a_model_said_in_them_stays(in_french: Page) -> None:
    said = {
        "All three found 1250; only Adapter wrote it as ChartQA wants.": (
            "Les trois ont trouvé 1250; seul Adapter l'a écrit comme le veut ChartQA."
        ),
        "All three came within 5 % of 217.81; Pretrained and Prompted within 5 %.": (
            "Les trois sont à moins de 5 % de 217.81; Pretrained et Prompted à moins de 5 %."
        ),
        "Stopped after 2 of 80 questions. Start with the same settings goes on.": (
            "Arrêté après 2 questions sur 80. « Démarrer » avec les mêmes réglages continue."
        ),
        "“Wrong; Right” is not “Stop. Ask”": "« Wrong; Right » n'est pas « Stop. Ask »",
        "The file has 31.5 MB; at most 20 MB can be read. Save it smaller.": (
            "Le fichier fait 31.5 Mo ; on peut en lire au plus 20 Mo. Enregistrez-le en plus petit."
        ),
        "The picture has 10,000 × 6,000 pixels; at most 50 million are read. Scale it down.": (
            "L'image a 10,000 × 6,000 pixels ; on en lit au plus 50 millions. Réduisez-la."
        ),
        "8 questions in a row failed, the last one with: Choose at least one arm.": (
            "8 questions de suite ont échoué, la dernière avec : Choisissez au moins un bras."
        ),
        "Recorded on 2026-11-29 by the bundled small Qwen2-VL with its adapter.": (
            "Enregistrée le 2026-11-29 par le petit Qwen2-VL fourni avec son adaptateur."
        ),
        "Recorded on 2026-11-29 by the bundled small Qwen2-VL with its adapter, not by the model of this page.": (
            "Enregistrée le 2026-11-29 par le petit Qwen2-VL fourni avec son adaptateur, "
            "pas par le modèle de cette page."
        ),
        "All arms are wrong": "All arms are wrong",  # no words for it
        "  Done ": "  Terminé ",
        "5 %": "5 %",
    }
    assert {text: in_french.evaluate("text => inWords(text)", text) for text in said} == said


def test_where_a_training_stands_is_said_in_every_form_of_the_sentence(in_french: Page) -> None:
    moments = [None, datetime(2026, 11, 29, tzinfo=timezone.utc), datetime.now(timezone.utc)]
    for epochs, updated in product([(None, None), (1.5, None), (1.5, 3.0)], moments):
        english = standing(TrainingRun("mine", "run", {}, 1240, *epochs, updated))
        french = in_french.evaluate("text => inWords(text)", english)
        assert french.startswith("Étape 1,240") and french.endswith(".")
        assert re.findall("Step|epoch|of|last|entry|ended", french) == []
        assert re.findall(r"[\d,.:-]{2,}", french) == re.findall(r"[\d,.:-]{2,}", english)


def forms() -> Iterator[str]:
    """Sentences of which parts can be missing, in every form."""
    for errors, failures, date in product(
        (0, 2), ({}, {"adapter": 3}, {"adapter": 3, "prompted": 1}), ("", "2026-11-29")
    ):
        settings = {"arms": {arm: {"title": arm.title()} for arm in ("adapter", "prompted")}, "date": date}
        yield _counted(Figures(settings, 40, 48, errors, {}, {}, failures))
    for good, charts in product(([1] * 9 + [0], [1] * 10, [1, 0] * 5), (["one"] * 10, [*"abcdefghij"])):
        for other in ([0] * 10, [1] * 10, [0, 1] * 5):
            yield in_words(compare(("Adapter", "Prompted"), [*map(bool, good)], [*map(bool, other)], charts)) + "."
    yield in_words(compare(("Adapter", "Prompted"), [], [], [])) + "."
    for arms, done in product(("1 arm", "3 arms"), ("", ", 8 of them asked already")):
        told = f"1,920 questions to {arms}{done}"
        lent = "The GPU is lent for about 20 s at a time, which counts against your daily quota; when that is used up, "
        for rest in (
            ".",
            ". How long it takes shows after the first batch.",
            ": about 3 min, as this model took 0.4 s per question before.",
        ):
            yield told + rest
            yield f"{told}{rest} {lent}Start goes on another day."
    for failed, rest in product(("", ", 2 of them failed"), (".", ". Stopping.", ", about 40 s left.")):
        yield f"12 of 48 questions{failed}{rest}"
    for said, wrong in product(("Adapter, accepted", "typed"), ("", " · the gold answer 12 is wrong")):
        yield f"{said}{wrong} · 2026-11-29 12:00"
    for rest in ("", "; 2 without a gold answer, asked and not scored", "; 1 left out, the first is a.csv: vide"):
        yield f"charts, all: 40 questions about 12 charts from a.csv (image, query, label){rest}."
    for shown in ("", "; the newest 50 are shown"):
        yield f"60 rows to train on in your browser{shown}."


def test_a_sentence_with_optional_parts_has_words_in_every_form(in_french: Page) -> None:
    said = list(forms())
    assert len(said) > 60
    told = in_french.evaluate("all => all.map(inWords)", said)
    left = (
        r"\b(of|them|to|for|not?|and|are|is|was|were|may|have|about|left|failed|the|arms?|when|which|typed|accepted)\b"
    )
    assert {one: ours for one, ours in zip(said, told, strict=True) if one == ours or re.search(left, ours)} == {}
    assert [re.findall(r"\d+", one) for one in said] == [re.findall(r"\d+", one) for one in told]


def read(page: Page) -> list[str]:
    """What the page says on every tab, once there are answers; not what models and visitors wrote."""
    page.locator("#examples button").first.click()
    expect(page.locator("#question textarea")).to_have_value("How many visitors came in the fourth quarter?")
    page.locator("#ask").click()
    expect(page.locator("[data-done=True]")).to_have_count(1)
    said = page.evaluate(READ)
    for tab in (1, 2):
        page.get_by_role("tab").nth(tab).click()
        page.wait_for_timeout(500)  # what the tab asks for when it opens
        said += page.evaluate(READ)
    return said


def test_nothing_that_the_page_says_stays_english(visit: Callable[[str], Tab]) -> None:
    english, french = (set(read(visit(locale).page)) for locale in ("en-US", "fr-FR"))
    assert len(english) > 80
    assert sorted((english & french) - SAME) == []


def test_a_browser_of_another_language_gets_english_that_says_so(visit: Callable[[str], Tab]) -> None:
    tab = visit("de-DE")
    expect(tab.page.locator("html")).to_have_attribute("lang", "en")
    expect(tab.page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    expect(tab.page.locator("#chart")).to_contain_text("Drop Image Here")  # Gradio's own words, too
    assert tab.errors == []

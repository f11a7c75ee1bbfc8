"""ChartQA's relaxed accuracy and three named variants, as pure functions of two strings.

"Relaxed accuracy" is not one rule: harnesses differ in percent signs, commas, years and whole sentences, so every
score names its rule. What surprises: under the canonical rule 2008 is right for 2010 and "62." is wrong for "62".
"""

import math
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

# Every rule with what a reader is told of it, in the order of the tables; `is_correct` has a line for each.
RULE_NOTES: dict[str, str] = {
    "canonical": "Relaxed accuracy as pix2struct, lmms-eval and VLMEvalKit compute it: numbers within 5 %, "
    "other answers equal but for letter case.",
    "exact": "The same text, letter case included (ChartQA's own code).",
    "year-strict": "Canonical, but an answer that is a year has to be that year.",
    "tolerant": "Year-strict, and format is forgiven: commas, currency, %, units, the final full stop, "
    "an answer given in a whole sentence.",
}
RULES: tuple[str, ...] = tuple(RULE_NOTES)

MAX_RELATIVE_CHANGE = 0.05
MOST_MARKERS = 100  # words behind which an answer is looked for: a model that repeats itself writes thousands
FAR_OFF = 10  # times the gold answer; beyond it a percentage says nothing to a reader

# What canonical and tolerant rule say together: both yes; only tolerant; only canonical (2008 for 2010); both no.
Standing = Literal["right", "other-form", "only-canonical", "wrong"]


@dataclass(frozen=True)
class Verdict:
    """What the canonical rule says, and the tolerant rule beside it.

    `reason` explains `correct`, `tolerant_reason` is there only where the rules differ; `told` explains both at once.
    near: it counts as right although the number is another one, within 5 %.
    """

    correct: bool
    reason: str
    tolerant: bool
    tolerant_reason: str | None
    gold: str
    told: str = ""
    near: bool = False

    @property
    def standing(self) -> Standing:
        """The two verdicts as one."""
        return standing(self.correct, self.tolerant)


def standing(correct: bool, tolerant: bool) -> Standing:
    """What the canonical and the tolerant verdict say together."""
    return ("right" if tolerant else "only-canonical") if correct else ("other-form" if tolerant else "wrong")


def is_correct(prediction: str, gold: str, rule: str = "canonical") -> bool:
    """Whether `prediction` is right for `gold` under one of `RULES`. Raises ValueError for another rule.

    canonical: google-research/pix2struct `relaxed_correctness`, which lmms-eval copies and VLMEvalKit too, but for
    a strip of spaces. exact: vis-nlp/ChartQA `evaluate_raw`. year-strict: canonical, but a gold answer from 1800
    to 2199 has to be met exactly. tolerant: see `tolerant_verdict`.
    """
    if rule == "canonical":
        return canonical_verdict(prediction, gold)[0]
    if rule == "exact":
        return prediction.strip() == gold.strip()
    if rule == "year-strict":
        if is_year(gold):
            return prediction.strip() == gold.strip()
        return canonical_verdict(prediction, gold)[0]
    if rule == "tolerant":
        return tolerant_verdict(prediction, gold)[0]
    raise ValueError(f"No scoring rule is called “{rule}”; the rules are {', '.join(RULES)}.")


def verdict(prediction: str, gold: str) -> Verdict:
    """The canonical verdict with its reason, and the tolerant one where it differs."""
    correct, reason = canonical_verdict(prediction, gold)
    tolerant, why = tolerant_verdict(prediction, gold)
    told = reason
    if tolerant != correct:
        told = f"{why}. ChartQA's own rule says {'yes' if correct else 'no'}: {reason}"
    elif not correct and prediction.strip() and _canonical_number(gold):
        # A person reads "$1,700" and "22%" otherwise than `float` and the division by 100 do.
        misread = _canonical_number(prediction) is None or prediction.endswith("%") != gold.endswith("%")
        told = why if misread else reason
    near = (correct or tolerant) and not _same(prediction, gold)
    return Verdict(correct, reason, tolerant, why if tolerant != correct else None, gold, told, near)


def best_verdict(prediction: str, golds: Sequence[str]) -> Verdict:
    """The verdict of the gold answer that serves the prediction best, as the canonical code does for several.

    Raises ValueError when `golds` is empty.
    """
    if not golds:
        raise ValueError("A verdict needs at least one gold answer.")
    return max((verdict(prediction, gold) for gold in golds), key=lambda one: (one.correct, one.tolerant))


def is_year(text: str) -> bool:
    """Whether a gold answer counts as a year: four digits from 1800 to 2199, the 147 golds of ChartQA's test split."""
    return re.fullmatch(r"(?:18|19|20|21)\d\d", text.strip()) is not None


# --- canonical -------------------------------------------------------------------------------------------------


def canonical_verdict(prediction: str, gold: str) -> tuple[bool, str]:
    """pix2struct's rule and the reason in words.

    Two numbers are compared with a tolerance of 5 % of the gold answer, a trailing % dividing by 100; a gold answer
    of zero, and anything that `float` cannot read, is compared as text without regard to letter case.
    """
    value, target = _canonical_number(prediction), _canonical_number(gold)
    if value is not None and target:
        change = abs(value - target) / abs(target)
        correct = change <= MAX_RELATIVE_CHANGE
        return correct, _numbers_in_words(prediction, gold, change)
    correct = prediction.lower() == gold.lower()
    return correct, _texts_in_words(prediction, gold, correct, target)


def _canonical_number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _numbers_in_words(prediction: str, gold: str, change: float) -> str:
    prediction, gold = _short(prediction.strip()), _short(gold.strip())
    if change == 0:
        return f"{gold} is the gold answer" if prediction == gold else f"{prediction} equals the gold answer {gold}"
    if not math.isfinite(change):
        return f"{prediction} against {gold}: not numbers that can be compared"
    within = "within" if change <= MAX_RELATIVE_CHANGE else "more than"
    if prediction.endswith("%") != gold.endswith("%"):
        one = prediction if prediction.endswith("%") else gold
        read = f"{one} is read as {_canonical_number(one):g}"
        return f"{prediction} against {gold}: {read}, {within} 5 %{'' if within == 'within' else ' off'}"
    if change > FAR_OFF:
        return f"{prediction} against {gold}: more than {FAR_OFF} times the gold answer away"
    percent = 100 * change
    # One decimal is enough except beside the limit, where "5.0 % off, more than 5 %" would puzzle a reader.
    off = f"{percent:.3f}" if abs(percent - 5) < 0.05 else f"{percent:,.1f}"
    off = "less than 0.1" if off == "0.0" else off
    return f"{prediction} against {gold}: {off} % off, {within} 5 %"


def _texts_in_words(prediction: str, gold: str, correct: bool, target: float | None) -> str:
    if correct:
        aside = "" if prediction == gold else ", letter case aside"
        return f"“{_short(gold)}” is the gold answer{aside}"
    if not prediction.strip():
        return f"no answer, the gold answer is “{_short(gold)}”"
    if target is None:
        return f"“{_short(prediction)}” is not “{_short(gold)}”"
    if target == 0:
        return f"“{_short(prediction)}” is not “{_short(gold)}” (a gold answer of zero is compared as text)"
    return f"“{_short(prediction)}” does not read as a number, the gold answer is {_short(gold)}"


def _short(text: str, limit: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


# --- tolerant --------------------------------------------------------------------------------------------------

# Scales are units, too, but two that differ are two values. "5g" is a network and "1990s" a decade, so not all is here.
_SCALES = {
    **dict.fromkeys(("k", "thousand"), "thousand"),
    **dict.fromkeys(("m", "mn", "mln", "million"), "million"),
    **dict.fromkeys(("b", "bn", "billion"), "billion"),
    **dict.fromkeys(("tn", "trn", "trillion"), "trillion"),
}
_UNITS = (
    *("k", "m", "mn", "mln", "b", "bn", "tn", "trn", "pp", "pts", "ppm"),
    *("kg", "mg", "km", "cm", "mm", "mt", "kt", "gt"),
    *("ml", "kwh", "mwh", "gwh", "twh", "kw", "mw", "gw", "tw", "kb", "mb", "gb", "tb", "lb", "lbs", "oz", "ft", "mi"),
    *("mph", "kmh", "hz", "khz", "mhz", "ghz", "hr", "hrs", "min", "mins", "sec", "yr", "yrs", "usd", "eur", "gbp"),
)
_NUMBER = re.compile(
    r"""(?<!\w) (?<!\w[-/]) (?<!\d[.,:])              # not inside 18-29, 2015/16, COVID-19, 3,4
    (?P<number> [-+]? [$€£¥₹]? \s? -?                 # sign and currency
      (?: \d{1,3}(?:,\d{3})+ | \d+ ) (?:\.\d+)? | -?\.\d+ )
    (?P<percent> \s?% | \s?percent\b )?
    (?: (?P<unit> {units} ) \b )?                      # attached units are dropped, as separate ones are
    (?! \w | [-/:.,]\d | [-/]\w )""".replace("{units}", "|".join(_UNITS)),
    re.VERBOSE,
)
_UNIT_AFTER = re.compile(rf"\s?(?P<unit>{'|'.join((*_UNITS, *_SCALES))})\b")
_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)")  # thousands divided by spaces of any kind
_OTHER = {"yes": r"\bno\b(?!\s+\w)", "no": r"\byes\b"}  # "no" before a word counts something: "no bar is higher"
_STATES = r"(?:is|are|was|were|equals?|has|have|had|shows?|reached|reaches|totals|totaled|amounts\ to|represents)"
_STATING = re.compile(rf"\b{_STATES}\b|[:=]")
_CONCLUSION = re.compile(r"\b(?:answer|therefore|thus|hence|so)\b|(?<=[\d)%])\s*=")
_NEGATION = re.compile(r"\b(?:not|never|cannot|neither|nor)\b|n't\b")
_ENUMERATES = re.compile(r"\s*(?:,|,?\s*(?:and|or|to)\b)\s*[-$€£¥₹]?\d")
_LEAD = re.compile(r"(?:in\s+(?=[12]\d{3}\s+(?:is|was|has|had)\s+the\b)|year\s+)?")
_GOES_ON = re.compile(rf"{_ENUMERATES.pattern}|\s*[:=+*/×÷-]")
_NAMES_A_YEAR = re.compile(
    r"\b(?:in|of|for|from|since|by|year|years|during|to|until|and|between)\s+(?:the\s+year\s+)?$"
)
_LINKS = (
    r"(?:(?:the|a|an|in|by|for|from|of|about|approximately|around|called|named|represented|shown|colou?red|indicated|"
    r"country|year|colou?r)\s+){0,3}"
)
# "one" is left out: it is also a pronoun ("the one that rises").
_NUMBER_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_WORDS_FOR_NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS, start=2)}


def tolerant_verdict(prediction: str, gold: str) -> tuple[bool, str]:
    """The rule of this project that forgives format, and the reason in words.

    Everything that year-strict credits is right. Beyond it:

    * a number is read without thousands commas or spaces, currency sign, % and unit, attached or not; a % on either
      side is read both as written and divided by 100; two to twelve may be words; 5 % of tolerance, zero has to be
      zero; million is not billion where both say so;
    * a year has to be that year;
    * text is compared without letter case, quotes, bold marks, a leading "the" and a final full stop; lists
      without brackets and order;
    * yes or no may be the first word, unless both are said ("Yes/No", "No, yes");
    * in a sentence the answer has to be *stated*. A number: the one the sentence begins with, the only number there
      (years that a preposition introduces do not count beside a value), or the only one that a verb such as "is" or
      "has" introduces. A text: right after such a verb, the subject of "… is/has the/a/34", or before ", with/at/in".
      After "answer", "so", "therefore" and a sum's equals sign only the rest counts. A sentence that denies,
      enumerates, or makes two statements states nothing, so mentioning the gold answer among other candidates earns
      nothing.

    Units are dropped, not converted: "4.6 million" is right for 4.6 and wrong for 4600000.
    """
    if is_correct(prediction, gold, "year-strict"):
        return True, canonical_verdict(prediction, gold)[1]
    text, target = _normal(prediction), _normal(gold)
    if not text:
        return False, canonical_verdict(prediction, gold)[1]
    values = _read_whole(target)
    if values:
        return _number_verdict(text, values, gold, _scale(target, 0))
    return _text_verdict(text, target, prediction, gold)


def _number_verdict(text: str, values: Sequence[float], gold: str, scale: str | None) -> tuple[bool, str]:
    year = is_year(gold)
    stated = _stated_number(text, year)
    if stated is None:
        return False, f"no single number is stated in “{_short(text)}”, the gold answer is {gold}"
    written = stated["number"].strip() + (stated["percent"] or "").strip().replace("percent", "%")
    if year:
        correct = written == gold.strip()
        return correct, f"{written} read from the answer, " + (
            "the year of the gold answer" if correct else f"a year has to be exact: {gold}"
        )
    said = _scale(text, stated.end(), stated["unit"])
    if scale and said and scale != said:
        return False, f"{written} {said} read from the answer, the gold answer is {gold}"
    correct = any(_near(value, target) for value in _values(stated) for target in values)
    if _meets(stated, values):
        how = "the same number when format is forgiven"
    else:
        how = "within 5 % when format is forgiven" if correct else "more than 5 % off"
    return correct, f"{written} read from the answer, gold answer {gold}: {how}"


def _same(prediction: str, gold: str) -> bool:
    """Whether a right answer states the number of the gold answer itself; true also where this is no number."""
    values, stated = _read_whole(_normal(gold)), _stated_number(_normal(prediction), is_year(gold))
    return not values or stated is None or _meets(stated, values)


def _meets(stated: re.Match[str], values: Sequence[float]) -> bool:
    """Whether a number that was read is one of a gold answer's, but for how a computer holds it."""
    return any(math.isclose(one, value) for one in _values(stated) for value in values)


def _near(value: float, target: float) -> bool:
    return value == target if target == 0 else abs(value - target) / abs(target) <= MAX_RELATIVE_CHANGE


def _text_verdict(text: str, target: str, prediction: str, gold: str) -> tuple[bool, str]:
    if text == target or _same_list(text, target):
        return True, f"“{_short(prediction)}” is the gold answer “{_short(gold)}” when format is forgiven"
    if target in ("yes", "no"):
        first = re.match(r"(yes|no)\b(?!\s+(?:country|data|one|bar|line|year|value))", text)
        if first and re.search(_OTHER[first[1]], text[first.end() :]):
            return False, f"“{_short(prediction)}” says both yes and no, the gold answer is “{_short(gold)}”"
        if first:
            return first[1] == target, f"the answer begins with “{first[1]}”, the gold answer is “{_short(gold)}”"
    if target and _states_text(text, target):
        return True, f"the sentence states “{_short(gold)}”"
    return False, f"“{_short(prediction)}” does not state “{_short(gold)}”"


def _normal(text: str) -> str:
    """One line of lower-case text with plain dashes, without bold marks, quotes, brackets around it and final stops."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"[‐‑‒–—−]", "-", text)
    text = re.sub(r"[*`\"“”‘’]|(?<!\w)'|'(?!\w)", "", text)
    text = " ".join(text.split())
    text = _GROUPS.sub(lambda number: number[0].replace(" ", ""), text)
    text = re.sub(r"^\[(.*)\]\.?$", r"\1", text).rstrip(".!;, ")
    return text.removeprefix("the ")


def _same_list(text: str, target: str) -> bool:
    """Whether both list the same things; a sentence lists what follows its verb ("The years are 2021 and 2022")."""
    if "," not in target and " and " not in target:
        return False
    starts = [0, *(verb.end() for verb in _STATING.finditer(text))]
    return any(_items(text[start:]) == _items(target) for start in starts[:MOST_MARKERS])


def _items(text: str) -> list[str]:
    return sorted(item.strip() for item in re.split(r",\s*(?:and\s+)?|\s+and\s+", text))


def _read_whole(text: str) -> tuple[float, ...]:
    """The values of a gold answer that is one number, its sign, currency, % or unit included; else nothing."""
    match = _NUMBER.match(text)
    if match is None or not (match.end() == len(text) or _UNIT_AFTER.fullmatch(text, match.end())):
        return ()
    return _values(match)


def _scale(text: str, end: int, unit: str | None = None) -> str | None:
    """The scale after a number that ends at `end` (0: the number that the text begins with), None for none."""
    number = _NUMBER.match(text) if end == 0 else None
    end, unit = (number.end(), number["unit"]) if number else (end, unit)
    after = _UNIT_AFTER.match(text, end)
    return _SCALES.get(unit or (after["unit"] if after else ""))


def _values(match: re.Match[str]) -> tuple[float, ...]:
    value = float(re.sub(r"[^\d.\-]", "", match["number"]))
    return (value, value / 100) if match["percent"] else (value,)


def _stated_number(text: str, gold_is_year: bool) -> re.Match[str] | None:
    text = re.sub(r"\b[a-z]+\b", lambda word: _WORDS_FOR_NUMBERS.get(word[0], word[0]), text)
    text = _conclusion(text, lambda rest: _NUMBER.search(rest) is not None)
    if _NEGATION.search(text):
        return None
    numbers = list(_NUMBER.finditer(text))
    lead = _LEAD.match(text)
    if lead and (first := _NUMBER.match(text, lead.end())) and not _GOES_ON.match(text, first.end()):
        return first
    if not gold_is_year:
        values = [one for one in numbers if not _is_named_year(text, one)]
        numbers = values or numbers
    if len({one["number"] for one in numbers}) > 1:
        numbers = list(_after_verbs(text, numbers))
    return numbers[-1] if len({one["number"] for one in numbers}) == 1 else None


def _is_named_year(text: str, number: re.Match[str]) -> bool:
    return is_year(number[0]) and _NAMES_A_YEAR.search(text, max(0, number.start() - 40), number.start()) is not None


def _after_verbs(text: str, numbers: Sequence[re.Match[str]]) -> Iterator[re.Match[str]]:
    """The numbers that a stating verb, colon or equals sign introduces, at most four words before them."""
    verbs = [verb.end() for verb in _STATING.finditer(text)]
    for number in numbers:
        before = bisect_right(verbs, number.start())
        if before and not _ENUMERATES.match(text, number.end()):
            between = text[verbs[before - 1] : number.start()]
            if re.fullmatch(r"[^.;,]{0,200}", between) and len(between.split()) <= 4 and not _NUMBER.search(between):
                yield number


def _states_text(text: str, target: str) -> bool:
    gold = rf"(?<!\w){re.escape(target)}(?!\w)"
    text = _conclusion(text, lambda rest: re.search(gold, rest) is not None)
    rest = text.replace(target, " ")
    verbs = [verb.span() for verb in re.finditer(rf"\b{_STATES}\b", rest)] or [(0, 0)]
    if _NEGATION.search(rest) or re.search(r"\b(?:and|while|but|whereas|or)\b", rest[verbs[0][1] : verbs[-1][0]]):
        return False
    ends = r"\s*(?:$|[.;(]|,?\s+(?:with|in|at|on|by|which|because|as|since|for|from|during|where|followed|line|bar)\b)"
    predicate = re.search(rf"(?:\b{_STATES}\b|[:=])\s*{_LINKS}{gold}(?={ends})", text)
    alone = rf"(?!.*(?:\b{_STATES}\b|\b(?:and|while|but|whereas)\b))"
    verb = rf"{_STATES}\s+(?:the|an?|[$€£¥₹]?\d){alone}"
    subject = re.match(rf"(?:the\s+|in\s+)?{gold}(?:,?\s+{verb}|,\s+(?:with|at|in|by|because|as|since|which)\b)", text)
    return predicate is not None or subject is not None


def _conclusion(text: str, holds_candidate: Callable[[str], bool]) -> str:
    """What follows the last "answer", "so", "therefore", where that part holds a candidate; else the whole text."""
    for marker in list(_CONCLUSION.finditer(text))[: -MOST_MARKERS - 1 : -1]:
        rest = text[marker.end() :]
        if holds_candidate(rest):
            return rest
    return text

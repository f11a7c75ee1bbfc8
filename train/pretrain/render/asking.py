"""Which questions the drawn chart answers as they were asked about another picture of its table."""

import re
import statistics
from collections.abc import Iterator
from itertools import combinations

from train.pretrain.render.given import Asked, LeftOut
from train.pretrain.render.kinds import said
from train.pretrain.render.parsing import Given, Values, as_number, known_of, squeeze, tidy, when

COLOURS = re.compile(
    r"\b(light(?:est)? blue|dark(?:est)? blue|navy blue|navy|sky blue|blue|black|light gr[ae]y|dark gr[ae]y|gr[ea]y"
    r"|dark red|red|light green|dark green|green|light purple|purple|violet|yellow|orange|gold|golden|brown|pink|teal"
    r"|white|maroon|beige|tan|cyan)\b"
)
# A colour word -> which series has it in Statista's usual order, in which the chart is then drawn.
STATISTA = {"light blue": 0, "blue": 0, "sky blue": 0, "dark blue": 1, "navy blue": 1, "navy": 1, "black": 1}
STATISTA |= {"gray": 2, "grey": 2, "light gray": 2, "light grey": 2, "red": 3, "dark red": 3, "green": 4}
STATISTA |= {"light green": 4, "yellow": 5, "purple": 6}
LOOKS_WORDS = re.compile(
    r"\b(dotted|dashed|legend|source|title|heading|copyright|statista|intersects?|intersect\w*|cross\w*|logo|font|icon|"
    r"dots?|shad\w*|dark\w*|light\w*|colou?r\w*|middle|longest line|shortest line|thick\w*|bold|axis|x-axis|y-axis|"
    r"side|angle|position|symbol|shape|map|kind of (chart|graph)|type of (chart|graph)|what (chart|graph)|bottom|"
    r"left side|right side|shown in the (chart|graph)\?*$|adjacent|consecutive|next to|hidden|label\w*)\b"
)
NTH = re.compile(
    r"\b(first|second|2nd|third|3rd|fourth|4th|fifth|sixth|seventh|eighth|ninth|tenth|last|1st|\d+th)\s+(?:\w+\s+)?"
    r"(bars?|slices?|segments?|sectors?|lines?|column|columns|row|one|from|data|group|option|place|category|box)\b"
)
RANKED = re.compile(
    r"(second|third|2nd|3rd|fourth)\s+"
    r"(most|least|largest|highest|smallest|lowest|biggest|longest|shortest|tallest)"
)
PLACED = re.compile(
    r"\b(left ?most|right ?most|from (the )?(top|left|right)|(at|on) (the )?(top|left|right)|top bar|upper"
    r"|lower (bar|line|part))\b"
)
WHOLE_BAR = re.compile(r"(longest|shortest|tallest|largest|smallest|highest|biggest|lowest) bar")
COUNTED = re.compile(r"how many (different )?(bars?|lines?|slices?|segments?|sectors?)( \w+)* (are|is|in|there|shown)")
DIRECTIONS = ("increasing", "decreasing", "increase", "decrease", "up", "down", "equal", "none")
STACKED = ("stacked", "stacked_h")


def question(one: Asked, table: Given, kind: str) -> tuple[str, str, bool]:
    """Question, label and whether colours matter, where the drawn chart answers it. Raises LeftOut."""
    query, label = tidy(one.query), one.label.strip()
    if not query or not label:
        raise LeftOut("without words or answer")
    low, value = query.lower(), as_number(label)
    tints, asks, bare = colours(low, label, table, kind)
    coloured = bool(tints) or asks or bool(COLOURS.fullmatch(label.lower()))
    if LOOKS_WORDS.search(bare):
        raise LeftOut("about how the other picture looked")
    if NTH.search(bare) and not RANKED.search(bare):
        raise LeftOut("that count along the other picture")
    check_place(bare, label, value, table, kind)
    check_marks(query, value, table, kind)
    if value is not None:
        label = number_label(low, label, value, table, kind, tints if coloured else None)
    elif label.lower() in ("yes", "no"):
        label = label.capitalize()
        digits = [found for found in re.findall(r"\d+(?:\.\d+)?", bare) if coloured and len(found) > 1]
        if not all(derivable(table, table.values, float(found), query) for found in digits):
            raise LeftOut("with a number that the table does not give")
    else:
        check_words(label, table, coloured, query)
    if len(label) > 60:
        raise LeftOut("with long answers")
    return query, label, coloured


def colours(low: str, label: str, table: Given, kind: str) -> tuple[list[str], bool, str]:
    """The colours that a question names, whether it asks for one, and its words without them and without the table's.

    Raises LeftOut where the chart has not the colours that the other picture had: only Statista's are known.
    """
    names = [*table.names, *table.categories]
    printed = " ".join(names).lower()
    tints = [word for word in COLOURS.findall(low) if not re.search(rf"\b{word}\b", printed)]
    asks, answer = bool(re.search(r"\bcolou?r", low)), COLOURS.fullmatch(label.lower())
    bare = low
    for name in sorted(names, key=len, reverse=True):
        bare = bare.replace(name.lower(), " ")
    if not (tints or asks or answer):
        return tints, asks, bare
    many = len(table.names) if kind != "pie" else len(table.categories)
    named = [*tints, *([label.lower()] if answer else [])]
    known = table.publisher == "Statista" and 2 <= many <= 6 and kind not in ("bar", "hbar")
    if not known or not named or any(STATISTA.get(word, 99) >= many for word in named):
        raise LeftOut("about colours that are not drawn")
    return tints, asks, re.sub(r"colou?r\w*", " ", COLOURS.sub(" ", bare))


def check_place(bare: str, label: str, value: float | None, table: Given, kind: str) -> None:
    """Raises LeftOut for a place that is not the drawn one: only ends of one row of bars are sure."""
    if not PLACED.search(bare):
        return
    first = 0 if re.search(r"left|top|upper", bare) else len(table.categories) - 1
    fits = (re.search("left|right", bare) and kind == "bar") or ("top" in bare and kind == "hbar")
    answers = squeeze(label) == squeeze(table.categories[first])
    answers = answers or (value is not None and value == table.values[0][first])
    if len(table.names) > 1 or not fits or table.publisher != "Statista" or not answers:
        raise LeftOut("about places of the other picture")


def check_marks(query: str, value: float | None, table: Given, kind: str) -> None:
    """Raises LeftOut where the question names marks that are not drawn, or counts others."""
    says, low = said([query]), query.lower()
    drawn = kind if kind in ("pie", "line") else "bar"
    other = any(mark in says and mark != drawn for mark in ("pie", "line", "bar"))
    other = other or ("segment" in says and kind not in ("pie", *STACKED))
    if other or (kind in STACKED and "segment" not in says and WHOLE_BAR.search(low)):
        raise LeftOut("about marks that are not drawn")
    if COUNTED.search(low):
        marks = {"line": len(table.names)} | dict.fromkeys(STACKED, len(table.categories))
        if value != marks.get(kind, len(table.cells)):
            raise LeftOut("that count marks of the other picture")


def number_label(low: str, label: str, value: float, table: Given, kind: str, tints: list[str] | None) -> str:
    """The answer as a number of two decimals at most; tints: colours it is about, None where they do not matter.

    Raises LeftOut for one that the table does not give, or gives a hundredfold.
    """

    def among(wanted: float, near: float) -> bool:
        return any(abs(cell - wanted) < near for cell in table.cells)

    def worked_out(wanted: float) -> bool:
        return derivable(table, table.values, wanted, low)

    if re.fullmatch(r"4[0-4]\d{3}", label) and not among(value, 1) and not worked_out(value):
        raise LeftOut("whose answer became a date's number")
    if 0 < abs(value) < 1:
        parted = "ratio" in low or "divide" in low or "times" in low
        hundredth = among(100 * value, 1e-6) and not among(value, 1e-6) and not parted
        if hundredth or (not worked_out(value) and worked_out(100 * value)):
            raise LeftOut("whose answer is a fraction of what is printed")
    if tints is not None:
        rows = table.values
        if kind != "pie":
            rows = [rows[index] for index in sorted({STATISTA[word] for word in tints})] or rows
        if not derivable(table, rows, value, low):
            raise LeftOut("about colours that are not drawn")
    rest = label.replace(",", "").partition(".")[2]
    if len(rest) > 3 or (len(rest) == 3 and abs(value) >= 1 and not among(value, 1e-9)):
        label = f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"
        label = label.rstrip("0").rstrip(".") if "." in label else label
        if "e" in label or label in ("0", "-0", ""):
            raise LeftOut("with many decimals")
    return label


def check_words(label: str, table: Given, coloured: bool, query: str) -> None:
    """Raises LeftOut for an answer in words that the table does not have."""
    names = [*table.names, *table.categories]
    parts = [part.strip(" '\"") for part in label.strip("[]").split(",")] if label.startswith("[") else [label]
    for part in parts:
        short, digits = squeeze(part), as_number(part)
        known = any(same(short, squeeze(name)) for name in names)
        known = known or (digits is not None and derivable(table, table.values, digits, query))
        known = known or part.lower() in DIRECTIONS or (coloured and part.lower() in STATISTA)
        if not known or not short:
            raise LeftOut("whose answer the table does not have")
    if ":" in label and not any(label in name for name in names):
        raise LeftOut("whose answer the table does not have")


def same(short: str, name: str) -> bool:
    """Whether an answer is a name, or one is in the other."""
    return short == name or (len(short) > 2 and (short in name or (len(name) > 2 and name in short)))


def of_group(group: list[float]) -> Iterator[float]:
    """What people work out of a whole row, column or table, and of its few largest or smallest."""
    yield from (sum(group), statistics.fmean(group), statistics.median(group))
    yield from (max(group) - min(group), max(group) + min(group))
    ordered = sorted(group)
    for few in (2, 3, 4):
        if len(group) > few:
            smallest, largest = sum(ordered[:few]), sum(ordered[-few:])
            yield from (smallest, largest, smallest / few, largest / few)


def derivable(table: Given, rows: Values, value: float, query: str) -> bool:
    """Whether a number can come of the figures in `rows`: one, two, three, a whole row or column, a count or a year.

    At most 110 figures, so some 6,000 pairs; triples only of 16 or fewer.
    """
    cells = known_of(rows)

    def near(made: float) -> bool:
        return abs(made - value) <= max(0.011 * abs(value), 0.0051)

    if "how many" in query.lower() and value % 1 == 0 and 0 <= value <= len(cells):
        return True
    times = [when(name) for name in (*table.categories, *table.names)]
    if any(time is not None and int(time) == value for time in times):
        return True
    columns = [[row[index] for row in rows] for index in range(len(rows[0]))]
    groups = [cells, *(known_of([line]) for line in (*rows, *columns))]
    if any(near(made) or near(100 - made) for group in groups if group for made in of_group(group)):
        return True
    if any(near(cell) or near(100 - cell) for cell in cells):
        return True
    for a, b in combinations(cells, 2):
        if near(a + b) or near(abs(a - b)) or near((a + b) / 2) or (a and b and (near(a / b) or near(b / a))):
            return True
    triples = combinations(cells, 3) if len(cells) <= 16 else ()
    return any(near(sum(three)) or near(sum(three) / 3) for three in triples)

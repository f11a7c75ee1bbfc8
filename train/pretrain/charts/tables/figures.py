"""How numbers are printed on a chart, written in an answer, and said by a person."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """What a measure counts in. name: for the axis title ("in million U.S. dollars"); before, after: as a person says
    it ("$", " million"); printed: the decorations that a value label may carry, as (prefix, suffix); smallest,
    largest: powers of ten between which a chart's largest value lies; decimals: those that are usual."""

    name: str
    before: str
    after: str
    printed: tuple[tuple[str, str], ...]
    smallest: float
    largest: float
    decimals: tuple[int, ...]
    percent: bool = False


PLAIN = (("", ""),)
UNITS = {
    "percent": Unit("percent", "", "%", (("", ""), ("", "%"), ("", "%")), 0.8, 1.99, (0, 0, 0, 0, 1, 1, 2), True),
    "rate": Unit("percent", "", "%", (("", ""), ("", "%"), ("", "%")), 0.6, 1.7, (0, 1, 1, 1, 2, 2), True),
    "usd": Unit("U.S. dollars", "$", "", (("", ""), ("", ""), ("$", "")), 1.0, 5.2, (0, 0, 0, 2)),
    "usd_small": Unit("U.S. dollars", "$", "", (("", ""), ("", ""), ("$", "")), 0.8, 2.5, (2, 2, 2, 1)),
    "usd_million": Unit(
        "million U.S. dollars",
        "$",
        " million",
        (("", ""), ("", ""), ("", ""), ("$", "M"), ("$", "")),
        1.3,
        5.0,
        (0, 1, 1, 2, 2),
    ),
    "usd_billion": Unit(
        "billion U.S. dollars",
        "$",
        " billion",
        (("", ""), ("", ""), ("", ""), ("$", "B"), ("$", "")),
        0.7,
        3.5,
        (0, 1, 1, 2, 2),
    ),
    "eur_million": Unit(
        "million euros", "€", " million", (("", ""), ("", ""), ("€", "M"), ("€", "")), 1.3, 4.9, (0, 1, 1, 2)
    ),
    "eur_billion": Unit("billion euros", "€", " billion", (("", ""), ("", ""), ("€", "")), 0.7, 3.4, (0, 1, 1, 2)),
    "gbp_million": Unit(
        "million GBP", "£", " million", (("", ""), ("", ""), ("£", "m"), ("£", "")), 1.3, 4.9, (0, 0, 1, 2)
    ),
    "count": Unit("", "", "", PLAIN, 1.0, 6.9, (0,)),
    "count_small": Unit("", "", "", PLAIN, 0.8, 3.6, (0,)),
    "thousand": Unit("thousands", "", " thousand", (("", ""), ("", ""), ("", "K"), ("", "k")), 1.0, 4.6, (0, 0, 1, 2)),
    "million": Unit(
        "millions", "", " million", (("", ""), ("", ""), ("", "M"), ("", " million")), 0.6, 3.3, (0, 1, 1, 2, 2)
    ),
    "tonnes": Unit(
        "million tonnes",
        "",
        " million tonnes",
        (("", ""), ("", ""), ("", " Mt"), ("", " million tonnes")),
        0.8,
        3.6,
        (0, 1, 2),
    ),
    "tonnes_small": Unit("metric tons", "", " metric tons", (("", ""), ("", ""), ("", " t")), 1.0, 6.5, (0, 0, 1)),
    "per_thousand": Unit("per 1,000 inhabitants", "", " per 1,000 inhabitants", PLAIN, 0.8, 2.5, (1, 1, 2)),
    "per_100k": Unit("per 100,000 people", "", " per 100,000 people", PLAIN, 0.8, 3.0, (0, 1, 1, 2)),
    "years": Unit("years", "", " years", (("", ""), ("", ""), ("", " years")), 1.6, 1.95, (0, 1, 1, 2)),
    "minutes": Unit("minutes", "", " minutes", (("", ""), ("", ""), ("", " min")), 1.0, 2.7, (0, 0, 1)),
    "hours": Unit("hours", "", " hours", (("", ""), ("", ""), ("", "h")), 0.8, 3.3, (0, 1, 1)),
    "kwh": Unit("terawatt-hours", "", " TWh", (("", ""), ("", ""), ("", " TWh")), 0.9, 3.9, (0, 1, 2)),
    "litres": Unit("litres per person", "", " litres", (("", ""), ("", ""), ("", " l")), 0.8, 2.4, (0, 1, 1, 2)),
    "kg": Unit("kilograms per capita", "", " kg", (("", ""), ("", ""), ("", " kg")), 0.8, 2.4, (0, 1, 1, 2)),
    "degrees": Unit("degrees Celsius", "", " °C", (("", ""), ("", "°C")), 1.1, 1.6, (0, 1, 1)),
    "index": Unit("index points", "", " points", PLAIN, 1.5, 2.6, (0, 1, 1, 2)),
    "score": Unit("score", "", " points", PLAIN, 0.7, 2.0, (0, 1, 2, 2)),
    "ratio": Unit("", "", "", PLAIN, 0.0, 1.2, (1, 2, 2)),
    "km": Unit("kilometers", "", " km", (("", ""), ("", " km")), 1.0, 4.3, (0, 0, 1)),
}


def group_thousands(digits: str, separator: str) -> str:
    """`12345` as `12,345` with the separator given."""
    return f"{int(digits):,}".replace(",", separator) if len(digits) > 3 and separator else digits


@dataclass(frozen=True, slots=True)
class Figures:
    """A chart's number format. decimals: those printed; strip: zeros at the end of decimals are left out;
    separator: between thousands; prefix, suffix: around a printed label; tick_prefix, tick_suffix: around an axis
    number; before, after: around a spoken value."""

    decimals: int
    strip: bool
    separator: str
    prefix: str
    suffix: str
    tick_prefix: str
    tick_suffix: str
    before: str
    after: str

    def plain(self, value: float) -> str:
        """The label's digits alone: `12345.6`."""
        text = f"{value:.{self.decimals}f}"
        if self.strip and "." in text:
            text = text.rstrip("0").rstrip(".")
        return "0" if text in ("-0", "-0.0", "-0.00") else text

    def derived(self, value: float, decimals: int | None = None) -> str:
        """A computed value at `decimals` (the chart's own by default), without zeros at the end."""
        text = f"{value:.{self.decimals if decimals is None else decimals}f}"
        if "." in text:
            text = text.rstrip("0").rstrip(".")
        return "0" if text == "-0" else text

    def decorate(self, text: str, separator: str, prefix: str, suffix: str) -> str:
        """Signs and thousands separators around plain digits."""
        sign = "-" if text[0] == "-" else ""
        whole, _, rest = text.lstrip("-").partition(".")
        return f"{sign}{prefix}{group_thousands(whole, separator)}{'.' if rest else ''}{rest}{suffix}"

    def printed(self, value: float) -> str:
        """The value label: `$12,345.6M`."""
        return self.decorate(self.plain(value), self.separator, self.prefix, self.suffix)

    def tick(self, value: float, decimals: int) -> str:
        """An axis number."""
        return self.decorate(f"{value:.{decimals}f}", self.separator, self.tick_prefix, self.tick_suffix)

    def spoken(self, text: str) -> str:
        """Plain digits as a person says them: `$12,345.6 million`."""
        return self.decorate(text, ",", self.before, self.after)

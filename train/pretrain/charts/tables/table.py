"""The table behind a chart: names, numbers, how they are written, and what they are about."""

from dataclasses import dataclass, field

from train.pretrain.charts.tables.figures import Figures, Unit
from train.pretrain.charts.tables.measures import Measure

Values = list[list[float | None]]


@dataclass(slots=True)
class Table:
    """values[series][category], None where missing. noun, plural: what one and many categories are called (country,
    countries); about: their class (time, place, owner, thing, group, answer); series_noun: what a series is; full:
    each category's segments make up a whole; labelled: value labels are to be printed; readable: every value lies
    where an axis shows it; who, place, when: context that the names leave open, "" where there is none;
    starts: rows with a gap above them."""

    kind: str
    measure: Measure
    unit: Unit
    figures: Figures
    categories: list[str]
    noun: str
    plural: str
    about: str
    series: list[str]
    series_noun: str
    values: Values
    labelled: bool
    readable: bool
    full: bool = False
    who: str = ""
    place: str = ""
    when: str = ""
    second: tuple[Measure, Unit] | None = None  # a scatter's other axis
    title: str = ""
    subtitle: str = ""
    axis_title: str = ""
    notes: list[str] = field(default_factory=list)
    starts: tuple[int, ...] = ()

    def text(self) -> str:
        """The table as lines of cells: title, header where there is more than one series, then one category a line."""
        lines = [self.title] if self.title else []
        if len(self.series) > 1:
            lines.append(" | ".join([self.noun, *self.series]))
        for index, category in enumerate(self.categories):
            cells = [row[index] for row in self.values]
            lines.append(" | ".join([category, *("-" if cell is None else self.figures.plain(cell) for cell in cells)]))
        return "\n".join(lines)

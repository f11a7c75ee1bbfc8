"""Whether a number that somebody answered can come of a table's figures."""

import statistics
from collections.abc import Iterator
from itertools import combinations

from train.pretrain.render.parsing import Given, Values, known_of, when


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

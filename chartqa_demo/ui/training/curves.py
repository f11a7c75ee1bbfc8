"""Curves as inline SVG: they take the page's colours in light and dark, and say their figures to a screen reader.

Gradio's own LinePlot (6.31) tells lines apart by colour alone and takes no text alternative; these lines differ by
dashes too, carry their names and last values, and the drawing has a label that says them.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

from chartqa_demo.arms import ADAPTER

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 440, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 122, 12, 36  # room for tick labels, and on the right for the names of the lines
DASHES = ("", "6 4", "2 3", "1 5")  # lines differ by more than their colour
LINE_HEIGHT = 15


def curve_chart(title: str, lines: Mapping[str, Points], across: str = "step") -> str:
    """One chart of one or more lines over the optimiser step, as a figure with its heading.

    lines: name -> (step, value) in the order of steps; a line of one point is drawn as a dot. across: what lies along
    the lower axis instead of steps.
    """
    points = [point for line in lines.values() for point in line]
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    ticks = _ticks(min(y for _, y in points), max(y for _, y in points))
    low, high = ticks[0], ticks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first) if last > first else 0.0
        up = (y - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [_axis(tick, at(first, tick)[1]) for tick in ticks]
    for step in sorted({first, last}):
        x = at(step, low)[0]
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 18}" text-anchor="middle">{step:,.0f}</text>')
    parts.append(
        f'<text class="tick" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{across}</text>'
    )
    edge = WIDTH - RIGHT
    ends = _apart([at(*line[-1])[1] for line in lines.values()])
    for number, ((name, line), end) in enumerate(zip(lines.items(), ends, strict=True)):
        places = [at(x, y) for x, y in line]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dash = DASHES[number % len(DASHES)]
        ours = " ours" if name == ADAPTER.title or len(lines) == 1 else ""
        parts.append(f'<polyline class="line{ours}" stroke-dasharray="{dash}" points="{drawn}"/>')
        x, y = places[-1]
        parts.append(f'<circle class="dot{ours}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        beside = 8 + (edge if x > edge - 20 else x)  # where all names begin, not in a dot of another line
        parts.append(
            f'<text class="name" x="{beside:.1f}" y="{end + 4:.1f}">{escape(name)} {figure(line[-1][1])}</text>'
        )
    said = ", ".join(f"{name} {figure(line[-1][1])} at {across} {line[-1][0]:,.0f}" for name, line in lines.items())
    said = escape(f"{title}: {said}")
    return (
        f'<figure class="curve"><figcaption>{escape(title)}</figcaption>'
        f'<svg role="img" aria-label="{said}" viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}</svg></figure>'
    )


def figure(value: float) -> str:
    """A number with three significant digits, as short as it can be written."""
    if 0 < abs(value) < 0.001:
        digits, power = f"{value:.2e}".split("e")
        text = f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    else:
        text = f"{value:.3g}"
    return text.replace("-", "−")


def _axis(tick: float, y: float) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{figure(tick)}</text>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values, the first at or below `low`, the last at or above `high`."""
    spread = high - low or abs(high) or 1.0
    unit = 10 ** math.floor(math.log10(spread / 3))
    step = next(unit * factor for factor in (1, 2, 5, 10) if spread / (unit * factor) <= 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * number for number in range(first, max(last, first + 1) + 1)]


def _apart(heights: Sequence[float]) -> list[float]:
    """Heights of labels, moved down where two would overlap; in the order given."""
    moved: dict[int, float] = {}
    before = -math.inf
    for index in sorted(range(len(heights)), key=lambda i: heights[i]):
        before = moved[index] = max(heights[index], before + LINE_HEIGHT)
    return [moved[index] for index in range(len(heights))]

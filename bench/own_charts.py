"""The loop of docs/own-charts.md, measured: 40 charts of one look, 30 corrected rows, a few minutes on a CPU.

    python -m bench.own_charts                      # writes results/own_charts/gain.json
    python -m bench.own_charts --draw_only mine     # only the folder of charts

The look (lollipops on black, drawn by matplotlib, which this needs) is none of train/pretrain/charts. 15 charts with
two corrected rows each are trained on, 23 others are measured: the prompted base, the bundled adapter and the new one.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from chartqa_demo.data.splits import open_split
from chartqa_demo.evaluate import statistics as stats
from chartqa_demo.evaluate.record import Results, read_results

PARTS = {"train": (15, 2), "val": (2, 2), "test": (23, 4)}  # charts, questions of each
SEED = 23
BEGIN, END = "<!-- gain:begin -->", "<!-- gain:end -->"
TOPICS = {
    "Coffee sold by month": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug"),
    "Visitors by museum": ("Harbour", "Castle", "Railway", "Glass", "Maritime", "Textile", "Botanic", "Toy"),
    "Bicycles counted by street": ("Mill Lane", "High Street", "Quay", "Park Road", "Bridge", "Station", "West End"),
    "Loans by library": ("North", "South", "Central", "Riverside", "Hillside", "Old Town", "Airport"),
}


def draw(folder: Path) -> Path:
    """A folder as people have it: a folder for each split, with pictures and a metadata.jsonl."""
    chance = random.Random(SEED)
    number = 0
    for part, (charts, asked) in PARTS.items():
        rows = []
        (folder / part).mkdir(parents=True, exist_ok=True)
        for _ in range(charts):
            title, names = chance.choice(list(TOPICS.items()))
            names = chance.sample(names, chance.randint(4, 6))
            values = chance.sample(range(11, 98), len(names))
            picture = f"chart_{number:02}.png"
            lollipops(folder / part / picture, title, names, values)
            number += 1
            for question, answer in chance.sample(questions(names, values, chance), asked):
                rows.append({"file_name": picture, "query": question, "label": [answer]})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / part / "metadata.jsonl").write_text(text, encoding="utf-8")
    return folder


def questions(names: list[str], values: list[int], chance: random.Random) -> list[tuple[str, str]]:
    """Questions and answers about one chart; of values more than of the rest, as people correct figures."""
    one, other = chance.sample(range(len(names)), 2)
    return [
        (f"What is the value of {names[one]}?", str(values[one])),
        (f"What is the value of {names[other]}?", str(values[other])),
        ("Which category has the highest value?", names[values.index(max(values))]),
        ("Which category has the lowest value?", names[values.index(min(values))]),
        ("What is the highest value?", str(max(values))),
    ]


def lollipops(path: Path, title: str, names: list[str], values: list[int]) -> None:
    """One chart: a stem and a ring for every value, white on black, the value within the ring."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), facecolor="black")
    axes.set_facecolor("black")
    places = list(range(len(names)))[::-1]
    axes.hlines(places, 0, values, color="#ff2d95", linewidth=1)
    axes.scatter(values, places, s=560, color="black", edgecolors="#00e5ff", linewidths=2, zorder=3)
    for place, value in zip(places, values, strict=True):
        axes.text(value, place, str(value), color="white", ha="center", va="center", fontsize=9, zorder=4)
    axes.set_yticks(places, names, color="#b0b0b0", fontsize=10, style="italic")
    axes.set_xticks([])
    axes.set_xlim(0, 108)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_title(title, color="#ffe66d", fontsize=13, loc="right")
    for side in axes.spines.values():
        side.set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=100, facecolor="black")
    pyplot.close(figure)


def verdicts(results: Results, arm: str) -> dict[str, bool]:
    """Example id -> right under the canonical rule."""
    return results.verdicts("canonical")[arm]


def compared(
    names: tuple[str, str], first: dict[str, bool], second: dict[str, bool], charts: dict[str, str]
) -> dict[str, Any]:
    """first minus second on the questions of both, as results files have it, and in words."""
    ids = [one for one in charts if one in first and one in second]
    found = stats.compare(names, [first[i] for i in ids], [second[i] for i in ids], [charts[i] for i in ids])
    return {**asdict(found), "in_words": stats.in_words(found)}


def in_words(found: dict[str, Any]) -> str:
    """The results as the page shows them: a table of the arms, the gains with their intervals, what it took."""
    lines = ["| arm | right of all, canonical |", "|---|---:|"]
    for arm, score in found["scores"].items():
        lines.append(f"| {arm} | {score['correct']} of {score['asked']} |")
    gains = [f"- {one['in_words'][:1].upper()}{one['in_words'][1:]}." for one in found["gains"]]
    took = (
        f"{found['rows_trained_on']} rows; {found['cpu_seconds'] / 60:.1f} minutes of CPU time for the training "
        f"command, its measurement included ({found['date']})."
    )
    return "\n".join([*lines, "", *gains, "", took])


def run(*command: str) -> None:
    """One of this repository's commands. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", *command], check=True)


def main() -> int:
    """Exit code: 0 measured, 1 a command failed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.own_charts", description="What 30 corrected rows of one look and minutes of CPU gain."
    )
    parser.add_argument("--draw_only", type=Path, metavar="FOLDER", help="only draw the charts into this folder")
    parser.add_argument("--output", type=Path, default=Path("results/own_charts/gain.json"), help="the results file")
    parser.add_argument("--page", type=Path, default=Path("docs/own-charts.md"), help="the page with the figures")
    flags = parser.parse_args()
    if flags.draw_only:
        print(f"{len(list(draw(flags.draw_only).rglob('*.png')))} charts in {flags.draw_only}")
        return 0
    with tempfile.TemporaryDirectory() as place:
        charts, trained, measured = draw(Path(place) / "lollipops"), Path(place) / "run", Path(place) / "bundled.jsonl"
        os.environ["TRACKIO_DIR"] = str(Path(place) / "trackio")
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            run("train", "--config", "own-charts.yaml", "--dataset", str(charts), "--output_dir", str(trained))
            seconds, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            model = ("--base", "bundled", "--adapter", "bundled", "--device", "cpu", "--max-new-tokens", "24")
            data = ("--dataset", str(charts), "--split", "test", "--arms", "adapter", "--output", str(measured))
            run("chartqa_demo.evaluate", *model, *data)
        except subprocess.CalledProcessError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        new, bundled = read_results(trained / "results.jsonl"), read_results(measured)
        chart_of = {one.id: one.chart for one in open_split(str(charts), "test")}
        arms = {
            "pretrained": verdicts(new, "pretrained"),
            "prompted": verdicts(new, "prompted"),
            "bundled adapter": verdicts(bundled, "adapter"),
            "new adapter": verdicts(new, "adapter"),
        }
        found = {
            "look": "lollipops on black, drawn by matplotlib",
            "charts": {part: number for part, (number, _) in PARTS.items()},
            "rows_trained_on": len(open_split(str(charts), "train")),
            "wall_seconds": round(seconds, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 1),
            "threads": os.environ.get("OMP_NUM_THREADS") or os.cpu_count(),
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
            "commit": new.settings["commit"],
            "versions": new.settings["versions"],
            "scores": {arm: asdict(stats.score(sum(hits.values()), len(hits))) for arm, hits in arms.items()},
            "gains": [
                compared(("new adapter", other), arms["new adapter"], arms[other], chart_of)
                for other in ("prompted", "bundled adapter")
            ],
        }
    flags.output.parent.mkdir(parents=True, exist_ok=True)
    flags.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = flags.page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    flags.page.write_text(f"{before}{BEGIN}\n{in_words(found)}\n{END}{after}", encoding="utf-8")
    print(in_words(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What was measured of a model's weights: how likely an answer is right, and which heads show where it looked.

The mean log-probability of an answer's tokens orders answers by how likely they are right, but says too little or too
much; a curve per arm with two numbers, fitted on generated charts, makes a probability of it (Platt scaling of the
log-odds). `python -m bench.trust` measures and writes the file beside the weights; it counts for no others.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from chartqa_demo.arms import PROMPTED, Arm
from chartqa_demo.engines import Options
from chartqa_demo.space.hub import sha256_of

FILE = "trust.json"
LARGEST = 2**16  # bytes of the file
MOST = 1024  # layers, and heads of one, that any model has
SURE = 1e-4  # how far a probability stays from 0 and 1, where log-odds end

Head = tuple[int, int]  # layer, head


@dataclass(frozen=True)
class Curve:
    """The confidence is 1 / (1 + exp(-(slope * log-odds + offset))); slope is positive, so no order changes."""

    slope: float
    offset: float

    def __call__(self, log_probability: float, tokens: int) -> float:
        """From an answer's `log_probability` and `tokens`, see `engines.Answer`; 0 to 1."""
        return self.of_odds(log_odds(log_probability, tokens))

    def of_odds(self, odds: float) -> float:
        """The same from its `log_odds`."""
        return 1 / (1 + math.exp(-(self.slope * odds + self.offset)))


def log_odds(log_probability: float, tokens: int) -> float:
    """Those of the mean probability (geometric) of an answer's tokens and its end."""
    mean = min(max(math.exp(log_probability / (tokens + 1)), SURE), 1 - SURE)
    return math.log(mean / (1 - mean))


class Measured:
    """What is known of a base model's arms and of its adapter's.

    base: the folder of the base model, or whatever else names it, beside which nothing lies.
    """

    def __init__(self, base: Path) -> None:
        self._base, self._weights = base, cache(weights_of)  # those that were loaded, whatever lies there later
        self._of_base = read_arms(base, base, self._weights)
        self._of_adapter: dict[str, Any] = {}

    def use_adapter(self, folder: Path) -> None:
        """The adapter in another folder answers from now on."""
        self._of_adapter = read_arms(folder, self._base, self._weights)

    def confidence(self, arm: Arm, log_probability: float | None, tokens: int, options: Options) -> float | None:
        """0 to 1; None where it was not measured: without a curve, of a sampled answer, under another message."""
        told_otherwise = arm.key == PROMPTED.key and options.system not in (None, arm.system)
        if log_probability is None or told_otherwise or not options.greedy:
            return None
        try:
            known = self._known(arm)
            curve = Curve(float(known["slope"]), float(known["offset"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        usable = 0 < curve.slope < 50 and abs(curve.offset) < 50
        return curve(log_probability, tokens) if usable else None

    def heads(self, arm: Arm, layers: int = MOST, of_layer: int = MOST) -> tuple[Head, ...]:
        """The heads whose attention shows where the arm looked; none where that was not measured, or one of them is no
        head of a model with so many layers, and so many heads in each: then another model was measured."""
        try:
            found = [(layer, head) for layer, head in self._known(arm)["heads"]]
        except (KeyError, TypeError, ValueError):
            return ()
        real = all(type(x) is type(y) is int and 0 <= x < layers and 0 <= y < of_layer for x, y in found)
        return tuple(dict.fromkeys(found)) if real else ()

    def _known(self, arm: Arm) -> Any:
        return (self._of_adapter if arm.adapter else self._of_base).get(arm.key, {})


def weights_of(folder: Path) -> str:
    """The first 16 digits of the SHA-256 of the weights in a folder. Raises OSError."""
    return sha256_of(*sorted(folder.glob("*.safetensors")))[:16]


def read_arms(folder: Path, base: Path, of_base: Callable[[Path], str] = weights_of) -> dict[str, Any]:
    """What the file in a folder says of each arm; nothing where there is no file, or it was made for other weights than
    those in the two folders: exchanging weights may not leave a wrong figure. of_base: `weights_of` of the base, which
    can take long."""
    path = folder / FILE
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return {}
        told = json.loads(path.read_text(encoding="utf-8"))
        weights = of_base(base)
        own = weights if folder == base else weights_of(folder)
        return dict(told["arms"]) if told["weights"] == [own, weights] else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def write_arms(folder: Path, base: Path, arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what was measured of these arms beside what the file says already of the same weights."""
    known = read_arms(folder, base)
    merged = {arm: {**known.get(arm, {}), **arms.get(arm, {})} for arm in {**known, **arms}}
    told = {"weights": [weights_of(one) for one in (folder, base)], "arms": merged}
    (folder / FILE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

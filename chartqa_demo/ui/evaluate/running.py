"""The evaluation that runs, in a thread of its own: a reload, a closed tab, a second tab only look at it.

One at a time for all visitors: two would halve each other's speed.
"""

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from chartqa_demo.data.splits import Example
from chartqa_demo.errors import EngineError, EvaluationError, ResultsError
from chartqa_demo.evaluate.run import Progress
from chartqa_demo.ui.evaluate.choices import Choice

LOOK_AGAIN_S = 0.1
WATCHERS = 8  # tabs on one run; each holds one of the page's 40 threads

log = logging.getLogger(__name__)


@dataclass
class Run:
    """One evaluation under way, or ended. owner: the visitor who started it; asking: the questions of the batch at
    hand; failed: why it ended early, a sentence."""

    choice: Choice
    file_name: str
    owner: str
    stop: threading.Event = field(default_factory=threading.Event)
    state: Progress | None = None
    asking: tuple[Example, ...] = ()
    failed: str = ""
    ended: bool = False
    changes: int = 0
    watchers: int = 0
    left_at: float = field(default_factory=time.monotonic)

    def watch(self) -> Iterator[None]:
        """Comes back at every change until the run has ended; the last time it has."""
        seen = -1
        self.watchers += 1
        try:
            while True:
                ended, changes = self.ended, self.changes
                if changes != seen or ended:
                    seen = changes
                    yield
                if ended:
                    return
                time.sleep(LOOK_AGAIN_S)
        finally:
            self.watchers -= 1
            self.left_at = time.monotonic()


States = Callable[[Run, Callable[[Sequence[Example]], None]], Iterator[Progress]]


class Running:
    """The newest run. away_s: how long it goes on when nobody looks; None for to its end."""

    def __init__(self, away_s: float | None) -> None:
        self.away_s = away_s
        self.lock = threading.Lock()
        self.newest: Run | None = None

    def start(self, choice: Choice, file_name: str, owner: str, states: States) -> Run | None:
        """Begin; None where another run goes on. states: what asks the questions."""
        with self.lock:
            if self.goes_on:
                return None
            run = self.newest = Run(choice, file_name, owner)
        context = contextvars.copy_context()  # ZeroGPU reads from it whose quota is used
        threading.Thread(target=context.run, args=(self._run, run, states), daemon=True).start()
        return run

    @property
    def goes_on(self) -> bool:
        """Whether anyone's run does."""
        return self.newest is not None and not self.newest.ended

    def of(self, owner: str) -> Run | None:
        """The visitor's own run that goes on."""
        run = self.newest
        return run if run is not None and run.owner == owner and not run.ended else None

    def to_watch(self, owner: str) -> Run | None:
        """The same for one more tab, unless enough look at it."""
        run = self.of(owner)
        return run if run and run.watchers < WATCHERS else None

    def _run(self, run: Run, states: States) -> None:
        def asking(batch: Sequence[Example]) -> None:
            run.asking = tuple(batch)
            run.changes += 1

        try:
            for state in states(run, asking):
                run.state = state
                run.changes += 1
                away = not run.watchers and time.monotonic() - run.left_at
                if self.away_s is not None and away > self.away_s:
                    run.stop.set()
        except (EvaluationError, ResultsError, EngineError) as error:
            run.failed = str(error)
        except Exception as error:
            log.exception("An evaluation failed")
            run.failed = f"The evaluation cannot go on: {error}."
        finally:
            run.asking, run.ended = (), True
            run.changes += 1


def told_of(state: Progress, run: Run) -> str:
    """How far a run has come, a sentence."""
    told = f"{state.done:,} of {state.total:,} questions"
    if failed := sum(bool(item.error or item.failures) for item in state.results.items):
        told += f", {failed:,} of them failed"
    if run.stop.is_set():
        return f"{told}. Stopping."
    return told + ("." if state.eta_s is None else f", about {duration(state.eta_s)} left.")


def duration(seconds: float) -> str:
    """ "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

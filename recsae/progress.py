"""Narration on stderr: a live bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

QUIET_SECONDS = 10.0
"""Least time between two plain lines about the same task."""


class Step(Protocol):
    """Called with the units done since the last call and what to say about them."""

    def __call__(self, n: int = 1, info: str = "") -> None: ...


class Reporter:
    """Where stages say what they do. This one says nothing, for use as a library."""

    def note(self, text: str) -> None:
        """Say one line."""

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Step]:
        """Follow ``total`` units of work; yields the function to call as they get done."""
        yield lambda n=1, info="": None


class PlainReporter(Reporter):
    """Lines for a log file or a pipe."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Step]:
        started = said = time.monotonic()
        done, last = 0, ""

        def step(n: int = 1, info: str = "") -> None:
            nonlocal done, last, said
            done, last, now = done + n, info, time.monotonic()
            if now - said < QUIET_SECONDS or done >= total:
                return
            said = now
            rate = done / (now - started)
            left = f"{rate:,.4g} {unit}/s, about {(total - done) / rate:.0f} s left"
            self.note("  ".join(filter(None, (f"{title}: {done}/{total} {unit}", left, info))))

        yield step
        seconds = time.monotonic() - started
        rate_text = f"{done / seconds:,.4g} {unit}/s" if seconds > 0 else ""
        text = f"{title}: {done} {unit} in {seconds:.1f} s"
        self.note("  ".join(filter(None, (text, rate_text, last))))


class RichReporter(Reporter):
    """A live bar per task; it becomes one line when the task ends."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[Step]:
        bars = _bars(unit)
        with bars:
            bar: TaskID = bars.add_task(title, total=total, info="")

            def step(n: int = 1, info: str = "") -> None:
                bars.update(bar, advance=n, info=info)

            yield step
            bars.update(bar, total=bars.tasks[0].completed)


def _bars(unit: str) -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """Units per second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.4g} {unit}/s" if speed else "", style="progress.data.speed")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[info]}"),
        console=Console(stderr=True),
    )


def reporter() -> Reporter:
    """The reporter that fits stderr."""
    return RichReporter() if sys.stderr.isatty() else PlainReporter()


WARNING = "warning: "
"""How a line begins that is a warning."""

_told: ContextVar[tuple[Callable[[str], None], set[str]] | None] = ContextVar("told", default=None)


@contextmanager
def telling(say: Callable[[str], None]) -> Iterator[None]:
    """Have ``say`` called with what is found for references to runs, once with each line.

    References are resolved deep inside the stages, and the one who typed them wants to know.
    """
    mark = _told.set((say, set()))
    try:
        yield
    finally:
        _told.reset(mark)


def tell(text: str) -> None:
    """Say a line to who listens, unless it has been said."""
    if (listener := _told.get()) is not None and text not in listener[1]:
        listener[1].add(text)
        listener[0](text)

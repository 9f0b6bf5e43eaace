"""Narration goes to stderr, in lines that a log can hold; stdout stays empty."""

from __future__ import annotations

import re
import sys

import pytest

from recsae import progress
from recsae.progress import PlainReporter, Reporter, RichReporter, reporter

REPORTERS = (Reporter, PlainReporter, RichReporter)


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


@pytest.mark.parametrize("kind", REPORTERS)
@pytest.mark.parametrize("total", [0, 3])
def test_nothing_on_stdout(
    kind: type[Reporter], total: int, capfd: pytest.CaptureFixture[str]
) -> None:
    said = kind()
    said.note("a note")
    with said.task("work", total, "cases") as step:
        for _ in range(total):
            step()
        step(0, "info")
    out, err = capfd.readouterr()
    assert out == ""
    assert ("a note" in err) is ("work" in err) is (kind is not Reporter)


@pytest.mark.parametrize("kind", REPORTERS)
def test_an_error_passes_through(kind: type[Reporter], capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with kind().task("work", 3, "cases") as step:
            step(1)
            raise KeyError("x")

    with pytest.raises(KeyError):
        work()
    assert capfd.readouterr().out == ""


def test_a_task_ends_with_one_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with PlainReporter().task("encode", 40, "vectors") as step:
        clock.now += 1
        step(30, "first")
        clock.now += 1
        step(10, "FVU 0.1")
    assert capsys.readouterr().err == "encode: 40 vectors in 2.0 s  20 vectors/s  FVU 0.1\n"


def test_lines_in_between_are_ten_seconds_apart(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with PlainReporter().task("train", 100, "epochs") as step:
        for _ in range(25):
            clock.now += 1
            step(2, "loss 1")
    assert capsys.readouterr().err.splitlines() == [
        "train: 20/100 epochs  2 epochs/s, about 40 s left  loss 1",
        "train: 40/100 epochs  2 epochs/s, about 30 s left  loss 1",
        "train: 50 epochs in 25.0 s  2 epochs/s  loss 1",
    ]


def test_the_last_step_is_not_said_twice(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with PlainReporter().task("train", 2, "epochs") as step:
        clock.now += 60
        step(2)
    assert capsys.readouterr().err == "train: 2 epochs in 60.0 s  0.03333 epochs/s\n"


def test_no_time_at_all(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with PlainReporter().task("train", 2, "epochs") as step:
        step(2)
    assert capsys.readouterr().err == "train: 2 epochs in 0.0 s\n"


def test_a_failed_task_claims_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with PlainReporter().task("train", 2, "epochs") as step:
            step(1)
            raise ValueError

    with pytest.raises(ValueError):
        work()
    assert capsys.readouterr().err == ""


def test_plain_lines_have_no_control_characters(capfd: pytest.CaptureFixture[str]) -> None:
    said = reporter()
    assert type(said) is PlainReporter
    said.note("é and [bold]this[/bold]")
    with said.task("work", 1, "cases") as step:
        step(1)
    first, second, *rest = capfd.readouterr().err.split("\n")
    assert first == "é and [bold]this[/bold]"
    assert re.fullmatch(r"work: 1 cases in 0\.\d s  [\d.,e+]+ cases/s", second)
    assert rest == [""]


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert type(reporter()) is RichReporter


def test_the_bar_ends_full_though_less_was_done(capfd: pytest.CaptureFixture[str]) -> None:
    """Training stops early more often than not."""
    with RichReporter().task("train", 200, "epochs") as step:
        step(12, "loss 1")
    err = capfd.readouterr().err
    assert "12/12" in err
    assert "loss 1" in err

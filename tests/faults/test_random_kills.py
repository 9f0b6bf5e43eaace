"""SIGKILL at a random moment of a stage: again, it ends as if undisturbed."""

from __future__ import annotations

import random
import signal
from functools import cache
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from faults.forked import Forker
from stages.finished import (
    COMMANDS,
    Finished,
    assert_none_or_all,
    copied,
    differences,
    fresh,
    snapshot,
    until,
)
from stages.processes import Place

from recsae.warehouse.check import check

SEEDS = 20
"""Moments at which each stage is killed."""


class Undisturbed(NamedTuple):
    """A stage that nobody killed."""

    seconds: float
    out: str
    content: dict[str, pl.DataFrame]
    made: Finished
    """Its warehouse, to be compared with."""


@cache
def undisturbed(base: Path, stage: str, forked: Forker) -> Undisturbed:
    """The stage on its own copy of the session's warehouse."""
    own = copied(until(base, stage), base / f"undisturbed-{stage.replace(' ', '-')}")
    done = forked.run(COMMANDS[stage], Place(own.root, own.data))
    assert done.code == 0, done.err
    return Undisturbed(done.seconds, done.out, snapshot(own.root), own)


def interrupted(own: Finished) -> None:
    """Of a stopped stage no more is wrong than that it was stopped, maybe before its record."""
    for problem in check(own.root).problems:
        is_record = problem.place.endswith("/run.json")
        assert is_record or problem.what.endswith("was stopped half-way"), problem


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("stage", COMMANDS)
def test_a_stage_killed_at_a_random_moment(
    base: Path, forked: Forker, stage: str, seed: int
) -> None:
    whole = undisturbed(base, stage, forked)
    own = fresh(until(base, stage), base / f"killed-{stage.replace(' ', '-')}")
    moment = random.Random(f"{stage} {seed}").uniform(0, whole.seconds)
    first = forked.run(COMMANDS[stage], Place(own.root, own.data), kill=moment)
    assert first.code in (-signal.SIGKILL, 0), first.err
    interrupted(own)
    assert_none_or_all(own.root, whole.made)
    again = forked.run(COMMANDS[stage], Place(own.root, own.data))
    assert again.code == 0, again.err
    assert "Traceback" not in again.err
    assert again.out == whole.out
    assert differences(snapshot(own.root), whole.content) == []
    assert check(own.root).problems == []

"""SIGKILL at a random moment of repair and of gc: again, they end as if undisturbed."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from faults.forked import Forker
from faults.test_check import FILES, cut, flip, remove
from faults.test_random_kills import Undisturbed
from stages.finished import Finished, copied, differences, finished, fresh, snapshot
from stages.processes import Place

from recsae.warehouse import Warehouse
from recsae.warehouse.check import check

Harm = Callable[[Finished], None]


def files_turned(own: Finished) -> None:
    """A bit of every file of the autoencoder, and the recommender's cases are gone."""
    for place in FILES[5:]:
        flip(own.root / place.format(own.recommender, own.sae))
    remove(own.root / FILES[0].format(own.recommender))


def rows_lost(own: Finished) -> None:
    """Some of the rows that stages have left."""
    with Warehouse.open(own.root) as warehouse:
        warehouse.execute("delete from staging.user_sides")
        warehouse.execute("delete from concepts.labels")


def database_cut(own: Finished) -> None:
    """No database can be opened."""
    cut(own.root / "recsae.duckdb")


def nothing(own: Finished) -> None:
    """A warehouse that is whole."""


MENDING: dict[str, tuple[Harm, tuple[str, ...]]] = {
    "files": (files_turned, ("repair",)),
    "rows": (rows_lost, ("repair",)),
    "database": (database_cut, ("repair",)),
    "gc of all runs": (nothing, ("gc", "--run", "{recommender}", "--yes")),
    "gc of an autoencoder": (nothing, ("gc", "--run", "{sae}", "--yes")),
}
"""What has happened to a warehouse -> the command that is killed."""


def words_of(what: str, own: Finished) -> list[str]:
    return [word.format(recommender=own.recommender, sae=own.sae) for word in MENDING[what][1]]


@cache
def mended(base: Path, what: str, forked: Forker) -> Undisturbed:
    """The command undisturbed, on its own copy of the session's warehouse."""
    own = copied(finished(base), base / f"mended-{what.replace(' ', '-')}")
    MENDING[what][0](own)
    done = forked.run(words_of(what, own), Place(own.root, own.data))
    assert done.code == 0, (done.out, done.err)
    return Undisturbed(done.seconds, done.out, snapshot(own.root), own)


def killed_and_repeated(base: Path, what: str, forked: Forker, moment: float) -> None:
    """Kill the command at a share of its time; again, it ends as the undisturbed one."""
    whole = mended(base, what, forked)
    own = fresh(finished(base), base / "killed-mending")
    MENDING[what][0](own)
    place, words = Place(own.root, own.data), words_of(what, own)
    first = forked.run(words, place, kill=moment * whole.seconds)
    assert first.code in (-signal.SIGKILL, 0), first.err
    again = forked.run(words, place)
    if words[0] == "gc":  # its runs may be gone from the list; what is left of them goes so
        again = forked.run(["gc"], place)
    assert (again.code, "Traceback" in again.err) == (0, False), (again.out, again.err)
    assert differences(snapshot(own.root), whole.content) == []
    assert check(own.root).problems == []
    left = [path.name for path in (own.root / "tmp").iterdir()]
    assert not [name for name in left if name not in ("locks", "spill")], left


@pytest.mark.parametrize("what", ["gc of all runs", "database"])
def test_mending_killed_at_a_moment(base: Path, forked: Forker, what: str) -> None:
    moment = random.Random(what).random()
    killed_and_repeated(base, what, forked, moment)


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("what", MENDING)
def test_mending_killed_at_a_random_moment(
    base: Path, forked: Forker, what: str, seed: int
) -> None:
    moment = random.Random(f"{what} {seed}").random()
    killed_and_repeated(base, what, forked, moment)

"""Two writers at once, and a reader while a stage writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.forked import Forker, forker
from stages.finished import COMMANDS, copied, differences, rows_of, snapshot, until
from stages.processes import Place

from recsae.warehouse import Warehouse
from recsae.warehouse.check import check


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    """Another process that runs commands."""
    with forker(tmp_path_factory.mktemp("second") / "texts") as one:
        yield one


def test_two_processes_at_the_same_run(
    base: Path, forked: Forker, second: Forker, tmp_path: Path
) -> None:
    """One does it; the other is told, or comes when it is done."""
    own = copied(until(base, "encode"), tmp_path / "warehouse")
    at = Place(own.root, own.data)
    for one in (forked, second):
        one.send(COMMANDS["encode"], at)
    ends = [forked.wait(), second.wait()]
    assert 0 in [end.code for end in ends]
    for end in ends:
        if end.code:
            assert end.code == 1
            assert f"recsae: error: run '{own.sae}' is in use by" in end.err
    assert differences(snapshot(own.root), snapshot(until(base, "concepts").root)) == []
    assert check(own.root).problems == []


def test_two_processes_at_two_runs(
    base: Path, forked: Forker, second: Forker, tmp_path: Path
) -> None:
    """Both write into the same database, and both results are there."""
    own = copied(until(base, "sae train"), tmp_path / "warehouse")
    at = Place(own.root, own.data)
    short = ("sae", "train", "latest", "--scale", "2", "--epochs", "2", "--k")
    forked.send([*short, "2"], at)
    second.send([*short, "3"], at)
    ends = [forked.wait(), second.wait()]
    assert [end.code for end in ends] == [0, 0], [end.err for end in ends]
    made = {end.out.strip() for end in ends}
    with Warehouse.open(own.root, read_only=True) as warehouse:
        done = warehouse.runs().filter(status="done")["run_id"]
    assert made < set(done)
    assert len(made) == 2
    assert check(own.root).problems == []


def test_a_reader_sees_all_or_nothing(base: Path, forked: Forker, tmp_path: Path) -> None:
    """From before the stage to after it; it never waits in vain and is never in the way."""
    before = until(base, "encode")
    own = copied(before, tmp_path / "warehouse")
    complete = rows_of(until(base, "concepts").root, own.sae, "encode")
    forked.send(COMMANDS["encode"], Place(own.root, own.data))
    seen = []
    while not seen or (len(seen) < 500 and not any(seen[-1].values())):
        seen.append(rows_of(own.root, own.sae, "encode"))
    end = forked.wait()
    assert end.code == 0, end.err
    seen.append(rows_of(own.root, own.sae, "encode"))
    assert seen[-1] == complete
    for rows in seen:
        assert rows == complete or not any(rows.values())

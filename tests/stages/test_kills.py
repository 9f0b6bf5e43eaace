"""SIGKILL at many moments: nothing half-written shows, and the same command again mends it all."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.forked import Forker
from stages.finished import (
    COMMANDS,
    OPTIONS,
    Finished,
    assert_none_or_all,
    copied,
    differences,
    fresh,
    planted_data,
    snapshot,
    stage_row,
    until,
)
from stages.processes import Ended, Place, completed, killed

from recsae import datasets
from recsae.warehouse import Warehouse

PREPARE = ["data", "prepare", "planted"]
PREPARE += [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
RUN = ["run", "planted", "--k", "4", "--scale", "2"]
TIMIREC = ["train", "TiMiRec", "planted", "--emb-size", "8", "--K", "3", "--epochs", "5"]
MOMENTS = 4
"""Kills of the pipeline and of a preparation by the clock."""


def place(of: Finished) -> Place:
    return Place(of.root, of.data)


def assert_readable(at: Place, forked: Forker) -> None:
    """A reader lists the runs and opens every view."""
    listed = forked.run(["runs", "--json"], at)
    assert (listed.code, listed.err) == (0, "")
    snapshot(at.root)


def assert_mended(done: Ended, root: Path, whole: Finished) -> None:
    """The command again was a success, and made what it makes undisturbed."""
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert differences(snapshot(root), snapshot(whole.root)) == []
    folders = {path.name for path in (root / "tmp").iterdir() if path.is_dir()}
    assert folders <= {"locks", "spill"}


# -- a few moments, in every test run -------------------------------------------------------------


def test_training_goes_on_from_its_checkpoint(base: Path, whole: Finished, tmp_path: Path) -> None:
    own = copied(until(base, "train"), tmp_path / "warehouse")
    checkpoint = own.root / "runs" / whole.recommender / "checkpoint.pt"
    after = killed(COMMANDS["train"], place(own), lambda _: checkpoint.exists())
    assert after.code == -signal.SIGKILL
    assert_none_or_all(own.root, whole)
    assert stage_row(own.root, whole.recommender, "train")["status"] == "running"
    with Warehouse.open(own.root, read_only=True) as warehouse:
        assert warehouse.runs()["status"].to_list() == ["running"]
    again = completed(COMMANDS["train"], place(own))
    assert "going on after epoch" in again.err
    assert again.code == 0, again.err
    later = snapshot(until(base, "sae train").root)
    assert differences(snapshot(own.root), later) == []


def test_a_kill_while_activations_are_published(
    base: Path, whole: Finished, tmp_path: Path
) -> None:
    """The Parquet file is in its place, and whether it shows depends on the commit alone."""
    own = copied(until(base, "encode"), tmp_path / "warehouse")
    published = own.root / "activations" / f"run_id={whole.sae}" / "part-0.parquet"
    killed(COMMANDS["encode"], place(own), lambda _: published.exists())
    assert published.exists()
    assert_none_or_all(own.root, whole)
    again = completed(COMMANDS["encode"], place(own))
    assert again.code == 0, again.err
    assert differences(snapshot(own.root), snapshot(until(base, "concepts").root)) == []


def test_a_kill_amid_verification(base: Path, whole: Finished, tmp_path: Path) -> None:
    own = copied(until(base, "confidence"), tmp_path / "warehouse")
    locked = lock_of(own.root, whole.sae)
    start = locked.stat().st_mtime_ns if locked.exists() else 0
    working = delayed(lambda: locked.exists() and locked.stat().st_mtime_ns > start, 0.3)
    after = killed(COMMANDS["confidence"], place(own), working)
    assert after.code == -signal.SIGKILL
    assert_none_or_all(own.root, whole)
    assert stage_row(own.root, whole.sae, "confidence")["status"] == "running"
    assert_mended(completed(COMMANDS["confidence"], place(own)), own.root, whole)


@pytest.mark.fault
def test_both_stages_of_timirec_go_on_from_their_checkpoints(
    base: Path, forked: Forker, tmp_path: Path
) -> None:
    """One command trains both: killed in the first, in the second, and then left alone."""
    data = planted_data(base)
    whole, own = Place(tmp_path / "whole", data), Place(tmp_path / "killed", data)
    undisturbed = completed(TIMIREC, whole)
    assert undisturbed.code == 0, undisturbed.err
    for stage in ("timirec-pretrain", "timirec"):
        checkpoint = f"runs/{stage}-planted-*/checkpoint.pt"
        after = killed(TIMIREC, own, lambda _, file=checkpoint: any(own.root.glob(file)))  # type: ignore[misc]
        assert after.code == -signal.SIGKILL, after.err
        assert_readable(own, forked)
        with Warehouse.open(own.root, read_only=True) as warehouse:
            status = dict(warehouse.runs().select("run_id", "status").rows())
        running = [run_id for run_id, now in status.items() if now == "running"]
        assert [run_id.rsplit("-planted-", 1)[0] for run_id in running] == [stage]
        assert set(status.values()) <= {"running", "done"}
    again = completed(TIMIREC, own)
    assert again.err.count("going on after epoch") == 1, again.err
    assert (again.code, again.out) == (0, undisturbed.out)
    assert differences(snapshot(own.root), snapshot(whole.root)) == []


def lock_of(root: Path, run_id: str) -> Path:
    """The file that a process writes when it takes a run."""
    return root / "tmp" / "locks" / f"{run_id}.json"


def delayed(begun: Callable[[], bool], seconds: float) -> Callable[[float], bool]:
    """A moment ``seconds`` after ``begun`` is first true."""
    since: list[float] = []

    def moment(now: float) -> bool:
        if not since and begun():
            since.append(now)
        return bool(since) and now >= since[0] + seconds

    return moment


# -- many moments, with -m fault ------------------------------------------------------------------


def moments(done: Ended, seed: str) -> list[float]:
    """Moments (s) spread over a process that begins with its imports done, and shaken a little."""
    width = 1.02 * done.seconds / MOMENTS
    shake = random.Random(seed)
    return [(i + shake.random()) * width for i in range(MOMENTS)]


def n_events(done: Ended) -> int:
    found = re.search(r"^events (\d+)$", done.err, re.MULTILINE)
    assert found, done.err
    return int(found[1])


@pytest.mark.fault
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("stage", COMMANDS)
def test_a_stage_killed_after_every_step(
    base: Path, forked: Forker, tmp_path: Path, stage: str
) -> None:
    """After every commit and every file that moves to its place."""
    before = until(base, stage)
    words = COMMANDS[stage]
    whole = copied(before, tmp_path / "whole")
    undisturbed = forked.run(words, place(whole), stop=0)
    assert undisturbed.code == 0, undisturbed.err
    expected = snapshot(whole.root)
    for event in range(1, n_events(undisturbed) + 1):
        own = fresh(before, tmp_path / "killed")
        assert forked.run(words, place(own), stop=event).code == -signal.SIGKILL
        assert_none_or_all(own.root, whole)
        assert_readable(place(own), forked)
        again = forked.run(words, place(own))
        assert again.code == 0, (event, again.err)
        assert again.out.strip() in (before.recommender, before.sae)
        assert differences(snapshot(own.root), expected) == [], event


@pytest.mark.fault
@pytest.mark.timeout(1200)
def test_the_whole_pipeline_killed_at_any_moment(
    base: Path, forked: Forker, tmp_path: Path
) -> None:
    data = planted_data(base)
    undisturbed = forked.run(RUN, Place(tmp_path / "whole", data))
    assert undisturbed.code == 0, undisturbed.err
    expected = snapshot(tmp_path / "whole")
    runs = {row["kind"]: row["run_id"] for row in expected["raw.runs"].to_dicts()}
    whole = Finished(tmp_path / "whole", data, runs["recommender"], runs["sae"])
    for number, moment in enumerate(moments(undisturbed, "run")):
        at = Place(tmp_path / f"killed-{number}", data)
        forked.run(RUN, at, kill=moment)
        if (at.root / "recsae.duckdb").exists():
            assert_readable(at, forked)
            assert_none_or_all(at.root, whole)
        again = forked.run(RUN, at)
        assert again.code == 0, (number, again.err)
        assert differences(snapshot(at.root), expected) == [], number
        assert again.out == undisturbed.out
        third = forked.run(RUN, at)
        assert third.err.count("already done") == len(COMMANDS)


@pytest.mark.fault
def test_the_preparation_of_data_killed_at_any_moment(forked: Forker, tmp_path: Path) -> None:
    whole = Place(tmp_path, tmp_path / "whole")
    undisturbed = forked.run(PREPARE, whole, stop=0)
    assert undisturbed.code == 0, undisturbed.err
    expected = files_of(whole.data)
    clock = moments(undisturbed, "prepare")
    for number in range(len(clock) + 2 * n_events(undisturbed)):
        at = Place(tmp_path, tmp_path / f"killed-{number}")
        # the later ones replace what is there
        forced = number >= len(clock) + n_events(undisturbed)
        words = [*PREPARE, "--force"] if forced else PREPARE
        if forced:
            shutil.copytree(whole.data, at.data)
        if number < len(clock):
            forked.run(words, at, kill=clock[number])
        else:
            event = (number - len(clock)) % n_events(undisturbed) + 1
            assert forked.run(words, at, stop=event).code == -signal.SIGKILL
        if datasets.prepared(at.data):
            assert files_of(at.data) == expected
        listed = forked.run(["data", "list"], at)
        assert (listed.code, listed.err) == (0, "")
        again = forked.run(PREPARE, at)
        assert again.code == 0, again.err
        assert files_of(at.data) == expected
        assert not [one for one in (at.data / ".recsae" / "tmp").iterdir() if one.is_dir()]


def files_of(data: Path) -> dict[str, str]:
    """Digest of every file of the prepared data set."""
    found = sorted((data / "planted").iterdir())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

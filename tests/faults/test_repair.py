"""``recsae repair`` brings a damaged warehouse back to what it was, or says what it cannot do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.test_check import FILES, cut, flip, remove
from stages.finished import Finished, differences, snapshot

from recsae.progress import Reporter
from recsae.stages.repair import Repaired, repair
from recsae.warehouse import Warehouse
from recsae.warehouse.check import check
from recsae.warehouse.record import TABLES, read_record, record_path, restore

if TYPE_CHECKING:
    from conftest import Result

    Cli = Callable[..., Result]


def repaired(own: Finished, ref: str | None = None, *, dry_run: bool = False) -> Repaired:
    return repair(own.root, own.data, ref, dry_run=dry_run, reporter=Reporter())


def assert_whole(own: Finished, whole: Finished) -> None:
    assert check(own.root).problems == []
    assert differences(snapshot(own.root), snapshot(whole.root)) == []
    assert not [path for path in (own.root / "tmp").glob("repair.*")]


@pytest.mark.parametrize(
    "harm", [flip, *(pytest.param(h, marks=pytest.mark.fault) for h in (cut, remove))]
)
def test_every_file_is_made_again(
    own: Finished, whole: Finished, harm: Callable[[Path], None]
) -> None:
    """All at once, and without one row of the database being touched."""
    places = [file.format(own.recommender, own.sae) for file in FILES]
    for place in places:
        harm(own.root / place)
    database, problems = (own.root / "recsae.duckdb").read_bytes(), check(own.root).problems
    only_said = repaired(own, dry_run=True)
    assert (len(only_said.done), only_said.left) == (4, [])
    assert check(own.root).problems == problems
    result = repaired(own)
    assert result.left == []
    assert len(result.done) == len(FILES)
    assert all(line.endswith("is as it was") for line in result.done)
    assert (own.root / "recsae.duckdb").read_bytes() == database
    assert_whole(own, whole)


def test_the_command(cli: Cli, own: Finished, whole: Finished) -> None:
    at = ("--warehouse", own.root, "--data", own.data)
    assert cli("repair", *at).err == "nothing to repair\n"
    place = f"activations/run_id={own.sae}/part-0.parquet"
    remove(own.root / place)
    result = cli("repair", own.sae, "--dry-run", *at)
    assert result.out == f"would repair: {own.sae}: encode would be made again\n"
    result = cli("repair", own.sae, *at)
    assert (result.code, result.out) == (0, f"repaired: {own.sae}: {place} is as it was\n")
    assert_whole(own, whole)


@pytest.mark.fault
def test_lost_tables_are_made_again(own: Finished, whole: Finished) -> None:
    with Warehouse.open(own.root) as warehouse:
        warehouse.execute("delete from staging.user_sides")
        warehouse.execute("delete from raw.decoder_items")
        warehouse.execute("delete from concepts.labels")
    result = repaired(own)
    assert result.left == []
    assert_whole(own, whole)


def test_a_stage_that_was_stopped_goes_on(own: Finished, whole: Finished) -> None:
    with Warehouse.open(own.root) as warehouse:
        state = warehouse.stage_state(own.sae, "confidence")
        assert state
        warehouse.start_stage(own.sae, "confidence", state.params, state.input_hash)
    assert repaired(own).left == []
    assert_whole(own, whole)


@pytest.mark.fault
@pytest.mark.parametrize("relation", ["raw.interactions", "staging.cases"])
def test_a_damaged_table(own: Finished, whole: Finished, relation: str) -> None:
    """The other tables go into a new database; the damaged one is kept aside."""
    damage(own.root, relation)
    assert {problem.place for problem in check(own.root).problems} == {relation}
    result = repaired(own)
    assert result.left == []
    assert len(list(own.root.glob("recsae.duckdb.damaged-*"))) == 1
    next(own.root.glob("recsae.duckdb.damaged-*")).unlink()
    assert_whole(own, whole)


def damage(root: Path, relation: str) -> None:
    """Turn bits over, block by block, until one is found that this table alone needs."""
    path = root / "recsae.duckdb"
    data = path.read_bytes()
    for block in range(len(data) // 262_144, 0, -1):
        flip(path, min(12_288 + block * 262_144 - 100_000, len(data) - 1))
        if [problem.place for problem in check(root).problems] == [relation]:
            return
        path.write_bytes(data)
    pytest.skip("no block belongs to this table alone")


def test_a_database_that_cannot_be_opened(cli: Cli, own: Finished, whole: Finished) -> None:
    """The runs are registered from their records; what else it had is made again."""
    path = own.root / "recsae.duckdb"
    cut(path)
    data = path.read_bytes()
    at = ("--warehouse", own.root, "--data", own.data)
    said = cli("repair", "--dry-run", *at)
    assert said.code == 1
    assert said.out.count(": would be registered") == 2
    assert path.read_bytes() == data
    result = cli("repair", *at)
    assert (result.code, "Traceback" in result.err) == (0, False), result.out
    (kept,) = own.root.glob("recsae.duckdb.damaged-*")
    assert kept.read_bytes() == data
    for run_id in (own.recommender, own.sae):
        assert f"repaired: {run_id}: registered from its run.json\n" in result.out
    kept.unlink()
    assert_whole(own, whole)
    assert cli("repair", *at).err == "nothing to repair\n"


def test_a_lost_database_whose_data_set_is_not_prepared(
    cli: Cli, own: Finished, whole: Finished, tmp_path: Path
) -> None:
    """What is missing is named; once it is there, the next repair ends it."""
    cut(own.root / "recsae.duckdb")
    result = cli("repair", "--warehouse", own.root, "--data", tmp_path / "none")
    assert result.code == 1
    assert "recsae data prepare planted" in result.out
    assert cli("runs", "--warehouse", own.root).code == 0
    assert cli("repair", "--warehouse", own.root, "--data", own.data).code == 0
    for kept in own.root.glob("recsae.duckdb.damaged-*"):
        kept.unlink()
    assert_whole(own, whole)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": 2}', '{"format": 1, "runs": [{"run_id": 7}]}']
)
def test_a_record_that_cannot_be_read(cli: Cli, own: Finished, text: str) -> None:
    """The other runs are registered; nothing of this one is deleted."""
    record = own.root / "runs" / own.sae / "run.json"
    record.write_text(text)
    place = f"runs/{own.sae}/run.json"
    bad = "is not a record of a run that this program can read"
    assert [(p.place, p.what) for p in check(own.root).problems] == [(place, bad)]
    cut(own.root / "recsae.duckdb")
    result = cli("repair", "--warehouse", own.root, "--data", own.data)
    assert result.code == 1
    assert f"not repaired: {own.sae}: {record} {bad}; train it again" in result.out
    assert f"repaired: {own.recommender}: registered from its run.json\n" in result.out
    assert record.read_text() == text
    with Warehouse.open(own.root, read_only=True) as warehouse:
        assert warehouse.runs()["run_id"].to_list() == [own.recommender]


def test_an_autoencoder_of_other_vectors_is_not_registered(cli: Cli, own: Finished) -> None:
    """Its recommender was trained again in the meantime, with another result."""
    path = own.root / "runs" / own.recommender / "run.json"
    record = json.loads(path.read_text())
    for row in record["files"]:
        row["sha256"] = row["sha256"] if "vectors" not in row["path"] else "0" * 64
    path.write_text(json.dumps(record))
    cut(own.root / "recsae.duckdb")
    result = cli("repair", own.sae, "--warehouse", own.root, "--data", own.data)
    assert result.code == 1
    assert f"{own.sae}: run {own.recommender} has other vectors by now" in result.out


def test_a_record_that_is_missing_or_behind_is_written(own: Finished, whole: Finished) -> None:
    path = own.root / "runs" / own.sae / "run.json"
    text = path.read_text()
    record = json.loads(text)
    record["stages"] = [row for row in record["stages"] if row["stage"] != "confidence"]
    path.write_text(json.dumps(record))
    (problem,) = check(own.root).problems
    assert problem.what == "does not have stage confidence"
    assert repaired(own).done == [f"{own.sae}: runs/{own.sae}/run.json is written"]
    assert path.read_text() == text
    path.unlink()
    assert [problem.what for problem in check(own.root).problems] == ["is missing"]
    assert repaired(own).left == []
    assert_whole(own, whole)


def test_every_row_of_a_record_comes_back(own: Finished) -> None:
    """With each of its values, times included."""
    records = [read_record(record_path(own.root, run_id)) for run_id in (own.recommender, own.sae)]
    with Warehouse.open(own.root, read_only=True) as warehouse:
        wanted = {name: warehouse.sql(f"from {name} order by all") for name in TABLES}
    with Warehouse.open(own.root.parent / "new", create=True) as new:
        for record in records:
            restore(new, record)
        for name in TABLES:
            assert new.sql(f"from {name} order by all").equals(wanted[name]), name


@pytest.mark.fault
def test_a_training_that_comes_out_otherwise_is_named(own: Finished) -> None:
    """Another version of a library, say: what is built on it stays, and nothing is replaced."""
    place = f"runs/{own.recommender}/vectors.npy"
    with Warehouse.open(own.root) as warehouse:
        warehouse.execute("update raw.files set sha256 = 'other' where path = $p", {"p": place})
    old = snapshot(own.root)
    result = repaired(own)
    assert result.done == []
    (line,) = result.left
    assert line.startswith(f"{own.recommender}: train: what is made now is not what was there")
    assert line.endswith("recsae train SASRec planted --force")
    assert differences(snapshot(own.root), old) == []


def test_a_data_set_that_is_gone_is_named(own: Finished, tmp_path: Path) -> None:
    remove(own.root / "runs" / own.recommender / "items.npy")
    result = repaired(own._replace(data=tmp_path / "none"))
    assert result.done == []
    assert "data set 'planted' is not prepared in" in result.left[0]
    assert "recsae data prepare planted" in result.left[0]


def test_a_file_that_no_stage_wrote_is_left_alone(own: Finished) -> None:
    stranger = own.root / "cases" / f"run_id={own.recommender}" / "mine.parquet"
    stranger.write_bytes(b"x")
    result = repaired(own)
    assert result.left == [
        f"{own.recommender}: train: move cases/run_id={own.recommender}/mine.parquet away"
    ]
    assert stranger.exists()

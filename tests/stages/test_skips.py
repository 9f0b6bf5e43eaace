"""A stage that is done is left alone; --force and anything that went in differently repeat it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pytest
from stages.finished import COMMANDS, RESULTS, Finished, differences, snapshot, stage_row

from recsae.warehouse import Warehouse
from recsae.warehouse.runs import LATER_METRICS

if TYPE_CHECKING:
    from conftest import Result

    Cli = Callable[..., Result]

STAGES = list(COMMANDS)


@pytest.fixture
def at(own: Finished, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """A finished warehouse of the test's own, where commands look by themselves."""
    monkeypatch.setenv("RECSAE_WAREHOUSE", str(own.root))
    monkeypatch.setenv("RECSAE_DATA", str(own.data))
    return own


def run_of(at: Finished, stage: str) -> str:
    return at.recommender if stage == "train" else at.sae


def state(at: Finished, stage: str) -> dict[str, object]:
    return stage_row(at.root, run_of(at, stage), stage.rsplit(" ", 1)[-1])


def done_stages(at: Finished) -> list[str]:
    return [stage for stage in STAGES if state(at, stage).get("status") == "done"]


def times(root: Path) -> dict[str, int]:
    """When each file of the runs was last written."""
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns
        for folder in ("runs", "cases", "recommendations", "activations")
        for path in sorted((root / folder).rglob("*"))
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_done_stage_is_skipped(cli: Cli, at: Finished, stage: str) -> None:
    rows, files = {one: state(at, one) for one in STAGES}, times(at.root)
    before = snapshot(at.root)
    result = cli(*COMMANDS[stage])
    name = stage.rsplit(" ", 1)[-1]
    assert (result.code, result.out) == (0, f"{run_of(at, stage)}\n")
    said = [line for line in result.err.splitlines() if not line.startswith("run latest: ")]
    assert said == [f"{name} {run_of(at, stage)}: already done"]
    assert {one: state(at, one) for one in STAGES} == rows  # also started and seconds
    assert times(at.root) == files
    assert differences(snapshot(at.root), before) == []


def test_forced_stages_give_the_same_again(cli: Cli, at: Finished) -> None:
    """Each takes the later ones with it, until they have run again."""
    before = snapshot(at.root)
    for i, stage in enumerate(STAGES):
        old = state(at, stage)
        assert cli(*COMMANDS[stage], *(["--force"] if old else [])).code == 0
        assert state(at, stage)["started"] != old.get("started")
        assert done_stages(at) == STAGES[: i + 1]
    assert differences(snapshot(at.root), before) == []


def test_a_forced_stage_repeats_itself_alone(cli: Cli, at: Finished) -> None:
    """What comes before it stays, what comes after counts as not done."""
    stage = "concepts"
    before, earlier = snapshot(at.root), STAGES[: STAGES.index(stage)]
    rows = {one: state(at, one) for one in earlier}
    assert cli(*COMMANDS[stage], "--force").code == 0
    assert {one: state(at, one) for one in earlier} == rows
    assert done_stages(at) == [*earlier, stage]
    after = snapshot(at.root)
    same = {relation for one in [*earlier, stage] for relation in RESULTS[one]}
    later = pl.col("metric").is_in(LATER_METRICS["confidence"])
    assert after["raw.metrics"].filter(later).is_empty()
    before["raw.metrics"] = before["raw.metrics"].filter(~later)
    assert not same & set(differences(after, before))


def test_a_change_makes_another_run(cli: Cli, at: Finished) -> None:
    """The run that was there stays as it is."""
    before = snapshot(at.root)
    for words in (
        ["train", "SASRec", "planted", "--emb-size", "32", "--epochs", "1"],
        ["sae", "train", at.recommender, "--k", "3", "--scale", "2", "--epochs", "1"],
        ["sae", "train", at.recommender, "--k", "4", "--scale", "2", "--epochs", "1"],
    ):
        made = cli(*words)
        assert made.code == 0
        assert made.out.strip() not in before["raw.runs"]["run_id"]
        assert made.out == cli(*words).out
    with Warehouse.open(at.root, read_only=True) as warehouse:
        for relation in (one for stage in STAGES for one in RESULTS[stage] if one != "raw.runs"):
            kept = warehouse.sql(
                f"select * from {relation} where run_id in ($rec, $sae)",
                {"rec": at.recommender, "sae": at.sae},
            )
            assert len(kept) >= len(before[relation])
        assert len(warehouse.runs()) == 5
    assert done_stages(at) == STAGES


@pytest.mark.parametrize(
    ("stage", "option"), [("concepts", "--label-tags"), ("confidence", "--min-active")]
)
def test_another_option_repeats_a_stage_of_the_same_run(
    cli: Cli, at: Finished, stage: str, option: str
) -> None:
    old = state(at, stage)
    result = cli(*COMMANDS[stage], option, "3")
    assert (result.code, result.out) == (0, f"{at.sae}\n")
    assert "already done" not in result.err
    new = state(at, stage)
    assert new["input_hash"] != old["input_hash"]
    assert new["params"] != old["params"]
    assert done_stages(at) == STAGES[: STAGES.index(stage) + 1]


def test_what_follows_a_changed_stage_runs_again(cli: Cli, at: Finished) -> None:
    """Other concepts under the same confidence options are verified anew."""
    old = snapshot(at.root)["confidence.scores"]
    assert cli(*COMMANDS["concepts"], "--label-tags", "2").code == 0
    refused = cli("report", at.sae)
    assert refused.code == 3
    assert refused.err.endswith(f"hint: recsae confidence {at.sae}\n")
    again = cli(*COMMANDS["confidence"])
    assert again.code == 0
    assert "already done" not in again.err
    assert not snapshot(at.root)["confidence.scores"].equals(old)


def test_a_recommender_trained_again_takes_its_autoencoders_along(cli: Cli, at: Finished) -> None:
    assert cli(*COMMANDS["train"], "--force").code == 0
    assert done_stages(at) == ["train"]
    for stage in ("encode", "concepts", "confidence"):
        refused = cli(*COMMANDS[stage][:-1] if stage == "encode" else (stage,), at.sae)
        assert refused.code == 3, refused.err
        assert "Traceback" not in refused.err


def test_files_that_are_gone_are_made_again(cli: Cli, at: Finished) -> None:
    """A stage whose Parquet files were deleted does not count as done."""
    before = snapshot(at.root)
    folder = at.root / "activations" / f"run_id={at.sae}"
    (folder / "part-0.parquet").unlink()
    refused = cli(*COMMANDS["concepts"])
    assert refused.code == 3
    assert refused.err.endswith(
        f"stage encode of run '{at.sae}' has lost its files\nhint: recsae sae encode {at.sae}\n"
    )
    for stage in ("encode", "concepts", "confidence"):
        again = cli(*COMMANDS[stage])
        assert again.code == 0
        assert "already done" not in again.err
    assert differences(snapshot(at.root), before) == []


def test_run_twice(cli: Cli, at: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call only reports, and reports the same."""
    monkeypatch.setenv("RECSAE_WAREHOUSE", str(tmp_path / "new"))
    words = ("run", "planted", "--model", "BPRMF", "--k", "4", "--scale", "1", "--json")
    first = cli(*words)
    before, files = snapshot(tmp_path / "new"), times(tmp_path / "new")
    second = cli(*words)
    assert (first.code, second.code) == (0, 0)
    assert first.out == second.out
    assert second.err.count(": already done") == len(STAGES)
    assert "data planted: already prepared\n" in second.err
    assert times(tmp_path / "new") == files
    assert differences(snapshot(tmp_path / "new"), before) == []


def test_a_data_set_prepared_anew_with_other_content(
    cli: Cli, at: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run goes on meaning the users and items that it was trained on, in every command."""
    questions = (
        *(("report", at.sae, "--top", 0), ("latent", at.sae, 0), ("evaluate", at.sae)),
        ("query", "report.latent_decoder_items", "-p", "run_id", at.sae, "-p", "latent_id", 0),
        ("query", "from case_latents order by all", "--format", "csv"),
        ("query", TITLES, "--format", "csv"),
    )
    before = [cli(*words) for words in questions]
    monkeypatch.setenv("RECSAE_DATA", str(tmp_path / "data"))
    sizes = ("--concepts", 4, "--users", 60, "--items", 80)
    assert cli("data", "prepare", "planted", *sizes).code == 0
    assert cli("train", "BPRMF", "planted", "--epochs", 1).code == 0
    for words, first in zip(questions, before, strict=True):
        again = cli(*words)
        assert again.code == first.code == 0, again.err
        assert re.sub(r"planted@[0-9a-f]{8}", "planted", again.out) == first.out, words
    assert "already done" in cli("sae", "encode", at.sae).err
    assert cli("sae", "train", at.recommender, "--epochs", 1).code == 0
    forced = cli("confidence", at.sae, "--force")
    assert forced.code == 0, forced.err
    assert cli("check").code == 0


TITLES = """
select r.run_id, a.case_id, a.latent_id, i.title, u.source_user_id
from raw.activations as a
join raw.runs as r using (run_id)
join raw.items as i using (dataset, item_id)
join raw.users as u using (dataset, user_id)
order by all
"""


@pytest.mark.parametrize("relation", ["confidence.scores", "confidence.concept_groups"])
def test_a_table_of_another_version_is_made_anew(cli: Cli, at: Finished, relation: str) -> None:
    """Its columns are others: the stage that fills it makes the table again, and ends."""
    with Warehouse.open(at.root, read_only=True) as warehouse:
        before = warehouse.sql(f"from {relation} order by all")
    with duckdb.connect(str(at.root / "recsae.duckdb")) as connection:
        connection.execute(f"drop table {relation}")
        connection.execute(f"create table {relation} (run_id varchar, old integer)")
        connection.execute("update raw.meta set value = 'old' where key = 'headers'")
    result = cli(*COMMANDS["confidence"], "--force")
    assert (result.code, result.out) == (0, f"{at.sae}\n"), result.err
    assert done_stages(at) == STAGES
    with Warehouse.open(at.root, read_only=True) as warehouse:
        assert warehouse.sql(f"from {relation} order by all").equals(before)

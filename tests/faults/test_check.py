"""``recsae check`` names whatever is damaged, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from stages.finished import Finished

from recsae.warehouse import Warehouse
from recsae.warehouse.check import LABELS, Found, check
from recsae.warehouse.publish import KINDS

if TYPE_CHECKING:
    from conftest import Result

    Cli = Callable[..., Result]

FILES = (
    "cases/run_id={0}/part-0.parquet",
    "recommendations/run_id={0}/part-0.parquet",
    "activations/run_id={1}/part-0.parquet",
    "runs/{0}/vectors.npy",
    "runs/{0}/items.npy",
    "runs/{0}/model.safetensors",
    "runs/{1}/sae/model.safetensors",
    "runs/{1}/sae/config.json",
    "item_latents/run_id={1}/part-0.parquet",
    "latent_pairs/run_id={1}/part-0.parquet",
    "user_concepts/run_id={1}/part-0.parquet",
    "latent_positions/run_id={1}/part-0.parquet",
)
"""Every file of a finished warehouse; {0} is the recommender and {1} the autoencoder."""


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path, place: int | None = None) -> None:
    """Turn one bit over, in the middle unless told."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 4
    path.write_bytes(bytes(data))


def remove(path: Path) -> None:
    path.unlink()


def said(found: Found) -> list[tuple[str | None, str | None, str, str]]:
    return [tuple(problem) for problem in found.problems]


def test_nothing_is_wrong_with_what_is_whole(whole: Finished) -> None:
    found = check(whole.root)
    assert (found.problems, found.notes) == ([], [])
    assert found.runs == [whole.recommender, whole.sae]
    assert found.n_files == len(FILES)
    files = [file.format(whole.recommender, whole.sae) for file in FILES]
    assert found.n_bytes == sum((whole.root / file).stat().st_size for file in files)
    with Warehouse.open(whole.root, read_only=True) as warehouse:
        assert sorted(files) == sorted(warehouse.sql("select path from raw.files")["path"])


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named(own: Finished, file: str) -> None:
    place = file.format(own.recommender, own.sae)
    run_id = own.sae if "{1}" in file else own.recommender
    stage = KINDS.get(file.split("/")[0], ("", "train"))[1]
    path = own.root / place
    size = path.stat().st_size
    flip(path)
    other = "is not as it was written: its checksum is another one"
    assert said(check(own.root)) == [(run_id, stage, place, other)]
    assert check(own.root, quick=True).problems == []
    cut(path)
    short = f"has {size // 2} bytes, not {size}"
    for quick in (True, False):
        assert said(check(own.root, quick=quick)) == [(run_id, stage, place, short)]
    remove(path)
    assert said(check(own.root, quick=True)) == [(run_id, stage, place, "is missing")]


def test_the_command(cli: Cli, own: Finished) -> None:
    at = ("--warehouse", own.root)
    whole = cli("check", *at)
    assert (whole.code, whole.out) == (0, "")
    assert whole.err.startswith("2 runs, 12 files with checksums (")
    assert whole.err.endswith("): no problems\n")
    place = f"activations/run_id={own.sae}/part-0.parquet"
    remove(own.root / place)
    for words in ((), (own.sae,), ("latest", "--quick")):
        result = cli("check", *words, *at)
        assert result.code == 1
        assert result.out == f"{own.sae}: {place} is missing; recsae repair {own.sae}\n"
    assert cli("check", own.recommender, *at).code == 0
    listed = json.loads(cli("check", "--json", *at).out)
    assert listed["problems"] == [
        {
            "run_id": own.sae,
            "stage": "encode",
            "place": place,
            "what": "is missing",
            "command": f"recsae repair {own.sae}",
        }
    ]
    assert cli("check", "nobody", *at).code == 2


def test_a_file_that_no_stage_wrote_is_named(own: Finished) -> None:
    """The views would show its rows."""
    folder = own.root / "activations" / f"run_id={own.sae}"
    (folder / "part-1.parquet").write_bytes((folder / "part-0.parquet").read_bytes())
    place = f"activations/run_id={own.sae}/part-1.parquet"
    assert said(check(own.root)) == [(own.sae, "encode", place, "was not written by the stage")]


@pytest.mark.parametrize("harm", [cut, remove])
def test_runs_without_checksums(own: Finished, harm: Callable[[Path], None]) -> None:
    """As an older version left them: what can be seen is named; a turned bit would not be."""
    with Warehouse.open(own.root) as warehouse:
        warehouse.execute("delete from raw.files")
    found = check(own.root)
    assert found.problems == []
    assert found.notes == [
        f"{run_id} is of a version that registered no checksums"
        for run_id in (own.recommender, own.sae)
    ]
    harmed = [file.format(own.recommender, own.sae) for file in FILES[:4]]
    for place in harmed:
        harm(own.root / place)
    assert {problem.place for problem in check(own.root).problems} == set(harmed)


@pytest.mark.parametrize("lost", ["delete from", "drop table"])
def test_groups_of_a_run_that_an_earlier_version_verified(own: Finished, lost: str) -> None:
    """It made none; a run without interpretable latents has none either, and is whole."""
    with Warehouse.open(own.root) as warehouse:
        if lost == "drop table":  # views read it
            warehouse.execute("drop view main.concept_groups")
        warehouse.execute(f"{lost} confidence.concept_groups")
    named = (own.sae, "confidence", "confidence.concept_groups", "has no rows of the run")
    assert said(check(own.root)) == [named]
    with Warehouse.open(own.root) as warehouse:
        warehouse.execute("update confidence.scores set status = 'not shown'")
    assert check(own.root).problems == []


def test_other_numbers_of_rows_are_named(own: Finished) -> None:
    with Warehouse.open(own.root) as warehouse:
        warehouse.execute("delete from raw.files")
        warehouse.execute("update raw.metrics set value = value + 1 where metric = 'activations'")
        n = int(warehouse.sql("select count(*) from raw.activations").item())
        warehouse.execute("delete from raw.users where user_id = 7")
        n_labels = warehouse.sql("select count(*) from concepts.labels").item()
        warehouse.execute("delete from concepts.labels")
        warehouse.execute("drop table confidence.scores cascade")
    assert said(check(own.root)) == [
        (None, None, "raw.users", "has 299 rows of data set planted, not 300"),
        (own.sae, "concepts", "concepts.labels", f"has 0 rows of the run, not {n_labels}"),
        (own.sae, "confidence", "confidence.scores", "is missing"),
        (own.sae, "encode", f"activations/run_id={own.sae}", f"has {n} rows, not {n + 1}"),
    ]


def test_labels_of_an_earlier_version_were_not_counted(own: Finished) -> None:
    with Warehouse.open(own.root) as warehouse:
        warehouse.execute("delete from raw.metrics where metric = 'labelled latents'")
        warehouse.execute("delete from concepts.labels where latent_id = 0")
    assert not [problem for problem in check(own.root).problems if problem.place == LABELS]
    with Warehouse.open(own.root) as warehouse:
        warehouse.execute("delete from concepts.labels")
    lost = (own.sae, "concepts", LABELS, "has no rows of the run")
    assert said(check(own.root)) == [lost]


def test_a_stage_that_was_stopped_and_one_that_runs(own: Finished) -> None:
    from recsae.warehouse import run_lock

    with Warehouse.open(own.root) as warehouse:
        warehouse.start_stage(own.sae, "concepts", {}, "x")
    half = (own.sae, "concepts", "raw.stages", "stage concepts was stopped half-way")
    assert said(check(own.root)) == [half]
    with run_lock(own.root, own.sae):
        found = check(own.root)
    assert found.problems == []
    assert found.notes == [f"{own.sae} is in use by another process and not checked"]


def test_a_database_that_cannot_be_opened(cli: Cli, own: Finished) -> None:
    cut(own.root / "recsae.duckdb")
    result = cli("check", "--warehouse", own.root)
    assert result.code == 1
    assert result.out.startswith("recsae.duckdb is damaged: ")
    assert result.out.endswith("; recsae repair\n")
    assert len(result.out.splitlines()) == 1


@pytest.mark.parametrize(
    "seeds", [range(4), pytest.param(range(4, 40), marks=pytest.mark.fault)], ids=len
)
def test_a_turned_bit_in_the_database_is_named(own: Finished, seeds: range) -> None:
    """Wherever it is in a block that DuckDB uses; a free block has nothing to lose."""
    path = own.root / "recsae.duckdb"
    data = path.read_bytes()
    n_named = 0
    for seed in seeds:
        path.write_bytes(data)
        flip(path, random.Random(seed).randrange(len(data)))
        problems = check(own.root).problems
        n_named += bool(problems)
        for problem in problems:
            assert problem.run_id is None
            assert "is damaged" in problem.what
    assert n_named >= 0.7 * len(seeds)

"""Summaries: what is kept as Parquet is what their queries find, with it or without."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsae.errors import DataError
from recsae.sae import encode
from recsae.stages.encode import summarise
from recsae.warehouse import Warehouse, gc, load, publish, statements, summaries
from recsae.warehouse.connection import connect
from recsae.warehouse.publish import SUMMARISED_BY, relation_of
from recsae.warehouse.runs import Stage
from recsae.warehouse.session import Session
from recsae.warehouse.workspace import Workspace

if TYPE_CHECKING:
    from conftest import Maker
    from stages.finished import Finished

KINDS = sorted(SUMMARISED_BY)
ACTIVATIONS = pl.Schema(encode.ACTIVATIONS)


def summary(warehouse: Warehouse, kind: str) -> pl.DataFrame:
    return warehouse.sql(f"from {relation_of(kind)} order by all")


def counted(warehouse: Warehouse, kind: str) -> pl.DataFrame:
    """What the query itself finds in the activations."""
    return warehouse.sql(f"from ({load(relation_of(kind)).text}) order by all")


# -- a finished run -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_is_what_the_query_finds(whole: Finished, kind: str) -> None:
    with Warehouse.open(whole.root, read_only=True) as warehouse:
        kept = publish.published_folders(warehouse, kind)
        assert [folder.name for folder in kept] == [f"run_id={whole.sae}"]
        found = summary(warehouse, kind)
        assert len(found) > 0
        assert found.equals(counted(warehouse, kind))


def test_who_carries_a_concept_has_active_cases_of_its_latents(whole: Finished) -> None:
    """The two views agree: a user's concept is active at least as often as its best latent."""
    with Warehouse.open(whole.root, read_only=True) as warehouse:
        by_latent = warehouse.sql(
            "select user_id, concept, max(n_active) as most, sum(n_active) as all "
            "from user_latents where status = 'interpretable' and n_active > 0 group by all"
        )
        both = warehouse.sql("from user_concepts").join(by_latent, on=["user_id", "concept"])
        assert len(both) == len(by_latent) == warehouse.sql("from user_concepts").height > 0
    assert (both["n_active"] >= both["most"]).all()
    assert (both["n_active"] <= both["all"]).all()


# -- ranges ---------------------------------------------------------------------------------------


def firings() -> st.SearchStrategy[list[tuple[int, int, int, int, float]]]:
    """Rows of activations, one per latent and case; the user of a case is a tenth of its id."""
    pair = st.tuples(st.integers(0, 6), st.integers(0, 60))
    return st.lists(pair, unique=True, max_size=60).map(
        lambda pairs: [(lt, case, case // 10 + 1, case % 5, 1.0 + lt) for lt, case in pairs]
    )


@settings(max_examples=40, deadline=None)
@given(rows=firings(), row_group=st.sampled_from([1, 4, 10**6]))
def test_ranges_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int, int, int, float]],
    row_group: int,
) -> None:
    """Cut into as many ranges as there is to cut, or into one: the same rows, each once."""
    temp = tmp_path_factory.mktemp("ranges")
    (temp / "activations").mkdir()
    frame = pl.DataFrame(rows, schema=ACTIVATIONS, orient="row")
    frame.write_parquet(temp / "activations" / "part-0.parquet")
    # latent 9 never fires, but its decoder row points somewhere
    directions = pl.DataFrame(
        {"run_id": ["s"] * 2, "latent_id": [0, 9], "rank": [1, 1], "item_id": [2, 3]},
        schema={"run_id": pl.String, **dict.fromkeys(("latent_id", "rank", "item_id"), pl.Int32)},
    ).with_columns(score=pl.lit(0.5, pl.Float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summaries, "ROW_GROUP", row_group)
        folders = summarise(temp, "s", temp / "activations", directions, temp)
    session = Session(connect(None, temp, read_only=False, wait=0), temp, read_only=False)
    try:
        session.execute("create schema raw")
        session._connection.register("given", frame)
        session._connection.register("pointed", directions)
        session.execute("create view raw.activations as select 's' as run_id, * from given")
        session.execute("create view raw.decoder_items as from pointed")
        for kind, folder in folders.items():
            query = load(relation_of(kind))
            want = session.sql(f"from ({query.text}) order by all")
            kept = f"from ({statements.of_run(query, 's', folder)}) order by all"
            assert session.sql(kept).equals(want)
    finally:
        session.close()


def test_ranges_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Ranges of users for what is asked by user, so that a part of the file has the answer."""
    rows = [(0, case, case + 1, 1, 1.0) for case in range(64)]
    session = Session(connect(None, tmp_path, read_only=False, wait=0), tmp_path, read_only=False)
    try:
        session._connection.register("given", pl.DataFrame(rows, schema=ACTIVATIONS, orient="row"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(summaries, "ROW_GROUP", 4)
            cuts = list(summaries._ranges(session, "from given", "user_id"))
            assert list(summaries._ranges(session, "from given", "latent_id")) == [None]
        counts = [session.sql(f"select count(*) from given where {w}").item() for w in cuts]
    finally:
        session.close()
    assert counts == [16] * 4


# -- runs without one -----------------------------------------------------------------------------


def test_a_run_without_a_summary_is_counted(filled: Path) -> None:
    with Warehouse.open(filled, read_only=True) as warehouse:
        assert publish.published_folders(warehouse, "item_latents") == []
        rows = warehouse.sql("select item_id, latent_id, n_cases, n_users from item_latents").rows()
        assert rows == [(7, 0, 2, 2)]
        assert summary(warehouse, "latent_pairs").rows() == [("sae-1", 0, 0, 2)]


def test_a_summary_that_no_stage_registered_is_not_read(own: Finished) -> None:
    """An earlier version of the program encodes again without making one: it would be stale."""
    with Warehouse.open(own.root) as warehouse:
        before = summary(warehouse, "item_latents")
        warehouse.execute("delete from raw.files where starts_with(path, 'item_latents/')")
        with warehouse.transaction():
            publish.refresh_views(warehouse)
        assert publish.published_folders(warehouse, "item_latents") == []
        assert summary(warehouse, "item_latents").equals(before)


def test_a_damaged_summary_does_not_stand_in_the_way(own: Finished) -> None:
    path = own.root / "latent_pairs" / f"run_id={own.sae}" / "part-0.parquet"
    with Warehouse.open(own.root) as warehouse:
        before = summary(warehouse, "latent_pairs")
        path.write_bytes(path.read_bytes()[:20])
        with warehouse.transaction():
            publish.refresh_views(warehouse)
        assert summary(warehouse, "latent_pairs").equals(before)


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_gone_is_named_with_what_makes_it_again(own: Finished, kind: str) -> None:
    shutil.rmtree(own.root / kind)
    with (
        Warehouse.open(own.root, read_only=True) as warehouse,
        pytest.raises(DataError, match=f"{kind}/run_id=.* is missing or damaged") as caught,
    ):
        summary(warehouse, kind)
    assert caught.value.hint == f"recsae repair {own.sae}"


def test_a_stage_publishes_no_other_summary(root: Path, make: Maker, tmp_path: Path) -> None:
    with Warehouse.open(root) as warehouse:
        make.recommender(warehouse)
        make.sae(warehouse)
        warehouse.start_stage("sae-1", "encode", {}, "h4")
        folder = make.write(tmp_path / "a", [(0, 0, 1, 7, 1.0)], ACTIVATIONS)
        folders = {"activations": folder, "user_concepts": folder}
        with pytest.raises(DataError, match="stage encode publishes"):
            warehouse.publish("sae-1", "encode", folders, seconds=1.0)


@pytest.mark.parametrize("stage", ["concepts", "confidence"])
def test_they_go_with_the_stage_that_made_them(own: Finished, stage: Stage) -> None:
    """A stage that starts again takes its summaries out of sight, those before it stay.

    Also when an earlier one starts, which makes none itself; and what it left can be collected.
    """
    with Warehouse.open(own.root) as warehouse:
        warehouse.start_stage(own.sae, stage, {}, "h9")
        assert publish.published_folders(warehouse, "user_concepts") == []
        assert len(publish.published_folders(warehouse, "latent_pairs")) == 1
        assert warehouse.sql("from user_concepts").is_empty()
        warehouse.fail_stage(own.sae, stage)
    gc.delete_leftovers(own.root, age=0)
    assert not (own.root / "user_concepts" / f"run_id={own.sae}").exists()
    with Warehouse.open(own.root, read_only=True) as warehouse:
        # without concepts there are no levels
        active = warehouse.sql("select count(*) from latent_positions where n_active > 0").item()
        assert (active > 0) == (stage == "confidence")
        assert warehouse.sql("select count(*) from latent_positions").item() > 0


def test_a_summary_of_other_columns_is_counted_anew(own: Finished) -> None:
    """As another version of the program may leave it: the warehouse opens all the same."""
    path = own.root / "item_latents" / f"run_id={own.sae}" / "part-0.parquet"
    with Warehouse.open(own.root, read_only=True) as warehouse:
        before = summary(warehouse, "item_latents")
    pl.read_parquet(path).drop("max_value").write_parquet(path)
    with duckdb.connect(str(own.root / "recsae.duckdb")) as connection:
        connection.execute("update raw.meta set value = 'old' where key = 'headers'")
    for read_only in (True, False):
        with Warehouse.open(own.root, read_only=read_only) as warehouse:
            assert summary(warehouse, "item_latents").equals(before)


def test_ranges_of_what_confidence_counts(own: Finished, tmp_path: Path) -> None:
    with Warehouse.open(own.root, read_only=True) as warehouse:
        run = warehouse.run(own.sae)
        want = {k: summary(warehouse, k) for k in ("user_concepts", "latent_positions")}
    relations = ("staging.level_edges", "concepts.labels", "confidence.scores")
    with (
        Workspace.open(own.root, run, relations) as workspace,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(summaries, "ROW_GROUP", 100)
        for kind, rows in want.items():
            folder = summaries.write_summary(workspace, kind, workspace.sources(run), tmp_path)
            kept = statements.of_run(load(relation_of(kind)), own.sae, folder)
            assert workspace.sql(f"from ({kept}) order by all").equals(rows)
    assert len(list((tmp_path / "user_concepts").iterdir())) > 1
    assert len(list((tmp_path / "latent_positions").iterdir())) == 1

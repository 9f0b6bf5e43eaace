"""Positions that number another history, or start at 0, or repeat meetings, are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from vectors.toy_vectors import Toy, per_position, toy

from recsae.errors import DataError
from recsae.vectors import match, table_of
from recsae.warehouse import Warehouse

if TYPE_CHECKING:
    from conftest import Result

Cli = Callable[..., "Result"]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return toy(tmp_path_factory.mktemp("positions"))


def states(given: Toy, first: int, last: int) -> tuple[list[str], list[int], np.ndarray]:
    """Ids, positions and vectors after ``first`` to n + ``last`` items; nothing known is zero."""
    ids, positions, rows = [], [], []
    for (user,), own in given.content.interactions.sort("user_id", "position").group_by(
        "user_id", maintain_order=True
    ):
        seen = np.cumsum(given.items[own["item_id"].to_numpy() - 1], axis=0)
        seen = (
            np.vstack([np.zeros(seen.shape[1]), seen])
            / np.maximum(np.arange(len(own) + 1), 1)[:, None]
        )
        for position in range(first, len(own) + last + 1):
            ids.append(given.user_ids[int(str(user)) - 1])
            positions.append(position)
            rows.append(seen[position])
    return ids, positions, np.array(rows, np.float32)


def items_of(given: Toy, folder: Path) -> Path:
    np.savez(folder / "i.npz", vectors=given.items, ids=np.array(given.item_ids))
    return folder / "i.npz"


def imported(
    cli: Cli, root: Path, given: Toy, folder: Path, rows: tuple[list[str], list[int], np.ndarray]
) -> Result:
    ids, positions, vectors = rows
    file = folder / "p.npz"
    np.savez(file, vectors=vectors, ids=np.array(ids), positions=np.array(positions))
    return cli(
        *("import", "vectors", "--users", file, "--items", items_of(given, folder)),
        *("--dataset", "planted", "--data", given.data, "--warehouse", root),
    )


def n_runs(root: Path) -> int:
    with Warehouse.open(root, read_only=True) as warehouse:
        return len(warehouse.runs())


@pytest.mark.parametrize(("first", "last"), [(1, -1), (0, -1), (1, 0), (0, 0)])
def test_every_right_set_of_positions_is_taken(
    first: int, last: int, cli: Cli, root: Path, given: Toy, tmp_path: Path
) -> None:
    """With the state before the first item, which is everybody's, and after the last one."""
    result = imported(cli, root, given, tmp_path, states(given, first, last))
    assert result.code == 0, result.err
    assert "position 0" not in result.err


def test_positions_from_0_are_refused(cli: Cli, root: Path, given: Toy, tmp_path: Path) -> None:
    ids, positions, vectors = states(given, 1, 0)
    counted = (ids, [one - 1 for one in positions], vectors)
    result = imported(cli, root, given, tmp_path, counted)
    assert (result.code, n_runs(root)) == (1, 0)
    assert result.err.splitlines() == [
        f"recsae: error: the positions of {tmp_path / 'p.npz'} start at 0, with another vector for "
        "each user",
        "hint: position p is what is known after p items: where the first vector of a user knows "
        "one item, add 1 to all positions; where it knows none, leave the rows of position 0 out",
    ]


@pytest.mark.parametrize(("off", "word"), [(1, "add 1 to"), (-1, "subtract 1 from")])
def test_off_by_one_is_refused(
    off: int, word: str, cli: Cli, root: Path, given: Toy, tmp_path: Path
) -> None:
    """All positions from 1 to n - 1 are there, but their vectors know an item more, or less."""
    ids, positions, vectors = states(given, 1 + off, -1 + off)
    moved = (ids, [one - off for one in positions], vectors)
    result = imported(cli, root, given, tmp_path, moved)
    assert (result.code, n_runs(root)) == (1, 0)
    error, hint = result.err.splitlines()
    fault = "know their own targets" if off == 1 else "do not know the last 1 item met"
    assert f"p.npz: the vectors {fault}: what changes from position p to p + 1 follows" in error
    assert hint.startswith(f"hint: {word} the positions: position p is what is known after")


def test_a_longer_history_is_refused(given: Toy) -> None:
    """A vector after more items than the data set has is one of another history."""
    ids, positions, vectors = per_position(given)
    items = table_of("i", given.items, given.item_ids)
    for beyond in (500, -1):
        users = table_of(
            "u",
            np.vstack([vectors, vectors[:1]]),
            [*ids, ids[0]],
            positions=np.array([*positions, beyond]),
        )
        with pytest.raises(DataError) as caught:
            match(given.content, users, items, "dot")
        assert caught.value.message.startswith(
            f"u has a vector for user {ids[0]!r} at position {beyond}, but planted has "
        )
        assert "(1 such vectors), so the positions count others" in caught.value.message


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_repeated_meetings_are_refused(
    suffix: str, cli: Cli, root: Path, given: Toy, tmp_path: Path
) -> None:
    """Also when the data set is there already; one vector per user may have them."""
    log = given.content.interactions.join(given.content.users, on="user_id").join(
        given.content.items, on="item_id"
    )
    log = log.select(
        user_id="source_user_id", item_id="source_item_id", time=pl.col("position") * 10
    )
    again = log.filter(pl.col("time") == 20).with_columns(time=pl.lit(45, pl.Int32))
    plays = pl.concat([log, again.with_columns(pl.col("time").cast(log["time"].dtype))])
    file = tmp_path / f"plays.{suffix}"
    plays.write_csv(file) if suffix == "csv" else plays.write_parquet(file)
    ids, positions, vectors = per_position(given)
    np.savez(tmp_path / "p.npz", vectors=vectors, ids=np.array(ids), positions=np.array(positions))
    np.savez(tmp_path / "u.npz", vectors=given.users, ids=np.array(given.user_ids))
    data = tmp_path / "data"
    words = ("--items", items_of(given, tmp_path), "--interactions", file, "--name", "log")
    words = (*words, "--data", data, "--warehouse", root)
    for prepared in (False, True):
        assert (data / "log").exists() is prepared
        result = cli("import", "vectors", "--users", tmp_path / "p.npz", *words)
        assert (result.code, result.out) == (1, "")
        error, hint = result.err.splitlines()[-2:]
        assert error == (
            f"recsae: error: {file} has {len(again)} interactions with an item that the user meets "
            "again later; a data set keeps the last meeting alone, so the positions of the vectors "
            "would be other moments"
        )
        assert hint.startswith("hint: keep the first meeting of each user and item")
        if not prepared:
            done = cli("import", "vectors", "--users", tmp_path / "u.npz", *words)
            assert done.code == 0, done.err


def test_what_a_data_set_dropped_is_told(given: Toy) -> None:
    ids, positions, vectors = per_position(given)
    users = table_of("u", vectors, ids, positions=np.array(positions))
    items = table_of("i", given.items, given.item_ids)
    assert match(given.content, users, items, "dot").notes == ()
    given.content.info["dropped"]["duplicate"] = 3
    try:
        (note,) = match(given.content, users, items, "dot").notes
    finally:
        given.content.info["dropped"]["duplicate"] = 0
    assert note.startswith("planted was prepared without 3 interactions of its source; positions")

"""A data set without tags: a healthy state of its own, said where a user looks for concepts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from recsae.warehouse import Warehouse

if TYPE_CHECKING:
    from conftest import Result

    Cli = Callable[..., Result]

GROUPS, ITEMS, USERS, LENGTH = 8, 64, 80, 12


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """Vectors of users with two tastes each, and plays without any metadata."""
    rng = np.random.default_rng(0)
    group = np.arange(ITEMS) % GROUPS
    items = (np.eye(GROUPS)[group] + 0.1 * rng.normal(size=(ITEMS, GROUPS))).astype(np.float32)
    rows, users = [("user_id", "item_id", "time")], []
    for user in range(USERS):
        tastes = rng.choice(GROUPS, 2, replace=False)
        plays = rng.permutation(np.flatnonzero(np.isin(group, tastes)))[:LENGTH]
        users.append(items[plays[:-2]].mean(0))
        rows += [(str(user), str(item), str(time)) for time, item in enumerate(plays)]
    with (tmp_path / "plays.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    np.savez(tmp_path / "u.npz", vectors=np.array(users), ids=np.arange(USERS))
    np.savez(tmp_path / "i.npz", vectors=items, ids=np.arange(ITEMS))
    monkeypatch.setenv("RECSAE_WAREHOUSE", str(tmp_path / "warehouse"))
    monkeypatch.setenv("RECSAE_DATA", str(tmp_path / "data"))
    names = ("--users", "u.npz", "--items", "i.npz", "--interactions", "plays.csv")
    monkeypatch.chdir(tmp_path)
    return (*names, "--name", "notags")


def test_a_run_without_tags(files: tuple[object, ...], cli: Cli, tmp_path: Path) -> None:
    assert cli("import", "vectors", *files).code == 0
    for words in (("sae", "train"), ("sae", "encode")):
        assert cli(*words, "latest").code == 0
    built = cli("concepts", "latest")
    assert built.code == 0
    assert "has a concept: data set notags has no tags" in built.err
    assert cli("confidence", "latest").code == 0
    assert cli("check").code == 0
    assert "nothing" in cli("repair").err + cli("repair").out
    shown = cli("report").out
    assert "Data set notags has no tags" in shown
    assert "recsae data prepare csv --source FILE --items FILE --tags COLUMN" in shown
    assert "does not hold well enough" not in shown
    with Warehouse.open(tmp_path / "warehouse", read_only=True) as warehouse:
        found = warehouse.sql("select metric, value from raw.metrics where metric like 'labelled%'")
    assert found.rows() == [("labelled latents", 0.0)]

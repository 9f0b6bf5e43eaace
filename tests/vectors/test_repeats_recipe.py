"""The lines of docs/own-model.md that make a log with repeats fit: run, and checked by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import recsae
from recsae.datasets import prepare, read_dataset
from recsae.vectors import match, table_of
from recsae.vectors.moments import find_shift

PAGE = Path(recsae.__file__).parents[1] / "docs" / "own-model.md"


def recipe() -> str:
    if not PAGE.is_file():
        pytest.skip("the docs are not here")
    section = PAGE.read_text(encoding="utf-8").split("### Repeated meetings")[1]
    return re.findall(r"```python\n(.*?)```", section, re.S)[0]


def test_every_vector_knows_what_was_played_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors count the plays of each item, so they say exactly which history they know."""
    rng = np.random.default_rng(0)
    plays = [
        (f"u{user}", f"s{item}", time)
        for user in range(30)
        for time, item in enumerate(rng.integers(0, 12, 25))
    ]
    log = pl.DataFrame(plays, schema=["user_id", "item_id", "time"], orient="row")
    log.write_csv(tmp_path / "plays.csv")
    known: dict[tuple[str, int], np.ndarray] = {}
    for (user,), own in log.group_by("user_id", maintain_order=True):
        counts = np.zeros(12)
        for place, item in enumerate(own["item_id"], 1):
            counts[int(item[1:])] += 1
            known[str(user), place] = counts.copy()
    monkeypatch.chdir(tmp_path)
    space: dict[str, pl.DataFrame] = {}
    exec(recipe(), space)
    wanted = space["wanted"]
    prepare("csv", tmp_path / "data", source=Path("first_plays.csv"), stored_as="log", core=0)
    content = read_dataset("log", tmp_path / "data")
    assert content.info["dropped"]["duplicate"] == 0
    vectors = [known[user, old] for user, old in wanted.select("user_id", "old_position").rows()]
    users = table_of(
        "u", np.array(vectors), wanted["user_id"].to_list(), positions=wanted["position"].to_numpy()
    )
    order = content.items["source_item_id"].to_list()
    items = table_of("i", np.eye(12)[[int(one[1:]) for one in order]], order)
    matched = match(content, users, items, "dot")
    named = content.interactions.join(content.items, on="item_id").sort("user_id", "position")
    row = 0
    for _, own in named.group_by("user_id", maintain_order=True):
        for position in range(1, len(own)):
            seen = {int(one[1:]) for one in own["source_item_id"][:position]}
            scores = matched.users[row] @ matched.items.T
            played = {int(order[k][1:]) for k in np.flatnonzero(scores > scores.min() + 0.5)}
            assert played == seen or len(seen) == 12
            row += 1
    assert row == len(matched.users) == wanted.height
    ends = np.cumsum([0, *named.group_by("user_id", maintain_order=True).len()["len"]])
    assert find_shift(matched.users, named["item_id"].to_numpy().astype(np.int64), ends) is None

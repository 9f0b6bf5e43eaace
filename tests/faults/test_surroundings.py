"""Clocks, locales, and names of every kind change nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.forked import Forker
from stages.finished import COMMANDS, CONFIG, Finished, copied, differences, snapshot, until
from stages.processes import Place, completed

from recsae import stages
from recsae.datasets import read_dataset
from recsae.progress import Reporter
from recsae.warehouse import Warehouse, runs
from recsae.warehouse.check import check

if TYPE_CHECKING:
    from conftest import Result

    Cli = Callable[..., Result]


@pytest.mark.parametrize("year", [1971, pytest.param(2999, marks=pytest.mark.fault)])
def test_a_clock_that_jumps(
    own: Finished, whole: Finished, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    """What is done stays done, and what is made again is the same."""
    monkeypatch.setattr(runs, "_now", lambda: datetime(year, 1, 1))
    quiet = {"reporter": Reporter()}
    stages.encode(own.root, own.sae, force=True, **quiet)
    stages.concepts(own.root, own.sae, CONFIG.concepts, force=False, **quiet)
    stages.confidence(own.root, own.sae, CONFIG.confidence, force=False, **quiet)
    monkeypatch.undo()
    with Warehouse.open(own.root, read_only=True) as warehouse:
        done = warehouse.stage_state(own.sae, "encode")
        assert done
        assert done.started.year == year
        assert (done.seconds or 0) >= 0
    stages.encode(own.root, own.sae, force=False, **quiet)
    # main.runs lists the stages in the order of their start
    assert set(differences(snapshot(own.root), snapshot(whole.root))) <= {"main.runs"}
    assert check(own.root).problems == []


@pytest.mark.fault
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns"])
def test_another_time_zone(base: Path, forked: Forker, tmp_path: Path, zone: str) -> None:
    own = copied(until(base, "concepts"), tmp_path / "warehouse")
    done = forked.run(COMMANDS["concepts"], Place(own.root, own.data), TZ=zone)
    assert done.code == 0, done.err
    assert differences(snapshot(own.root), snapshot(until(base, "confidence").root)) == []


@pytest.mark.fault
@pytest.mark.parametrize("locale", ["C", "tr_TR.UTF-8", "de_DE.ISO-8859-1"])
@pytest.mark.parametrize("stage", ["encode", "concepts", "confidence"])
def test_another_locale(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: str, stage: str
) -> None:
    """In a process that starts with it; where it is not installed, that of C is what it gets."""
    monkeypatch.setenv("LC_ALL", locale)
    plain, own = (
        copied(until(base, stage), tmp_path / name) for name in ("plain", "with ünï-names 雪")
    )
    done = completed(COMMANDS[stage], Place(own.root, own.data))
    assert done.code == 0, done.err
    monkeypatch.undo()
    assert completed(COMMANDS[stage], Place(plain.root, plain.data)).code == 0
    assert differences(snapshot(own.root), snapshot(plain.root)) == []


AWKWARD = (
    "it's {n}",
    'the "{n}" film',
    "two\nlines {n}",
    "tab\tand, comma {n}",
    "🎬 雪の女王 {n}",
    "'); drop table raw.runs; -- {n}",
    "$run_id {n}",
    "{{{n}}} %s \\ /",
    "<b>{n}</b> | & ; `x`",
    "ünḯ {n}",
)
"""Ids, titles and tags; the number makes each one different."""


def awkward(n: int) -> str:
    """Number ``n`` of the titles and tags."""
    return AWKWARD[n % len(AWKWARD)].format(n=n)


def awkward_id(n: int) -> str:
    """The same on one line, as titles are stored; an id with control characters is refused."""
    return " ".join(awkward(n).split())


def awkward_files(whole: Finished, folder: Path) -> tuple[Path, Path]:
    """The planted data as two tables in which every id, title and tag is awkward."""
    content = read_dataset("planted", whole.data)
    interactions, items = folder / 'who\'s "met" what.csv', folder / "ítems #1.csv"
    rows = content.interactions.sort("user_id", "position")
    write(
        interactions,
        ("user_id", "item_id", "time"),
        [
            (awkward_id(user), awkward_id(item), position)
            for user, item, position in rows.select("user_id", "item_id", "position").rows()
        ],
    )
    tags = content.item_tags.group_by("item_id").agg("tag").sort("item_id").rows()
    write(
        items,
        ("item_id", "title", "genre"),
        [
            (awkward_id(item), awkward(item + 1), "~".join(awkward(hash_of(tag)) for tag in own))
            for item, own in tags
        ],
    )
    return interactions, items


def hash_of(tag: str) -> int:
    """A number that stands for a tag."""
    return sum(map(ord, tag)) % 40


def write(path: Path, head: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


@pytest.mark.fault
def test_names_of_every_kind(cli: Cli, whole: Finished, tmp_path: Path) -> None:
    """Folders with spaces, quotes and other alphabets; ids, titles and tags with all of that."""
    folder = tmp_path / 'it\'s a "place" for ünï 雪 🎬 [1] {2} 100% #x'
    folder.mkdir()
    interactions, items = awkward_files(whole, folder)
    at = ("--data", folder / "the data", "--warehouse", folder / "ware house")
    prepare = ("data", "prepare", "csv", "--source", interactions, "--items", items)
    words = ("--name", "odd", "--title", "title", "--tags", "genre", "--tag-separator", "~")
    unclear = cli(*prepare, *words, "--core", "0", *at[:2])
    assert unclear.code == 1  # texts of several lines that could be rows are for the user to tell
    assert "could be a row as well" in unclear.err
    assert "--quote lines takes every quoted field whole" in unclear.err
    prepared = cli(*prepare, *words, "--core", "0", "--quote", "lines", *at[:2])
    assert prepared.code == 0, prepared.err
    settings = ("--emb-size", "16", "--epochs", "2", "--batch-size", "64")
    lines = (
        ("train", "SASRec", "odd", *settings, *at),
        ("sae", "train", "latest", "--k", "4", "--scale", "2", "--epochs", "5", *at[2:]),
        ("sae", "encode", "latest", *at[2:]),
        ("concepts", "latest", *at[2:]),
        ("confidence", "latest", "--permutations", "2", *at[2:]),
        ("report", *at[2:]),
        ("check", *at[2:]),
    )
    for line in lines:
        result = cli(*line)
        assert result.code == 0, (line, result.err)
    root = folder / "ware house"
    with Warehouse.open(root, read_only=True) as warehouse:
        for table, key in (("users", "user_id"), ("items", "item_id")):
            stored = warehouse.sql(f"select * from raw.{table} where dataset = 'odd'")
            kept = set(stored[f"source_{key}"])
            assert kept == {awkward_id(n) for n in range(1, len(kept) + 1)}
        titles = warehouse.sql("select source_item_id, title from raw.items").rows()
        assert set(titles) == {
            (awkward_id(n), awkward_id(n + 1)) for n in range(1, len(titles) + 1)
        }
    text = "select count(*) as n from raw.items where title = $t"
    found = cli("query", text, "-p", f"t={awkward_id(6)}", "--format", "json", *at[2:])
    assert json.loads(found.out) == [{"n": 1}]
    damaged = next((root / "activations").rglob("*.parquet"))
    data = damaged.read_bytes()
    damaged.write_bytes(data[:100])
    assert cli("check", *at[2:]).code == 1
    assert cli("repair", *at).code == 0
    assert damaged.read_bytes() == data

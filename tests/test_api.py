"""``recsae.Warehouse``: the command line from Python, and the examples of its documentation."""

from __future__ import annotations

import doctest
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from vectors.toy_vectors import OPTIONS, Toy, per_position, toy

import recsae
import recsae.api
from recsae.errors import DataError, MissingStageError, UsageError

if TYPE_CHECKING:
    from conftest import Result

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return toy(tmp_path_factory.mktemp("api") / "data")


@pytest.fixture(scope="module")
def done(given: Toy) -> dict[str, Any]:
    """A warehouse with one recommender and one autoencoder, all stages done; the names in docs."""
    wh = recsae.Warehouse(given.data.parent / "warehouse", given.data)
    recommender = wh.import_vectors(
        *(given.users, given.items),
        dataset="planted",
        user_ids=given.user_ids,
        item_ids=given.item_ids,
    )
    sae = wh.train_sae(recommender, k=2, scale=2, epochs=1)
    for stage in (wh.encode, wh.concepts):
        assert stage(sae) == sae
    assert wh.confidence(sae, permutations=1) == sae
    return {"wh": wh, "recommender": recommender, "sae": sae}


@pytest.fixture
def wh(root: Path, given: Toy) -> recsae.Warehouse:
    return recsae.Warehouse(root, given.data)


EXAMPLES = [
    test
    for test in doctest.DocTestFinder().find(recsae.api.Warehouse, "Warehouse")
    if test.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name)
@pytest.mark.filterwarnings("ignore:the scores rank:UserWarning")
def test_examples(
    example: doctest.DocTest,
    done: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: Toy,
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "warehouse"
    changing = ("prepare", "train", "import_vectors")  # their runs would show up in the others
    names = dict(done)
    if example.name.rsplit(".")[-1] in changing:
        names["wh"] = recsae.Warehouse(root, given.data)
    example.globs.update(names)
    heard: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=heard.append)
    assert (result.failed, result.attempted > 0) == (0, True), "".join(heard)


def test_every_method_has_an_example() -> None:
    methods = {name for name in vars(recsae.api.Warehouse) if not name.startswith("_")}
    assert {test.name.partition(".")[2] for test in EXAMPLES} == methods | {""}


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/api.md, as one session in an empty folder."""
    monkeypatch.chdir(tmp_path)
    text = "".join(
        block.removeprefix("python\n") + "\n"
        for block in PAGE.read_text(encoding="utf-8").split("```")[1::2]
        if block.startswith("python\n")
    )
    example = doctest.DocTestParser().get_doctest(text, {}, "api.md", None, None)
    heard: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example, out=heard.append)
    assert (result.failed, result.attempted > 5) == (0, True), "".join(heard)


def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys, recsae; recsae.__version__; dir(recsae)\n"
        "heavy = {'torch', 'duckdb', 'polars', 'numpy', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "recsae.Warehouse('x')\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert shown == "[]\n[]\n"
    assert {"Warehouse", "SAE", "RecsaeError", "__version__"} <= set(dir(recsae))
    assert recsae.SAE.__name__ == "SAE"
    with pytest.raises(AttributeError, match="module 'recsae' has no attribute 'Wearhouse'"):
        _ = recsae.Wearhouse  # type: ignore[attr-defined]


def test_it_gives_what_the_commands_print(done: dict[str, Any], cli: Callable[..., Result]) -> None:
    wh, sae = done["wh"], done["sae"]
    shown = cli("report", sae, "--top", 0, "--json", "--warehouse", wh.path)
    assert json.loads(shown.out) == json.loads(json.dumps(wh.report(sae), default=str))
    assert wh.report() == wh.report(sae)
    rows = wh.latents(sae)
    assert rows["latent_id"].to_list() == list(range(8))
    assert rows["status"].null_count() == 0
    assert wh.latents(done["recommender"]).equals(rows)
    vectors = np.load(wh.path / "runs" / done["recommender"] / "vectors.npy")
    assert tuple(wh.sae(sae)(recsae_tensor(vectors)).shape) == vectors.shape


def recsae_tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(array)


def stored(wh: recsae.Warehouse, run: str) -> tuple[np.ndarray, np.ndarray]:
    folder = wh.path / "runs" / run
    return np.load(folder / "vectors.npy"), np.load(folder / "items.npy")


def test_every_kind_of_vectors(wh: recsae.Warehouse, given: Toy, tmp_path: Path) -> None:
    ids: dict[str, Any] = {"user_ids": given.user_ids, "item_ids": np.array(given.item_ids)}
    first = wh.import_vectors(given.users, given.items, dataset="planted", **ids)
    frames = [
        pl.DataFrame({"id": one, "vector": rows.tolist()})
        for one, rows in ((given.user_ids, given.users), (given.item_ids, given.items))
    ]
    second = wh.import_vectors(*frames, dataset="planted")
    frames[0].write_parquet(tmp_path / "u.parquet")
    np.save(tmp_path / "i.npy", given.items)
    (tmp_path / "i.txt").write_text("\n".join(given.item_ids))
    third = wh.import_vectors(
        tmp_path / "u.parquet",
        str(tmp_path / "i.npy"),
        dataset="planted",
        item_ids=tmp_path / "i.txt",
    )
    for run in (first, second, third):
        users, items = stored(wh, run)
        assert np.array_equal(users, given.users)
        assert np.array_equal(items, given.items)
    assert first == second  # the same content
    assert third != first  # files have a digest of their own


def test_positions_and_bias(wh: recsae.Warehouse, given: Toy) -> None:
    ids, positions, rows = per_position(given)
    run = wh.import_vectors(
        rows,
        given.items,
        dataset="planted",
        user_ids=ids,
        positions=positions,
        item_ids=given.item_ids,
        item_bias=np.arange(80) / 80,
    )
    users, items = stored(wh, run)
    assert np.array_equal(users[:, :-1], rows)
    np.testing.assert_allclose(items[:, -1], np.arange(80) / 80)
    assert set(users[:, -1].tolist()) == {1.0}


def test_interactions_of_ones_own(root: Path, given: Toy, tmp_path: Path) -> None:
    frame = given.content.interactions.select(
        who=pl.col("user_id"), what=pl.col("item_id"), at=pl.col("position")
    )
    frame.write_parquet(tmp_path / "plays.parquet")
    wh = recsae.Warehouse(root, tmp_path / "data")
    run = wh.import_vectors(
        *(given.users, given.items),
        interactions=tmp_path / "plays.parquet",
        name="songs",
        user="who",
        item="what",
        time="at",
        user_ids=range(1, 61),
        item_ids=range(1, 81),
    )
    assert run.startswith("vectors-songs-")
    n = wh.sql("select count(*) from raw.interactions where dataset = $name", name="songs").item()
    assert n == frame.height


def test_warnings_are_warnings(wh: recsae.Warehouse, given: Toy) -> None:
    ids: dict[str, Any] = {"user_ids": given.user_ids, "item_ids": given.item_ids}
    with pytest.warns(UserWarning, match="^the scores rank the users' test items above"):
        wh.import_vectors(-given.users, given.items, dataset="planted", **ids)


def test_errors(wh: recsae.Warehouse, given: Toy, tmp_path: Path) -> None:
    pair = (given.users, given.items)
    with pytest.raises(UsageError, match="it takes dataset or interactions, one of them"):
        wh.import_vectors(*pair)
    with pytest.raises(DataError, match="users has no vector for user '60' of planted"):
        wh.import_vectors(*pair, dataset="planted", item_ids=given.item_ids)
    with pytest.raises(UsageError, match="users come from a file"):
        wh.import_vectors("u.npy", given.items, dataset="planted", user_ids=[1])
    with pytest.raises(UsageError, match="the frame of items has ids"):
        wh.import_vectors(given.users, pl.DataFrame({"id": [1]}), dataset="planted", item_ids=[1])
    with pytest.raises(UsageError, match="scael is not an option"):
        wh.train_sae("latest", scael=3)
    with pytest.raises(MissingStageError, match="the warehouse has no runs yet"):
        wh.latents("x")
    gone = recsae.Warehouse(tmp_path / "gone")
    with pytest.raises(MissingStageError, match="there is no warehouse in"):
        gone.runs()
    assert repr(gone) == f"Warehouse({str(tmp_path / 'gone')!r}, data='data')"
    assert OPTIONS["users"] == 60


def test_runs_are_named_as_on_the_command_line(done: dict[str, Any]) -> None:
    wh, sae = done["wh"], done["sae"]
    text = "select distinct run_id from latents where run_id = $run_id"
    for ref in ("latest", sae, sae[:-2], done["recommender"]):
        assert wh.sql(text, run_id=ref).item() == sae
        assert wh.sql(text.replace("$run_id", "$run"), run=ref).item() == sae
    with pytest.raises(UsageError, match="no run is called 'zzz'"):
        wh.sql(text, run_id="zzz")


def test_a_newer_run_of_another_recommender_is_a_warning(wh: recsae.Warehouse, given: Toy) -> None:
    ids: dict[str, Any] = {"user_ids": given.user_ids, "item_ids": given.item_ids}
    first = wh.import_vectors(given.users, given.items, dataset="planted", **ids)
    sae = wh.train_sae(first, k=2, scale=2, epochs=1)
    second = wh.import_vectors(
        given.users, given.items, dataset="planted", model_name="other", **ids
    )
    with pytest.warns(UserWarning, match=f"a newer run is of another recommender: {second}"):
        assert wh.encode() == sae


def test_options_are_called_what_they_are_in_python(wh: recsae.Warehouse, tmp_path: Path) -> None:
    rows = "".join(f"{u},{i},{u + i}\n" for u in range(12) for i in range(12))
    (tmp_path / "plays.csv").write_text("user_id,item_id,time\n" + rows)
    (tmp_path / "songs.csv").write_text(
        "item_id,title,mood\n" + "".join(f"{i},t{i},m{i % 3}\n" for i in range(12))
    )
    for items in ({"items": tmp_path / "songs.csv"}, {"items_file": tmp_path / "songs.csv"}):
        name = wh.prepare(
            "csv",
            source=tmp_path / "plays.csv",
            name=next(iter(items)),
            title="title",
            tags=["mood"],
            **items,
        )
        assert name == next(iter(items))
    with pytest.raises(UsageError) as caught:
        wh.prepare("csv", source=tmp_path / "plays.csv", name="x", noise_tags=3)
    assert "takes no noise_tags" in caught.value.message
    assert "tag_separator" in str(caught.value.hint)
    assert "--" not in str(caught.value)
    assert str(caught.value) == f"{caught.value.message}\nhint: {caught.value.hint}"
    with pytest.raises(UsageError, match="items and items_file are the same"):
        wh.prepare("csv", items="a", items_file="b")
    with pytest.raises(UsageError, match="needs source\nhint: give source PATH"):
        wh.prepare("csv", name="x")


def test_every_option_of_a_command_is_an_argument() -> None:
    """What the command takes, the method takes under the same name, and the page lists it."""
    from recsae.cli import data, interpret, sae, train

    page = PAGE.read_text(encoding="utf-8")
    commands = {
        "prepare": data.prepare,
        "train_sae": sae.train,
        "concepts": interpret.concepts,
        "confidence": interpret.confidence,
    }
    for method, command in commands.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{method}` |"))
        names = set(inspect.signature(command).parameters)
        for name in names - {"run", "force", "warehouse", "data", "stored_as", "k"}:
            assert name == "name" or f"`{name}`" in row, (method, name)
    assert "init_from" in inspect.signature(train.train).parameters
    assert "init_from" in inspect.signature(recsae.Warehouse.train).parameters

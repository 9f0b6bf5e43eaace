"""``recsae import vectors`` and ``implicit``: vectors from elsewhere become runs like any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import torch
from vectors.toy_vectors import Toy, per_position, toy

from recsae.datasets import read_dataset
from recsae.recommenders.cases import ITEMS, VECTORS
from recsae.recommenders.fixed import Fixed
from recsae.recommenders.trainer import evaluate
from recsae.stages.stored import train_hint
from recsae.stages.train import sequences_of
from recsae.warehouse import Warehouse, run_folder

if TYPE_CHECKING:
    from conftest import Result

Cli = Callable[..., "Result"]
SMALL = ("--k", 2, "--scale", 2, "--epochs", 2, "--lr", "1e-2")
FAIR = "its test figures are fair only if the dev and test items took no part in training"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return toy(tmp_path_factory.mktemp("vectors"))


@pytest.fixture
def files(given: Toy, tmp_path: Path) -> tuple[object, ...]:
    """Words of a call with files of vectors."""
    np.savez(tmp_path / "u.npz", vectors=given.users, ids=np.array(given.user_ids))
    items = pl.DataFrame({"id": given.item_ids, "vector": given.items.tolist()})
    items.write_parquet(tmp_path / "i.parquet")
    return ("--users", tmp_path / "u.npz", "--items", tmp_path / "i.parquet")


@pytest.fixture
def vectors(cli: Cli, root: Path, given: Toy) -> Cli:
    """Run ``recsae import vectors`` with the words on the planted data."""

    def run(*words: object) -> Result:
        return cli("import", "vectors", *words, "--dataset", "planted", *places(root, given.data))

    return run


def places(root: Path, data: Path) -> tuple[object, ...]:
    return ("--data", data, "--warehouse", root)


def n_runs(root: Path) -> int:
    with Warehouse.open(root, read_only=True) as warehouse:
        return len(warehouse.runs())


def test_everything_after_it_works(
    vectors: Cli, files: tuple[object, ...], cli: Cli, root: Path, given: Toy
) -> None:
    """Figures are those of the arrays; the SAE, concepts, confidence and report are made of it."""
    result = vectors(*files)
    run_id = result.out.strip()
    assert (result.code, run_id.rsplit("-", 1)[0]) == (0, "vectors-planted"), result.err
    assert result.err.splitlines()[-1] == FAIR
    assert "warning" not in result.err
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.run(run_id)
        stored = warehouse.metrics(run_id).filter(split="test")
        cases = warehouse.sql("select user_id, position, split from raw.cases order by user_id")
    assert (run.kind, run.model, run.status) == ("recommender", "vectors", "done")
    assert (run.params["score"], run.params["item_bias"]) == ("dot", False)
    assert set(run.params["files"]) == {"u.npz", "i.parquet"}
    assert all(len(one) == 64 for one in run.params["files"].values())
    assert (
        train_hint(run) == "recsae import vectors --users u.npz --items i.parquet --dataset planted"
    )
    assert (len(cases), set(cases["split"])) == (60, {"test"})
    assert np.array_equal(np.load(run_folder(root, run_id) / VECTORS), given.users)
    assert np.array_equal(np.load(run_folder(root, run_id) / ITEMS), given.items)
    model = Fixed(torch.tensor(given.users), torch.tensor(given.items), is_sequential=False)
    expected = evaluate(model, sequences_of(given.content), "test")
    assert dict(stored.select("metric", "value").rows()) == expected
    for words in (("sae", "train", "latest", *SMALL), ("sae", "encode"), ("concepts",)):
        done = cli(*words, "--warehouse", root)
        assert done.code == 0, done.err
    done = cli("confidence", "--permutations", 1, "--warehouse", root)
    assert done.code == 0, done.err
    shown = cli("report", "--warehouse", root)
    assert (shown.code, f"vectors ({run_id})" in shown.out) == (0, True)
    rows = json.loads(cli("evaluate", "latest", "--json", "--warehouse", root).out)
    assert rows[-1]["vectors"] == "sae"


def test_the_same_vectors_are_imported_once(
    vectors: Cli, files: tuple[object, ...], root: Path
) -> None:
    first = vectors(*files)
    again = vectors(*files)
    assert (again.out, again.err) == (first.out, f"train {first.out.strip()}: already done\n")
    assert vectors(*files, "--force").err.count("already done") == 0
    assert n_runs(root) == 1
    others = [
        vectors(*files, "--score", "cosine"),
        vectors(*files, "--model-name", "My-2"),
    ]
    assert all(one.code == 0 for one in others)
    assert others[1].out.startswith("my-2-planted-")
    assert len({first.out, *(one.out for one in others)}) == n_runs(root) == 3


def test_positions_make_a_sequence_model(
    vectors: Cli, files: tuple[object, ...], given: Toy, root: Path, tmp_path: Path
) -> None:
    ids, positions, rows = per_position(given)
    np.savez(tmp_path / "p.npz", vectors=rows, ids=np.array(ids), positions=np.array(positions))
    result = vectors("--users", tmp_path / "p.npz", *files[2:])
    assert result.code == 0, result.err
    with Warehouse.open(root, read_only=True) as warehouse:
        cases = warehouse.sql(
            "select u.source_user_id, c.position from raw.cases as c inner join raw.users as u "
            "using (user_id) order by c.case_id"
        ).rows()
        assert warehouse.run(result.out.strip()).params["per_position"] is True
    assert cases == list(zip(ids, positions, strict=True))
    assert np.array_equal(np.load(run_folder(root, result.out.strip()) / VECTORS), rows)


def test_an_item_bias(
    vectors: Cli, files: tuple[object, ...], given: Toy, root: Path, tmp_path: Path
) -> None:
    bias = np.linspace(-1, 1, len(given.item_ids)).astype(np.float32)
    np.save(tmp_path / "b.npy", bias)
    result = vectors(*files, "--item-bias", tmp_path / "b.npy")
    assert result.code == 0, result.err
    folder = run_folder(root, result.out.strip())
    assert np.array_equal(np.load(folder / ITEMS)[:, -1], bias)
    assert np.array_equal(np.load(folder / VECTORS)[:, -1], np.ones(60))


INTERACTIONS = ("--user", "who", "--item", "what", "--time", "at", "--tags", "kind")


def own_files(given: Toy, folder: Path) -> tuple[object, ...]:
    """The planted interactions as CSV, with two users that have few, and matching vectors."""
    ids = {row: one for row, one in enumerate(given.user_ids, 1)}
    rows = [
        (ids[user], given.item_ids[item - 1], position)
        for user, item, position in given.content.interactions.select(
            "user_id", "item_id", "position"
        ).rows()
    ]
    rows += [("one", given.item_ids[0], 1), ("two", given.item_ids[0], 1)]
    rows += [("two", given.item_ids[1], 2)]
    pl.DataFrame(rows, schema=["who", "what", "at"], orient="row").write_csv(folder / "plays.csv")
    kinds = ["a|b" if row[0] else "c" for row in given.items]
    pl.DataFrame({"what": given.item_ids, "kind": kinds}).write_csv(folder / "songs.csv")
    users = np.vstack([given.users, given.users[:2]])
    np.savez(folder / "u2.npz", vectors=users, ids=np.array([*given.user_ids, "one", "two"]))
    return ("--users", folder / "u2.npz", "--interactions", folder / "plays.csv")


def test_interactions_of_ones_own_are_kept_whole(
    cli: Cli, files: tuple[object, ...], given: Toy, root: Path, tmp_path: Path
) -> None:
    own = own_files(given, tmp_path)
    data = tmp_path / "data"
    words = (*own, *files[2:], "--item-metadata", tmp_path / "songs.csv", *INTERACTIONS)
    result = cli("import", "vectors", *words, "--name", "songs", *places(root, data))
    assert result.code == 0, result.err
    assert result.out.startswith("vectors-songs-")
    content = read_dataset("songs", data)
    assert content.interactions.height == given.content.interactions.height + 3
    assert set(content.item_tags["tag"]) == {"kind:a", "kind:b", "kind:c"}
    splits = content.interactions.join(content.users, on="user_id").sort("position")
    for user, expected in (("one", ["train"]), ("two", ["train", "train"])):
        assert splits.filter(source_user_id=user)["split"].to_list() == expected
    with Warehouse.open(root, read_only=True) as warehouse:
        few = warehouse.sql(
            "select u.source_user_id, c.position, c.split from raw.cases as c "
            "inner join raw.users as u using (user_id) "
            "where u.source_user_id in ('one', 'two')"
        ).rows()
    assert few == [("two", 1, "train")]
    again = cli("import", "vectors", *words, "--name", "songs", *places(root, data))
    assert again.out == result.out
    assert "songs is prepared already" in again.err


@pytest.mark.parametrize("rule", [(), ("--quote", "none")])
def test_stray_quotes_in_interactions_and_items_of_ones_own(
    rule: tuple[str, ...],
    cli: Cli,
    files: tuple[object, ...],
    given: Toy,
    root: Path,
    tmp_path: Path,
) -> None:
    """Quotes in columns that nobody asked for, far apart; Latin-1."""
    own = own_files(given, tmp_path)
    for name, places_ in (("plays.csv", (20, 300)), ("songs.csv", (3, 11))):
        lines = (tmp_path / name).read_text().splitlines()
        notes = {places_[0]: '"Must h\xe4ve', places_[1]: '12"'}
        out = [f"{line},{'note' if not n else notes.get(n, n)}\n" for n, line in enumerate(lines)]
        (tmp_path / name).write_text("".join(out), encoding="latin-1")
    words = (*own, *files[2:], "--item-metadata", tmp_path / "songs.csv", *INTERACTIONS, *rule)
    here = ("--name", "songs", *places(root, tmp_path / "data"))
    refused = cli("import", "vectors", *words, *here)
    assert refused.code == 1
    assert refused.err.splitlines()[-1] == "hint: --encoding latin-1 or cp1252 reads older files"
    result = cli("import", "vectors", *words, "--encoding", "latin-1", *here)
    assert result.code == 0, result.err
    content = read_dataset("songs", tmp_path / "data")
    assert content.interactions.height == given.content.interactions.height + 3
    assert content.item_tags["item_id"].n_unique() == len(given.item_ids)
    assert ("1 line with a stray quote" in result.err) == (not rule)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--score", "l2"), 2, "--score is l2, but it must be dot or cosine"),
        (("--model-name", "a b"), 2, "--model-name is 'a b', but it must be letters"),
        (("--model-name", "neurons"), 2, "--model-name is 'neurons', but it must be letters"),
        (("--interactions", "x.csv"), 2, "it takes --dataset or --interactions, one of them"),
        (("--title", "name"), 2, "--title belongs to --interactions, not to --dataset"),
        (("--user-ids", "gone.txt"), 1, "gone.txt: No such file or directory"),
        (("--item-bias", "gone.npy"), 1, "gone.npy: No such file or directory"),
    ],
)
def test_options_that_make_no_sense(
    words: tuple[str, ...],
    code: int,
    message: str,
    vectors: Cli,
    files: tuple[object, ...],
    root: Path,
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "u.npy", np.eye(60))
    users = ("--users", tmp_path / "u.npy") if words[0] == "--user-ids" else files[:2]
    result = vectors(*users, *files[2:], *words)
    assert (result.code, result.out) == (code, ""), result.err
    assert result.err.splitlines()[0].startswith(f"recsae: error: {message}")
    assert n_runs(root) == 0


def test_interactions_that_make_no_data_set(
    cli: Cli, files: tuple[object, ...], root: Path, tmp_path: Path
) -> None:
    (tmp_path / "few.csv").write_text("user_id,item_id,time\n1,1,1\n2,1,1\n")
    (tmp_path / "x.json").write_text("{}")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((tmp_path / "x.json", "--name", "n"), "x.json is not one of .csv, .tsv, .txt, .parquet"),
        ((tmp_path / "few.csv",), "data set csv needs a name to store it under"),
        (
            (tmp_path / "few.csv", "--name", "n"),
            "no user has 3 interactions, so none can be held out",
        ),
    ]
    for words, message in cases:
        result = cli(
            "import", "vectors", *files, "--interactions", *words, *places(root, tmp_path / "d")
        )
        errors = [line for line in result.err.splitlines() if line.startswith("recsae: error: ")]
        assert message in errors[0], result.err
        assert (result.code in (1, 2), result.out) == (True, "")
    assert n_runs(root) == 0


# -- vectors that need care ------------------------------------------------------------------------


def saved(folder: Path, given: Toy, users: np.ndarray, items: np.ndarray) -> tuple[object, ...]:
    """Words of a call with these arrays."""
    np.savez(folder / "u.npz", vectors=users, ids=np.array(given.user_ids))
    np.savez(folder / "i.npz", vectors=items, ids=np.array(given.item_ids))
    return ("--users", folder / "u.npz", "--items", folder / "i.npz")


def mixed(given: Toy, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """The toy's vectors with noise, in d dimensions: nothing about them is exact."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0][:4]
    return tuple(
        one @ turn + 0.05 * rng.normal(size=(len(one), d)) for one in (given.users, given.items)
    )  # type: ignore[return-value]


@pytest.mark.parametrize("size", [1e20, 1e30])
def test_a_vector_that_cannot_be_squared(
    size: float, vectors: Cli, given: Toy, root: Path, tmp_path: Path
) -> None:
    users, items = mixed(given)
    users[17] *= size
    result = vectors(*saved(tmp_path, given, users, items))
    assert (result.code, n_runs(root)) == (1, 0)
    error, hint = result.err.splitlines()
    start = f"recsae: error: {tmp_path / 'u.npz'}: the vector of {given.user_ids[17]!r} is too long"
    assert error.startswith(start)
    assert error.endswith("(1 such row)")
    assert hint.startswith("hint: mend the model that wrote it")
    assert "--lr" not in result.err


def test_overlong_vectors_are_named_with_what_helps(
    vectors: Cli, cli: Cli, given: Toy, root: Path, tmp_path: Path
) -> None:
    """At the import by their ids, and where the autoencoder fails on the others."""
    users, items = mixed(given)
    plain = vectors(*saved(tmp_path, given, users, items))
    assert "warning" not in plain.err
    users[[5, 40]] *= [[2000], [9000]]
    distance = np.linalg.norm(users - np.median(users, 0), axis=1)
    result = vectors(*saved(tmp_path, given, users, items))
    (line,) = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    assert f"{tmp_path / 'u.npz'}: 2 of 60 vectors hold 100.0% of all variance" in line
    first, second = given.user_ids[40], given.user_ids[5]
    assert line.index(f"{first!r} (") < line.index(f"{second!r} (")
    said = float(line.split(f"{second!r} (")[1].split(" times")[0].replace(",", ""))
    assert said == pytest.approx(distance[5] / np.median(distance), abs=1)
    done = cli("sae", "train", "latest", *SMALL, "--warehouse", root)
    assert done.code == 0, done.err
    assert "lower --scale" not in done.err
    if "warning: FVU" in done.err:  # not where both were held out, and the others are rebuilt
        assert "2 of 60 vectors hold 100.0% of the variance: case 40 of user_id 41 (" in done.err


def measured(root: Path, run_id: str) -> dict[tuple[str, int, str], float | None]:
    """Metrics of a run without those of time."""
    with Warehouse.open(root, read_only=True) as warehouse:
        rows = warehouse.metrics(run_id).rows()
    return {
        (split, epoch, metric): value
        for _, split, epoch, metric, value in rows
        if metric not in ("seconds", "vectors/s")
    }


@pytest.mark.parametrize("power", [-40, 40])
def test_results_do_not_depend_on_the_scale(
    power: int, vectors: Cli, cli: Cli, given: Toy, root: Path, tmp_path: Path
) -> None:
    """Items times 2^40, users through it: the same scores, latents and concepts, bit for bit."""
    found = []
    users, items = (one.astype(np.float32) for one in mixed(given))
    for size in (1.0, 2.0**power):
        run_id = vectors(*saved(tmp_path, given, users / size, items * size)).out.strip()
        sae = cli("sae", "train", run_id, *SMALL, "--fold-in", 4, "--warehouse", root).out.strip()
        for stage in (("sae", "encode"), ("concepts",)):
            assert cli(*stage, sae, "--warehouse", root).code == 0
        with Warehouse.open(root, read_only=True) as warehouse:
            parts = [
                warehouse.sql(f"from {name} where run_id = $r order by all", {"r": owner}).drop(
                    "run_id"
                )
                for name, owner in (
                    ("raw.recommendations", run_id),
                    ("raw.activations", sae),
                    ("concepts.labels", sae),
                )
            ]
        found.append((measured(root, run_id), measured(root, sae), *(one.rows() for one in parts)))
    assert found[0][1][("train", 0, "folded vectors")]
    assert found[0] == found[1]


@pytest.mark.parametrize("power", [-12, 12])
def test_results_at_a_scale_that_rounds(
    power: int, vectors: Cli, cli: Cli, given: Toy, root: Path, tmp_path: Path
) -> None:
    fvu = []
    users, items = mixed(given)
    for size in (1.0, 10.0**power):
        vectors(*saved(tmp_path, given, users / size, items * size))
        sae = cli("sae", "train", "latest", *SMALL, "--fold-in", 4, "--warehouse", root)
        assert sae.code == 0, sae.err
        own = measured(root, sae.out.strip())
        fvu.append([own[(split, 0, "FVU")] for split in ("train", "heldout")])
    np.testing.assert_allclose(fvu[0], fvu[1], rtol=1e-3)


HELDOUT = 0.03
"""Share with which the seed draws a single user of the toy data."""


def test_one_held_out_user_has_no_variance(
    vectors: Cli, cli: Cli, given: Toy, root: Path, tmp_path: Path
) -> None:
    """What cannot be measured is NULL, and a dash in words; everything after it works."""
    vectors(*saved(tmp_path, given, *mixed(given)))
    words = ("sae", "train", "latest", *SMALL, "--heldout-share", HELDOUT, "--warehouse", root)
    done = cli(*words)
    assert done.code == 0, done.err
    sae = done.out.strip()
    with Warehouse.open(root, read_only=True) as warehouse:
        assert warehouse.sql("select count(*) from staging.user_sides where is_heldout").item() == 1
        counts = "count(*), count(value), count(*) filter (where not isfinite(value))"
        every, known, odd = warehouse.sql(f"select {counts} from raw.metrics").row(0)
    assert odd == 0
    assert measured(root, sae)[("heldout", 0, "FVU")] is None
    assert measured(root, sae)[("heldout", 1, "FVU")] is None
    assert known < every
    assert "held-out -" in done.err
    assert "nan" not in done.err.lower()
    for stage in (("sae", "encode"), ("concepts",), ("confidence", "--permutations", 1)):
        assert cli(*stage, "--warehouse", root).code == 0
    for shown in (("report",), ("report", "--json"), ("runs",), ("runs", "--json")):
        result = cli(*shown, "--warehouse", root)
        assert result.code == 0, result.err
        assert "nan" not in result.out.lower().replace("binan", "")
    assert "(held-out users -)" in cli("report", "--warehouse", root).out


# -- implicit -------------------------------------------------------------------------------------


def model_file(given: Toy, path: Path, **more: Any) -> Path:
    """What implicit writes: factors in the order of the matrix, settings, and Python objects."""
    settings = {"factors": 4, "dtype": "float32", "random_state": None, **more}
    np.savez(path, user_factors=given.users, item_factors=given.items, **settings)
    return path


@pytest.mark.parametrize(
    ("more", "model"),
    [
        ({"use_cg": True, "alpha": 1.0}, "ALS"),
        ({"verify_negative_samples": True}, "BPR"),
        ({"neg_prop": 30}, "LMF"),
        ({}, "implicit"),
    ],
)
def test_a_model_of_implicit(
    more: dict[str, Any], model: str, cli: Cli, given: Toy, root: Path, tmp_path: Path
) -> None:
    file = model_file(given, tmp_path / "m.npz", **more)
    (tmp_path / "u.txt").write_text("".join(f"{one}\n" for one in given.user_ids))
    np.save(tmp_path / "i.npy", np.array(given.item_ids))
    ids = ("--user-ids", tmp_path / "u.txt", "--item-ids", tmp_path / "i.npy")
    words = ("import", "implicit", file, "--dataset", "planted", *places(root, given.data))
    result = cli(*words, *ids)
    assert result.code == 0, result.err
    assert result.out.startswith(f"{model.lower()}-planted-")
    folder = run_folder(root, result.out.strip())
    assert np.array_equal(np.load(folder / VECTORS), given.users)
    assert np.array_equal(np.load(folder / ITEMS), given.items)
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.run(result.out.strip())
    assert (run.model, set(run.params["files"])) == (model, {"m.npz", "u.txt", "i.npy"})
    command = "recsae import implicit m.npz --user-ids u.txt --item-ids i.npy --dataset planted"
    assert train_hint(run) == command


def test_the_user_bias_of_lmf_is_taken_out(
    cli: Cli, given: Toy, root: Path, tmp_path: Path
) -> None:
    """Users end in (1, user bias), items in (item bias, 1), as the library writes them."""
    rng = np.random.default_rng(0)
    (users, items), one = mixed(given), np.ones
    bias, own = rng.normal(size=(80, 1)), -175 + 30 * rng.normal(size=(60, 1))
    file = tmp_path / "lmf.npz"
    np.savez(
        file,
        user_factors=np.hstack([users, one((60, 1)), own]).astype(np.float32),
        item_factors=np.hstack([items, bias, one((80, 1))]).astype(np.float32),
        neg_prop=30,
    )
    for name, ids in (("u.txt", given.user_ids), ("i.txt", given.item_ids)):
        (tmp_path / name).write_text("\n".join(ids))
    ids_of = ("--user-ids", tmp_path / "u.txt", "--item-ids", tmp_path / "i.txt")
    words = ("import", "implicit", file, *ids_of, "--dataset", "planted")
    result = cli(*words, *places(root, given.data))
    assert result.code == 0, result.err
    (line,) = [line for line in result.err.splitlines() if "agree" in line]
    assert line.startswith(f"user_factors of {file}: all items agree in column 7 (from 0), so it")
    run_id = result.out.strip()
    with Warehouse.open(root, read_only=True) as warehouse:
        removed = warehouse.run(run_id).params["removed"]
        best = warehouse.sql("from raw.recommendations order by case_id, rank")
    assert (removed["columns"], removed["directions"]) == ([7], 0)
    assert removed["variance"] > 0.99
    stored = np.load(run_folder(root, run_id) / VECTORS)
    assert not stored[:, 7].any()
    assert np.array_equal(stored[:, :6], users.astype(np.float32))
    scores = users @ items.T + bias[:, 0]
    for user in (0, 30, 59):
        own_items = given.content.interactions.filter(user_id=user + 1, split="train")["item_id"]
        ranked = [item + 1 for item in np.argsort(-scores[user]) if item + 1 not in set(own_items)]
        shown = best.filter(case_id=user)["item_id"].to_list()
        assert set(shown) <= set(ranked[:12])
        assert shown == [item for item in ranked if item in set(shown)]


def test_rows_of_implicit_are_ids(cli: Cli, given: Toy, root: Path, tmp_path: Path) -> None:
    """Ids of the planted data count from 1, so row 0 of the matrix belongs to nobody."""
    assert given.user_ids == [str(n) for n in range(1, 61)]
    users, items = (np.vstack([0 * one[:1], one]) for one in (given.users, given.items))
    file = tmp_path / "m.npz"
    np.savez(file, user_factors=users, item_factors=items)
    words = ("import", "implicit", file, "--dataset", "planted", *places(root, given.data))
    result = cli(*words, "--model-name", "wals")
    assert result.code == 0, result.err
    assert result.out.startswith("wals-planted-")
    notes = [line for line in result.err.splitlines() if "are not used" in line]
    assert [note.split(" of ")[0] for note in notes] == ["item_factors", "user_factors"]
    assert "1 vectors of users that planted does not have are not used" in notes[1]
    assert np.array_equal(np.load(run_folder(root, result.out.strip()) / VECTORS), given.users)
    np.savez(file, user_factors=given.users, item_factors=items)
    short = cli(*words)
    assert (short.code, n_runs(root)) == (1, 1)
    assert short.err.splitlines() == [
        f"recsae: error: user_factors of {file} has no vector for user '60' of planted "
        "(1 user without a vector, of 60)",
        "hint: it has no ids, so row r is user r; give --user-ids FILE",
    ]


def test_no_model_of_implicit(cli: Cli, given: Toy, root: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", similarity=np.eye(3), item_factors=given.items)
    words = ("--dataset", "planted", *places(root, given.data))
    result = cli("import", "implicit", tmp_path / "m.npz", *words)
    assert (result.code, n_runs(root)) == (1, 0)
    assert "m.npz has no array user_factors, so it is no model of implicit" in result.err

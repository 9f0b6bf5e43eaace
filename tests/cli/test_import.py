"""``recsae import rechorus``: checkpoints of the reference become runs like any other."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from recsae.config import TrainConfig
from recsae.datasets import prepare, read_dataset
from recsae.errors import DataError
from recsae.recommenders.base import Recommender
from recsae.recommenders.cases import ITEMS, VECTORS
from recsae.recommenders.presets import create
from recsae.recommenders.rechorus import model_key
from recsae.recommenders.trainer import case_vectors, evaluate
from recsae.stages.encode import load_sae
from recsae.stages.train import load_reference, sequences_of
from recsae.warehouse import Warehouse, run_folder

if TYPE_CHECKING:
    from conftest import Result

OPTIONS = {"users": 60, "items": 80, "concepts": 4, "noise_tags": 4, "seed": 0}
D, K, SCALE = 8, 2, 3
CONFIG = TrainConfig(emb_size=D, num_layers=2, history_max=6, position_from="recent", seed=3)
MODEL = ("--dataset", "planted", "--model")
SASREC = (*MODEL, "SASRec", "--num-layers", "2", "--history-max", "6")
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("import") / "data"
    prepare("planted", folder, **OPTIONS)
    return folder


@pytest.fixture
def command(cli: Callable[..., Result], root: Path, data: Path) -> Callable[..., Result]:
    """Run ``recsae import rechorus`` with the words; the file is the state dict that is given."""

    def run(state: State | Path, *words: object) -> Result:
        return cli("import", "rechorus", saved(state, root), *words, *places(root, data))

    return run


def places(root: Path, data: Path) -> tuple[object, ...]:
    return ("--data", data, "--warehouse", root)


def saved(state: State | Path, root: Path) -> Path:
    if isinstance(state, Path):
        return state
    path = root.parent / "model.pt"
    torch.save(state, path)
    return path


def made(data: Path, name: str = "SASRec") -> Recommender:
    return create(name, CONFIG, sequences_of(read_dataset("planted", data)))


def state_of(model: Recommender) -> State:
    return {model_key(key): value.clone() for key, value in model.state_dict().items()}


def autoencoder(seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(SCALE * D, D, generator=generator), dim=1)
    return {
        "sae_module.W_dec": rows,
        "sae_module.b_dec": torch.zeros(D),
        "sae_module.encoder.weight": rows.clone(),
        "sae_module.encoder.bias": torch.full((SCALE * D,), 0.1),
    }


def runs(root: Path) -> list[str]:
    with Warehouse.open(root, read_only=True) as warehouse:
        return warehouse.runs()["run_id"].to_list()


@pytest.mark.parametrize("name", ["BPRMF", "SASRec"])
def test_a_run_as_training_makes_it(
    name: str, command: Callable[..., Result], cli: Callable[..., Result], root: Path, data: Path
) -> None:
    model = made(data, name)
    words = SASREC if name == "SASRec" else (*MODEL, "bprmf")
    result = command(state_of(model), *words)
    run_id = result.out.strip()
    assert (result.code, run_id.rsplit("-", 1)[0]) == (0, f"{name.lower()}-planted")
    content = read_dataset("planted", data)
    sequences = sequences_of(content)
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.run(run_id)
        assert (run.kind, run.model, run.dataset) == ("recommender", name, "planted")
        assert (run.status, run.parent_run_id) == ("done", None)
        assert run.params["imported"] == "model.pt"
        assert run.data_fingerprint == content.fingerprint
        key = {"r": run_id}
        cases = warehouse.sql("select * from raw.cases where run_id = $r order by case_id", key)
        best = warehouse.sql("select * from raw.recommendations where run_id = $r", key)
        metrics = warehouse.metrics(run_id)
    users, positions = (torch.tensor(cases[c].to_list()) for c in ("user_id", "position"))
    vectors = np.load(run_folder(root, run_id) / VECTORS)
    assert np.array_equal(vectors, case_vectors(model, sequences, users, positions).numpy())
    items = np.load(run_folder(root, run_id) / ITEMS)
    assert np.array_equal(items, model.item_vectors().detach().numpy())
    assert len(best) == 10 * len(cases)
    test = evaluate(model, sequences, "test")
    stored = metrics.filter(split="test")
    assert dict(stored.select("metric", "value").rows()) == test
    shown = json.loads(cli("evaluate", run_id, "--json", "--warehouse", root).out)
    assert {k: v for k, v in shown[1].items() if k in test} == test


def test_an_autoencoder_is_a_second_run(
    command: Callable[..., Result], cli: Callable[..., Result], root: Path, data: Path
) -> None:
    """All later stages work on it, and its vectors are not scaled."""
    extra = autoencoder()
    result = command(state_of(made(data)) | extra, *SASREC, "--k", K, "--scale", SCALE)
    recommender, sae_id = result.out.split()
    assert (result.code, sae_id.rsplit("-", 1)[0]) == (0, f"sae-sasrec-planted-k{K}")
    assert "was trained elsewhere" in result.err
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.run(sae_id)
    assert (run.parent_run_id, run.status) == (recommender, "done")
    assert (run.params["n_latents"], run.params["d"], run.params["k"]) == (SCALE * D, D, K)
    sae = load_sae(root, run)
    assert torch.equal(sae.shift, torch.zeros(D))
    assert float(sae.scale) == 1.0
    x = torch.tensor(np.load(run_folder(root, recommender) / VECTORS)[:5])
    units = torch.relu(x @ extra["sae_module.encoder.weight"].T + 0.1)
    values, indices = units.topk(K, dim=1)
    plain = torch.zeros_like(units).scatter(1, indices, values) @ extra["sae_module.W_dec"]
    torch.testing.assert_close(sae(x), plain)
    for words in (("sae", "encode"), ("concepts",), ("confidence",)):
        options = ("--permutations", 1) if words == ("confidence",) else ()
        done = cli(*words, "latest", *options, "--warehouse", root)
        assert (done.code, done.out.strip()) == (0, sae_id), done.err
    report = cli("report", "latest", "--json", "--warehouse", root)
    assert report.code == 0
    assert sae_id in report.out
    rows = json.loads(cli("evaluate", sae_id, "--json", "--warehouse", root).out)
    assert [row["vectors"] for row in rows] == ["own", "sae"] * 2


def test_the_same_file_is_imported_once(
    command: Callable[..., Result], root: Path, data: Path
) -> None:
    state = state_of(made(data)) | autoencoder()
    first = command(state, *SASREC, "--k", K)
    again = command(state, *SASREC, "--k", K)
    assert again.out == first.out
    assert again.err.splitlines() == [f"train {one}: already done" for one in first.out.split()]
    assert command(state, *SASREC, "--k", K, "--force").err.count("already done") == 0
    assert len(runs(root)) == 2
    other = command(state | autoencoder(1), *SASREC, "--k", K)
    assert set(other.out.split()).isdisjoint(first.out.split())


def broken(data: Path, **changes: Any) -> State:
    state = state_of(made(data)) | autoencoder()
    names = {"decoder": "sae_module.W_dec", "bias": "sae_module.encoder.bias"}
    for name, value in changes.items():
        state[names[name]] = value
        if value is None:
            del state[names[name]]
    return state


@pytest.mark.parametrize(
    ("changes", "words", "message", "hint"),
    [
        (
            {},
            ("--num-layers", "1"),
            "holds transformer_block.1.masked_attn_head.q_linear.weight, which SASRec does not "
            "have",
            "--num-layers 2",
        ),
        (
            {},
            ("--history-max", "20"),
            ": p_embeddings.weight has shape (7, 8), but SASRec needs (21, 8)",
            "--history-max 6",
        ),
        (
            {},
            ("--scale", "4"),
            ": sae_module.W_dec has shape (24, 8), but an autoencoder of scale 4 needs (32, 8)",
            None,
        ),
        (
            {"decoder": torch.zeros(25, 8)},
            (),
            ": sae_module.W_dec has shape (25, 8), but an autoencoder of scale 3 needs (24, 8)",
            None,
        ),
        (
            {"decoder": torch.zeros(())},
            (),
            ": sae_module.W_dec has shape (), but an autoencoder of scale 1 needs (8, 8)",
            None,
        ),
        (
            {"bias": None},
            (),
            "has no sae_module.encoder.bias, which an autoencoder of scale 3 needs",
            None,
        ),
        ({}, ("--k", "25"), "--k is 25, but the dictionary has 24 latents", "lower --k"),
        ({}, ("--scale", "0"), "--scale is 0, but it must be at least 1", "change --scale"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, Any],
    words: tuple[str, ...],
    message: str,
    hint: str | None,
    command: Callable[..., Result],
    root: Path,
    data: Path,
) -> None:
    result = command(broken(data, **changes), *SASREC, *words)
    error, *rest = result.err.splitlines()
    file = str(root.parent / "model.pt")
    assert result.code in (1, 2)
    assert error.replace(f"{file} ", "").replace(file, "") == f"recsae: error: {message}"
    assert rest == ([f"hint: {hint}"] if hint else [])
    assert (result.out, runs(root)) == ("", [])


def test_other_errors_are_one_line(command: Callable[..., Result], root: Path, data: Path) -> None:
    state = state_of(made(data))
    cases = [
        ((state, *SASREC, "--k", "4"), 2, "--k is 4, but "),
        ((state, *MODEL, "TiMiRec"), 2, "checkpoints of TiMiRec cannot be read"),
        ((state, *MODEL, "SASRek"), 2, "no model is called 'SASRek'"),
        ((state, *MODEL, "BPRMF"), 1, "holds p_embeddings.weight, which BPRMF does not have"),
        ((state, "--dataset", "gone", "--model", "SASRec"), 3, "gone"),
        ((root / "gone.pt", *SASREC), 1, "gone.pt: No such file or directory"),
        ((data / "planted" / "dataset.json", *SASREC), 1, "is not a state dict"),
        ((data, *SASREC), 1, "Is a directory"),
    ]
    for words, code, text in cases:
        result = command(*words)
        error = [line for line in result.err.splitlines() if not line.startswith("hint: ")]
        assert (result.code, len(error), result.out) == (code, 1, ""), result.err
        assert text in error[0]
    assert runs(root) == []


def test_rows_follow_the_ids_of_the_source(data: Path) -> None:
    content = read_dataset("planted", data)
    n = len(content.items)
    turned = content.items.with_columns(source_item_id=pl.Series([str(n - i) for i in range(n)]))
    model, other = made(data), made(data)
    state = state_of(model)
    load_reference(other, state, Path("x.pt"), replace(content, items=turned))
    assert torch.equal(other.item_vectors(), model.item_vectors().flip(0))
    for ids in ([str(i + 2) for i in range(n)], [f"B{i}" for i in range(n)]):
        named = content.items.with_columns(source_item_id=pl.Series(ids))
        with pytest.raises(DataError) as caught:
            load_reference(other, state, Path("x.pt"), replace(content, items=named))
        assert caught.value.message.startswith(f"the items of planted are not numbered 1 to {n}")


def test_training_starts_from_a_checkpoint(
    cli: Callable[..., Result], root: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, begun = made(data), list[Tensor]()
    stage = importlib.import_module("recsae.stages.train")
    fit = stage.fit

    def watched(model: Recommender, *rest: Any) -> Any:
        begun.append(model.item_vectors().detach().clone())
        return fit(model, *rest)

    monkeypatch.setattr(stage, "fit", watched)
    file = saved(state_of(model) | autoencoder(), root)
    words = ("--emb-size", D, "--num-layers", 2, "--history-max", 6, "--epochs", 1)
    start = ("train", "SASRec", "planted", *words, *places(root, data))
    result = cli(*start, "--init-from", file)
    assert result.code == 0, result.err
    assert torch.equal(begun[0], model.item_vectors().detach())
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.run(result.out.strip())
    assert run.params["init_from"] == "model.pt"
    assert run.params["position_from"] == "recent"
    fresh = cli(*start)
    assert fresh.out != result.out
    assert not torch.equal(begun[1], begun[0])
    assert cli(*start, "--init-from", file).err.endswith(": already done\n")
    assert len(begun) == 2
    n_runs = len(runs(root))
    unfit = cli("train", "SASRec", "planted", *words[2:], *places(root, data), "--init-from", file)
    assert "i_embeddings.weight has shape (81, 8), but SASRec needs (81, 64)" in unfit.err
    assert (unfit.code, unfit.err.splitlines()[1]) == (1, "hint: --emb-size 8")
    refused = cli("train", "TiMiRec", "planted", *places(root, data), "--init-from", file)
    assert (refused.code, refused.err.splitlines()[0]) == (
        2,
        "recsae: error: checkpoints of TiMiRec cannot be read",
    )
    assert len(runs(root)) == n_runs


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "model", "vectors", "expected"),
    [
        ("bprmf", "BPRMF", "own", [".0458", ".0280", ".0864", ".0410", ".1652", ".0607"]),
        ("sasrec", "SASRec", "own", [".0821", ".0511", ".1386", ".0689", ".2367", ".0935"]),
        ("sasrec-sae", "SASRec", "sae", [".0725", ".0468", ".1322", ".0659", ".2164", ".0869"]),
    ],
)
def test_figures_of_the_reference(
    file: str,
    model: str,
    vectors: str,
    expected: list[str],
    cli: Callable[..., Result],
    root: Path,
    rechorus_data: Path,
) -> None:
    data = root.parent / "data"
    source = rechorus_data / "ml-100k"
    prepared = cli("data", "prepare", "rechorus", "--source", source, "--name", "r", "--data", data)
    assert prepared.code == 0, prepared.err
    checkpoint = rechorus_data / "checkpoints" / f"{file}-ml-100k.pt"
    words = ("--model", model, "--dataset", "r", *places(root, data))
    made = cli("import", "rechorus", checkpoint, *words)
    assert made.code == 0, made.err
    shown = cli("evaluate", made.out.split()[-1], "--json", "--warehouse", root)
    (row,) = (r for r in json.loads(shown.out) if (r["split"], r["vectors"]) == ("test", vectors))
    names = ("HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20")
    assert [f"{row[name]:.4f}"[1:] for name in names] == expected


@pytest.fixture
def rechorus_data() -> Path:
    root = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("RECSAE_TEST_DATA") or root) / "rechorus"
    if not (folder / "checkpoints").is_dir():
        pytest.skip("no rechorus/checkpoints in RECSAE_TEST_DATA")
    return folder


def test_options_that_the_model_does_not_have(
    command: Callable[..., Result], root: Path, data: Path
) -> None:
    state = state_of(made(data, "BPRMF"))
    for option, value in (("--history-max", 5), ("--num-layers", 2), ("--num-heads", 2)):
        refused = command(state, *MODEL, "bprmf", option, value)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.splitlines() == [
            f"recsae: error: {option} is not an option of BPRMF",
            "hint: leave it out",
        ]
    assert runs(root) == []


def test_directions_in_which_all_items_agree(
    command: Callable[..., Result], root: Path, data: Path
) -> None:
    """Rotated user biases of a table of the reference are taken out; the weights stay."""
    content = read_dataset("planted", data)
    generator = torch.Generator().manual_seed(0)
    users = torch.randn(len(content.users) + 1, D, generator=generator)
    items = torch.randn(len(content.items) + 1, D, generator=generator)
    users[:, 0], items[:, 0] = 50 * users[:, 0], 1
    turn = torch.linalg.qr(torch.randn(D, D, generator=generator)).Q
    state = {"u_embeddings.weight": users @ turn, "i_embeddings.weight": items @ turn}
    result = command(state, *MODEL, "BPRMF")
    assert result.code == 0, result.err
    assert "all items agree in 1 direction across columns" in result.err
    run_id = result.out.strip()
    with Warehouse.open(root, read_only=True) as warehouse:
        removed = warehouse.run(run_id).params["removed"]
    assert removed["directions"] == 1
    assert removed["variance"] > 0.9
    folder = run_folder(root, run_id)
    vectors, kept = np.load(folder / VECTORS), np.load(folder / ITEMS)
    assert np.abs(vectors @ turn[0].numpy()).max() < 1e-3
    own = vectors @ kept.T
    whole = (users[1:] @ items[1:].T).numpy()
    order = content.users["source_user_id"].cast(pl.Int64).to_numpy() - 1
    places_ = content.items["source_item_id"].cast(pl.Int64).to_numpy() - 1
    whole = whole[order][:, places_]
    np.testing.assert_allclose(
        own - own.mean(1, keepdims=True), whole - whole.mean(1, keepdims=True), atol=1e-3
    )

"""State dicts of the reference: what is taken over from them, and which files are refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from recommenders.toy_sequences import SMALL, random_toy
from torch import Tensor

from recsae.config import TrainConfig
from recsae.errors import DataError
from recsae.recommenders.base import Recommender
from recsae.recommenders.presets import create
from recsae.recommenders.rechorus import model_key, read_state, recommender_state, width
from recsae.recommenders.trainer import case_vectors

DATA = random_toy()
USERS, ITEMS = len(DATA.lists), DATA.n_items
CONFIG = SMALL.with_options(num_layers=2, num_heads=2, position_from="recent")
PATH = Path("model.pt")
SAVED = "torch.save(model.state_dict(), FILE) writes one"


def model(name: str = "SASRec", config: TrainConfig = CONFIG) -> Recommender:
    return create(name, config, DATA.sequences())


def given(made: Recommender, user_ids: Tensor, item_ids: Tensor) -> dict[str, Tensor]:
    """A state dict as the reference would have it, with ids of its own."""
    state = {model_key(key): value.clone() for key, value in made.state_dict().items()}
    for key, ids in (("u_embeddings.weight", user_ids), ("i_embeddings.weight", item_ids)):
        if key in state:
            own = state[key].clone()
            state[key][ids] = own[1:]
    return state


def ids(n: int, seed: int = 0) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)) + 1


def test_names() -> None:
    assert [model_key(key) for key in model("BPRMF").state_dict()] == [
        "u_embeddings.weight",
        "i_embeddings.weight",
    ]
    keys = [model_key(key) for key in model().state_dict()]
    assert keys[:2] == ["i_embeddings.weight", "p_embeddings.weight"]
    block = [key.removeprefix("transformer_block.1.") for key in keys[16:]]
    assert block == [
        f"{part}.{kind}"
        for part in (
            *(f"masked_attn_head.{letter}_linear" for letter in "qkv"),
            *("layer_norm1", "layer_norm2", "linear1", "linear2"),
        )
        for kind in ("weight", "bias")
    ]


@pytest.mark.parametrize("name", ["BPRMF", "SASRec"])
def test_weights_are_taken_over_by_id(name: str) -> None:
    made, other = model(name), model(name, CONFIG.with_options(seed=5))
    users, items = ids(USERS), ids(ITEMS, 1)
    state = given(made, users, items) | {"sae_module.W_dec": torch.zeros(2, 2)}
    other.load_state_dict(recommender_state(state, other, PATH, users, items))
    sequences = DATA.sequences()
    cases = torch.arange(1, USERS + 1), torch.full((USERS,), 2)
    assert torch.equal(other.item_vectors(), made.item_vectors())
    expected = case_vectors(made, sequences, *cases)
    assert torch.equal(case_vectors(other, sequences, *cases), expected)


def change(**changes: Any) -> dict[str, Tensor]:
    """A good state dict with some keys replaced, or removed (None)."""
    names = {"items": "i_embeddings.weight", "positions": "p_embeddings.weight"}
    state = given(model(), ids(USERS), ids(ITEMS))
    for name, value in changes.items():
        key = names.get(name, name.replace("__", "."))
        if value is None:
            del state[key]
        else:
            state[key] = value
    return state


BLOCK = "transformer_block__1__linear1__bias"


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        (
            {"items": torch.zeros(40, 8)},
            "model.pt: i_embeddings.weight has shape (40, 8), but SASRec needs (31, 8)",
            "it must come from this data set, with as many users and items",
        ),
        (
            {"items": torch.zeros(31, 6)},
            "model.pt: i_embeddings.weight has shape (31, 6), but SASRec needs (31, 8)",
            "--emb-size 6",
        ),
        (
            {"positions": torch.zeros(21, 8)},
            "model.pt: p_embeddings.weight has shape (21, 8), but SASRec needs (5, 8)",
            "--history-max 20",
        ),
        (
            {BLOCK: torch.zeros(9)},
            "model.pt: transformer_block.1.linear1.bias has shape (9,), but SASRec needs (8,)",
            None,
        ),
        (
            {"items": torch.zeros(8)},
            "model.pt: i_embeddings.weight has shape (8,), but SASRec needs (31, 8)",
            None,
        ),
        ({"items": None}, "model.pt has no i_embeddings.weight, which SASRec needs", None),
        (
            {BLOCK: None},
            "model.pt has no transformer_block.1.linear1.bias, which SASRec needs",
            "--num-layers 2",
        ),
        (
            {"transformer_block__2__linear1__bias": torch.zeros(8)},
            "model.pt holds transformer_block.2.linear1.bias, which SASRec does not have",
            "--num-layers 3",
        ),
        (
            {"u_embeddings__weight": torch.zeros(8, 8)},
            "model.pt holds u_embeddings.weight, which SASRec does not have",
            None,
        ),
    ],
)
def test_keys_and_shapes_are_checked(
    changes: dict[str, Any], message: str, hint: str | None
) -> None:
    with pytest.raises(DataError) as caught:
        recommender_state(change(**changes), model(), PATH, ids(USERS), ids(ITEMS))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_reading_gives_single_precision(tmp_path: Path) -> None:
    state = change(items=torch.ones(31, 8, dtype=torch.float64))
    torch.save(state, tmp_path / "model.pt")
    read = read_state(tmp_path / "model.pt")
    assert list(read) == list(state)
    assert all(value.dtype == torch.float32 for value in read.values())
    assert width(read) == 8
    assert width({}) is width({"i_embeddings.weight": torch.zeros(3)}) is None


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "boom")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "model.pt", tmp_path / "mark"
    hint = "save only its weights: torch.save(model.state_dict(), FILE)"
    for protocol in (None, 2, 4):
        content = {"i_embeddings.weight": torch.zeros(1), "x": Bomb(mark)}
        if protocol is None:
            torch.save(content, path)
        else:
            path.write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(DataError) as caught:
            read_state(path)
        assert caught.value.message == f"{path} holds Python objects, not only weights"
        assert caught.value.hint == hint
        assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it cannot be read"),
        (b"apple,pear\n1,2\n", "it cannot be read"),
        (b"user_id\titem_id\n1\t2\n", "it cannot be read"),
        (b"PK\x03\x04" + bytes(50), "it cannot be read"),
        ([torch.zeros(1)], "it holds list"),
        ({}, "it holds no weights"),
        ({"epoch": 3}, "epoch is int, not a tensor"),
        ({1: torch.zeros(1)}, "its key 1 is no name"),
        (
            {"state_dict": {"a": torch.zeros(1)}},
            "state_dict is dict, not a tensor",
        ),
    ],
)
def test_what_is_not_a_state_dict(content: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(DataError) as caught:
        read_state(path)
    assert caught.value.message == f"{path} is not a state dict: {reason}"
    assert caught.value.hint == SAVED


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3])
def test_values_must_be_finite_numbers(value: float, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": torch.ones(2), "b.weight": torch.tensor([1, value])}, path)
    with pytest.raises(DataError) as caught:
        read_state(path)
    assert caught.value.message == f"{path}: b.weight holds values that are not finite numbers"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        read_state(tmp_path / "gone.pt")
    assert caught.value.filename == str(tmp_path / "gone.pt")

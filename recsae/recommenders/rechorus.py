"""State dicts that the reference (ReChorus) wrote, under our names.

Its SASRec counts positions from the most recent item. Row r of its tables is its id r, row 0 is
padding; which of our ids that is, the data set tells.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from recsae.errors import DataError, UsageError
from recsae.recommenders.base import Recommender

MODELS = ("SASRec", "BPRMF")
SAE_PREFIX = "sae_module."
ITEMS, USERS, POSITIONS = "i_embeddings.weight", "u_embeddings.weight", "p_embeddings.weight"
BLOCKS = "transformer_block"

PARTS = {
    "items": "i_embeddings",
    "users": "u_embeddings",
    "positions": "p_embeddings",
    "blocks": BLOCKS,
    "query": "masked_attn_head.q_linear",
    "key": "masked_attn_head.k_linear",
    "value": "masked_attn_head.v_linear",
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "inner": "linear1",
    "outer": "linear2",
}
"""Part of the name of one of our weights -> the reference's word for it."""

State = dict[str, Tensor]


def read_state(path: Path) -> State:
    """The tensors of a state dict, as 32-bit floats. Runs nothing that the file holds.

    Raises OSError for a file that cannot be opened, DataError for one that is not a state dict,
    holds code, or has a weight that is not a finite number.
    """
    with path.open("rb") as file:
        is_pickle = file.read(1) in (b"\x80", b"P")  # bare, or in a zip archive
    try:
        with warnings.catch_warnings(action="ignore"):  # about versions of pickle
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what damage does to the unpickler cannot be listed
        if isinstance(error, pickle.UnpicklingError) and is_pickle:
            hint = "save only its weights: torch.save(model.state_dict(), FILE)"
            raise DataError(f"{path} holds Python objects, not only weights", hint) from None
        raise _no_state(path, "it cannot be read") from None
    if not isinstance(content, Mapping):
        raise _no_state(path, f"it holds {type(content).__name__}")
    if not content:
        raise _no_state(path, "it holds no weights")
    for key, value in content.items():
        if not isinstance(key, str):
            raise _no_state(path, f"its key {key!r} is no name")
        if not isinstance(value, Tensor):
            raise _no_state(path, f"{key} is {type(value).__name__}, not a tensor")
        if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise DataError(f"{path}: {key} holds values that are not finite numbers")
    return {key: value.detach().float() for key, value in content.items()}


def _no_state(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} is not a state dict: {reason}", "torch.save(model.state_dict(), FILE) writes one"
    )


def model_key(key: str) -> str:
    """The reference's name of one of our weights."""
    return ".".join(PARTS.get(part, part) for part in key.split("."))


def recommender_state(
    state: State, model: Recommender, path: Path, user_ids: Tensor, item_ids: Tensor
) -> State:
    """Weights for ``model``, under its names, out of the reference's; those of an SAE are left out.

    ``user_ids`` (n_users,) and ``item_ids`` (n_items,) are the reference's ids of our users and
    items 1, 2, ... DataError naming a key that is missing, unknown or of another shape.
    """
    own = {key: value for key, value in state.items() if not key.startswith(SAE_PREFIX)}
    names = {model_key(key): key for key in model.state_dict()}
    shapes = {key: tuple(model.state_dict()[name].shape) for key, name in names.items()}
    check_shapes(own, shapes, model.name, path)
    taken = {names[key]: value for key, value in own.items()}
    for name, ids in (("users.weight", user_ids), ("items.weight", item_ids)):
        if name in taken:
            rows = torch.cat([torch.zeros(1, dtype=torch.int64), ids])
            taken[name] = taken[name][rows]
    return taken


def check_shapes(
    state: State, shapes: Mapping[str, tuple[int, ...]], name: str, path: Path
) -> None:
    """DataError for the first key of a state dict that ``name`` lacks, or has in another shape."""
    for key in state:
        if key not in shapes:
            hint = _hint(key, state, None)
            raise DataError(f"{path} holds {key}, which {name} does not have", hint)
    for key, shape in shapes.items():
        if key not in state:
            hint = _hint(key, state, None)
            raise DataError(f"{path} has no {key}, which {name} needs", hint)
        if tuple(state[key].shape) != shape:
            raise DataError(
                f"{path}: {key} has shape {tuple(state[key].shape)}, but {name} needs {shape}",
                _hint(key, state, shape),
            )


def _hint(key: str, state: State, shape: tuple[int, ...] | None) -> str | None:
    """What would make a key fit that is there or not, or should have ``shape``."""
    if shape is None:
        numbers = {k.split(".")[1] for k in state if k.startswith(f"{BLOCKS}.")}
        return f"--num-layers {len(numbers)}" if key.startswith(BLOCKS) and numbers else None
    given = tuple(state[key].shape)
    if key not in (ITEMS, USERS, POSITIONS) or len(given) != len(shape):
        return None
    if given[1] != shape[1]:
        return f"--emb-size {given[1]}"
    if key == POSITIONS:
        return f"--history-max {given[0] - 1}"
    return "it must come from this data set, with as many users and items"


def width(state: State) -> int | None:
    """Width of the item vectors of a state dict; None where it has no table of them."""
    table = state.get(ITEMS)
    return int(table.shape[1]) if table is not None and table.ndim == 2 else None


def require_known(name: str) -> None:
    """UsageError for a model whose weights of the reference are not known here."""
    if name not in MODELS:
        raise UsageError(
            f"checkpoints of {name} cannot be read", f"those of {' and '.join(MODELS)} can"
        )

"""The reference's own weights give the reference's own figures through our models and ranking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

from recsae.config import TrainConfig
from recsae.recommenders.base import Recommender, Sequences
from recsae.recommenders.bprmf import BPRMF
from recsae.recommenders.ranking import held_out_cases, ranking_metrics, target_ranks
from recsae.recommenders.sasrec import SASRec
from recsae.recommenders.trainer import case_vectors, evaluate
from recsae.sae.model import SAE

pytestmark = pytest.mark.realdata

N_USERS, N_ITEMS = 938, 1008
NAMES = {
    "i_embeddings": "items",
    "u_embeddings": "users",
    "p_embeddings": "positions",
    "transformer_block": "blocks",
    "masked_attn_head.q_linear": "query",
    "masked_attn_head.k_linear": "key",
    "masked_attn_head.v_linear": "value",
    "layer_norm": "norm",
    "linear1": "inner",
    "linear2": "outer",
}
RECENT = TrainConfig(position_from="recent")


@pytest.fixture(scope="module")
def sequences(reference_data: Path) -> Sequences:
    frame = pl.concat(
        pl.read_csv(
            reference_data / "ml-100k" / f"{split}.csv",
            separator="\t",
            schema={"user_id": pl.Int32, "item_id": pl.Int32, "time": pl.Int64},
        ).with_columns(split=pl.lit(split))
        for split in ("train", "dev", "test")
    )
    position = pl.int_range(1, pl.len() + 1).over("user_id")
    return Sequences.from_frame(frame.with_columns(position=position), N_USERS, N_ITEMS)


def weights(data: Path, name: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(
        data / "checkpoints" / f"{name}-ml-100k.pt", weights_only=True
    )
    return found


def reference_model(model: Recommender, state: dict[str, Tensor]) -> Recommender:
    """``model`` with the reference's weights under our names."""
    renamed = {}
    for key, value in state.items():
        for old, new in NAMES.items():
            key = key.replace(old, new)
        renamed[key] = value
    model.load_state_dict(renamed)
    return model


def reference_sae(state: dict[str, Tensor]) -> SAE:
    """The reference's autoencoder, which does not scale its input."""
    names = {"W_dec": "W_dec", "b_dec": "b_dec", "encoder.weight": "W_enc", "encoder.bias": "b_enc"}
    sae = SAE(64, 1024, 8)
    sae.load_state_dict(
        {new: state[f"sae_module.{old}"] for old, new in names.items()}
        | {"shift": torch.zeros(64), "scale": torch.ones(())}
    )
    return sae


def rounded(metrics: dict[str, float]) -> list[str]:
    names = ("HR@5", "NDCG@5", "HR@10", "NDCG@10", "HR@20", "NDCG@20")
    return [f"{metrics[name]:.4f}"[1:] for name in names]


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        ("bprmf", BPRMF, [".0458", ".0280", ".0864", ".0410", ".1652", ".0607"]),
        ("sasrec", SASRec, [".0821", ".0511", ".1386", ".0689", ".2367", ".0935"]),
    ],
)
def test_recommender(
    name: str, model: Any, expected: list[str], sequences: Sequences, reference_data: Path
) -> None:
    made = reference_model(model(RECENT, N_USERS, N_ITEMS), weights(reference_data, name))
    assert rounded(evaluate(made, sequences, "test")) == expected


def test_sasrec_through_its_autoencoder(sequences: Sequences, reference_data: Path) -> None:
    state = weights(reference_data, "sasrec-sae")
    own = {key: value for key, value in state.items() if not key.startswith("sae_module")}
    model = reference_model(SASRec(RECENT, N_USERS, N_ITEMS), own)
    users, positions = held_out_cases(sequences, "test")
    rebuilt = reference_sae(state)(case_vectors(model, sequences, users, positions))
    items = model.item_vectors().detach()
    metrics = ranking_metrics(target_ranks(rebuilt, items, sequences, users, positions))
    assert rounded(metrics) == [".0725", ".0468", ".1322", ".0659", ".2164", ".0869"]

"""The recommenders by name, and the settings each is trained with unless options say otherwise."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import torch

from recsae.config import TrainConfig
from recsae.errors import UsageError
from recsae.recommenders.base import Recommender
from recsae.recommenders.bprmf import BPRMF
from recsae.recommenders.sasrec import SASRec
from recsae.recommenders.trainer import epoch_generator

MODELS: dict[str, Callable[[TrainConfig, int, int], Recommender]] = {
    "BPRMF": BPRMF,
    "SASRec": SASRec,
}

PRESETS: dict[str, TrainConfig] = {
    "BPRMF": TrainConfig(lr=3e-3, l2=1e-5, batch_size=1024),
    "SASRec": TrainConfig(lr=3e-3, l2=1e-6, batch_size=64, dropout=0.4),
}
"""Chosen by dev NDCG@5 on MovieLens-100K (docs/results.md)."""


def model_name(text: str) -> str:
    """The model meant by a name in any case; UsageError naming the known ones."""
    by_lower = {name.lower(): name for name in MODELS}
    if text.lower() in by_lower:
        return by_lower[text.lower()]
    near = difflib.get_close_matches(text.lower(), by_lower, n=1)
    meant = f"did you mean {by_lower[near[0]]}? " if near else ""
    raise UsageError(f"no model is called {text!r}", f"{meant}there is {', '.join(MODELS)}")


def create(name: str, config: TrainConfig, n_users: int, n_items: int) -> Recommender:
    """A model with fresh weights drawn from the config's seed, for ids 1..n_users, 1..n_items."""
    with torch.random.fork_rng(devices=[]):
        epoch_generator(config.seed, 0)
        return MODELS[model_name(name)](config, n_users, n_items)

"""The recommenders by name, the settings each of them uses, and those that it is trained with.

A setting that an option does not give comes from the preset of the model and the data set.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import torch

from recsae.config import TrainConfig, option
from recsae.errors import UsageError
from recsae.recommenders.base import Recommender, Sequences
from recsae.recommenders.bprmf import BPRMF
from recsae.recommenders.directau import DirectAU
from recsae.recommenders.lightgcn import LightGCN
from recsae.recommenders.sasrec import SASRec
from recsae.recommenders.timirec import TiMiRec
from recsae.recommenders.trainer import epoch_generator

MODELS: dict[str, Callable[[TrainConfig, int, int], Recommender]] = {
    "BPRMF": BPRMF,
    "LightGCN": LightGCN,
    "DirectAU": DirectAU,
    "SASRec": SASRec,
    "TiMiRec": TiMiRec,
}

_SHARED = ("emb_size", "lr", "l2", "batch_size", "epochs", "early_stop", "seed")
_SEQUENCE = ("history_max", "position_from", "objective", "num_heads", "dropout")
FIELDS: dict[str, tuple[str, ...]] = {
    "BPRMF": _SHARED,
    "LightGCN": (*_SHARED, "n_layers"),
    "DirectAU": (*_SHARED, "gamma"),
    "SASRec": (*_SHARED, *_SEQUENCE, "num_layers"),
    "TiMiRec": (
        *(*_SHARED, *_SEQUENCE),
        *("n_layers", "K", "attn_size", "add_pos", "add_trm", "temp", "stage"),
    ),
}
"""Fields of ``TrainConfig`` that a model uses; others are no options of it nor part of its runs."""

FINETUNING = ("temp", "n_layers")
"""Fields that only the second stage of TiMiRec uses."""

ANY = "any"
PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("BPRMF", ANY): dict(lr=3e-3, l2=1e-5, batch_size=1024),
    ("BPRMF", "grocery"): dict(batch_size=2048),
    ("LightGCN", ANY): dict(lr=2e-2, l2=1e-8, batch_size=1024, early_stop=30, n_layers=3),
    ("LightGCN", "lastfm-2k"): dict(lr=1e-2, batch_size=2048, early_stop=20),
    ("LightGCN", "grocery"): dict(lr=1e-2, batch_size=4096, early_stop=15),
    ("DirectAU", ANY): dict(lr=3e-3, l2=1e-5, batch_size=1024, early_stop=20, gamma=1.0),
    ("DirectAU", "lastfm-2k"): dict(lr=1e-2, l2=1e-6, batch_size=512, early_stop=10, gamma=0.3),
    ("DirectAU", "grocery"): dict(l2=1e-6, batch_size=512, early_stop=10, gamma=0.3),
    ("SASRec", ANY): dict(lr=3e-3, l2=1e-6, batch_size=64, early_stop=20, dropout=0.4),
    ("SASRec", "grocery"): dict(lr=1e-3, early_stop=10, dropout=0.3),
    ("TiMiRec", ANY): dict(lr=2e-3, l2=1e-6, batch_size=64, dropout=0.4),
}
"""Settings by model and data set, on top of the model's for ``ANY`` data set, which are those of
MovieLens-100K. Chosen by dev NDCG@5 (docs/results.md)."""


def model_name(text: str) -> str:
    """The model meant by a name in any case; UsageError naming the known ones."""
    by_lower = {name.lower(): name for name in MODELS}
    if text.lower() in by_lower:
        return by_lower[text.lower()]
    near = difflib.get_close_matches(text.lower(), by_lower, n=1)
    meant = f"did you mean {by_lower[near[0]]}? " if near else ""
    raise UsageError(f"no model is called {text!r}", f"{meant}there is {', '.join(MODELS)}")


def preset(model: str, dataset: str, **options: Any) -> TrainConfig:
    """The settings of ``model`` on ``dataset``, with the options that are given (not None).

    Raises UsageError for an unknown model, and for an option that the model does not use.
    """
    name = model_name(model)
    given = {field: value for field, value in options.items() if value is not None}
    for field in given:
        if field not in FIELDS[name]:
            users = [other for other, fields in FIELDS.items() if field in fields]
            raise UsageError(
                f"{option(field)} is not an option of {name}",
                f"leave it out; it belongs to {' and '.join(users)}" if users else None,
            )
    if given.get("stage") == "pretrain":
        for field in FINETUNING:
            if field in given:
                raise UsageError(
                    f"{option(field)} is not an option of --stage pretrain",
                    "leave it out; only the stage finetune uses it",
                )
    own = PRESETS.get((name, dataset), {})
    return TrainConfig(**{**PRESETS[name, ANY], **own, **given})


def used_settings(model: str, config: TrainConfig) -> dict[str, Any]:
    """The fields of ``config`` that ``model`` uses: they identify its run and are kept with it."""
    fields = FIELDS[model_name(model)]
    return {name: value for name, value in config.to_json().items() if name in fields}


def create(name: str, config: TrainConfig, sequences: Sequences) -> Recommender:
    """A model for the users, items and training data of ``sequences``.

    Its weights are fresh ones, drawn from the config's seed.
    """
    with torch.random.fork_rng(devices=[]):
        epoch_generator(config.seed, 0)
        model = MODELS[model_name(name)](config, sequences.n_users, sequences.n_items)
    model.prepare(sequences)
    return model

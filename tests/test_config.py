"""Every rule of every configuration, and the JSON that is kept with a run."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict, fields
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsae.config import (
    ConceptsConfig,
    ConfidenceConfig,
    SAEConfig,
    StageConfig,
    TrainConfig,
    digest,
    option,
)
from recsae.errors import ExitCode, UsageError

STAGES: tuple[type[StageConfig], ...] = (TrainConfig, SAEConfig, ConceptsConfig, ConfidenceConfig)
POSITIVE, NOT_NEGATIVE = "positive and finite", "zero or positive, and finite"
SEED = "zero or positive, below 2**63"
SHARE, INNER_SHARE = "from 0 to 1", "between 0 and 1"
COUNTS = {
    TrainConfig: (
        "emb_size",
        "num_layers",
        "num_heads",
        "history_max",
        "n_layers",
        "K",
        "attn_size",
        "batch_size",
        "epochs",
        "early_stop",
    ),
    SAEConfig: ("k", "scale", "batch_size", "epochs"),
    ConceptsConfig: (
        *("top_items", "label_tags", "max_cases"),
        *("pool_cases", "popularity_bins", "n_examples"),
    ),
    ConfidenceConfig: ("active_cap", "permutations", "min_active", "min_users"),
}
RULES: list[tuple[type[StageConfig], str, Any, str]] = [
    *(
        (stage, name, value, "at least 1")
        for stage, names in COUNTS.items()
        for name in names
        for value in (0, -1)
    ),
    *(
        (stage, name, value, rule)
        for stage, name, rule, values in (
            (TrainConfig, "lr", POSITIVE, (0, -1.0, nan, inf)),
            (SAEConfig, "lr", POSITIVE, (0, -1.0, nan, inf)),
            (SAEConfig, "dead_after", POSITIVE, (0, -1.0, nan, inf)),
            (TrainConfig, "l2", NOT_NEGATIVE, (-1e-9, nan, inf)),
            (SAEConfig, "aux_weight", NOT_NEGATIVE, (-1e-9, nan, inf)),
            (SAEConfig, "fold_in", "zero or more", (-1, -24)),
            (TrainConfig, "dropout", "from 0 to below 1", (-0.1, 1.0, nan)),
            (TrainConfig, "seed", SEED, (-1, 2**63)),
            (SAEConfig, "revival", "auxk, auxk-half, restarts or none", ("AuxK", "")),
            (SAEConfig, "seed", SEED, (-1, 2**63)),
            (TrainConfig, "position_from", "start or recent", ("end", "", "Start")),
            (TrainConfig, "objective", "softmax or bpr", ("BPR", "", "ce")),
            (TrainConfig, "stage", "pretrain or finetune", ("both", "")),
            (TrainConfig, "add_pos", "0 or 1", (2, -1)),
            (TrainConfig, "add_trm", "0 or 1", (2, -1)),
            (TrainConfig, "gamma", NOT_NEGATIVE, (-0.1, nan, inf)),
            (TrainConfig, "temp", POSITIVE, (0, -1.0, nan, inf)),
            (TrainConfig, "emb_size", "a multiple of --num-heads 1", ()),
            (SAEConfig, "warm_up", SHARE, (-0.1, 1.1, nan)),
            (SAEConfig, "decay", SHARE, (-0.1, 1.1, nan)),
            (SAEConfig, "construct_share", INNER_SHARE, (0.0, 1.0, nan)),
            (SAEConfig, "heldout_share", INNER_SHARE, (0.0, 1.0, nan)),
            (ConceptsConfig, "top_items", "at most 10, as many are kept", (11,)),
            (ConceptsConfig, "history_items", "zero or more", (-1,)),
            (ConceptsConfig, "profile_tags", "at least --label-tags 5", (4,)),
            (ConfidenceConfig, "n_strong", "at least 2", (1, 0)),
            (ConfidenceConfig, "min_confidence", SHARE, (-0.1, 1.1, nan)),
            (ConfidenceConfig, "max_q", SHARE, (-0.1, 1.1, nan)),
        )
        for value in values
    ),
]
ALLOWED: list[tuple[type[StageConfig], dict[str, Any]]] = [
    (TrainConfig, {"l2": 0.0, "dropout": 0.0, "seed": 0, "early_stop": 1}),
    (TrainConfig, {"emb_size": 6, "num_heads": 3, "seed": 2**63 - 1, "position_from": "recent"}),
    (TrainConfig, {"gamma": 0.0, "temp": 1e-9, "K": 1, "attn_size": 1, "n_layers": 1}),
    (TrainConfig, {"add_pos": 0, "add_trm": 0, "objective": "bpr", "stage": "pretrain"}),
    (SAEConfig, {"warm_up": 0.0, "decay": 0.0, "aux_weight": 0.0}),
    (SAEConfig, {"revival": "auxk-half", "aux_weight": 0.1, "dead_after": 1.0}),
    (SAEConfig, {"warm_up": 1.0, "decay": 1.0, "dead_after": 100.0, "k": 1, "scale": 1}),
    (ConceptsConfig, {"history_items": 0, "top_items": 10, "label_tags": 15}),
    (ConfidenceConfig, {"min_confidence": 0.0, "max_q": 1.0, "n_strong": 2}),
]


@pytest.mark.parametrize(("stage", "name", "value", "rule"), RULES)
def test_a_broken_rule_is_named(stage: type[StageConfig], name: str, value: Any, rule: str) -> None:
    flag = "--" + name.replace("_", "-")
    with pytest.raises(UsageError) as caught:
        stage(**{name: value})
    assert caught.value.message == f"{flag} is {value}, but it must be {rule}"
    assert caught.value.hint == f"change {flag}"
    assert caught.value.exit_code == ExitCode.USAGE
    with pytest.raises(UsageError):
        stage().with_options(**{name: value})
    with pytest.raises(UsageError):
        stage.from_json({name: value})


def test_a_rule_of_two_options_names_both() -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig(emb_size=64, num_heads=3)
    message = "--emb-size is 64, but it must be a multiple of --num-heads 3"
    assert caught.value.message == message


@pytest.mark.parametrize("revival", ["restarts", "none"])
@pytest.mark.parametrize(("name", "value"), [("aux_weight", 0.0), ("dead_after", 1.0)])
def test_what_belongs_to_auxk_goes_with_no_other_revival(
    revival: Any, name: str, value: float
) -> None:
    with pytest.raises(UsageError) as caught:
        SAEConfig(**{"revival": revival, name: value})
    flag = "--" + name.replace("_", "-")
    rule = f"left out with --revival {revival}"
    assert caught.value.message == f"{flag} is {value}, but it must be {rule}"
    assert SAEConfig(revival=revival).revival == revival


@pytest.mark.parametrize("stage", STAGES)
def test_every_field_has_a_rule(stage: type[StageConfig]) -> None:
    assert {field.name for field in fields(stage)} == {
        name for of, name, _, _ in RULES if of is stage
    }


@pytest.mark.parametrize(("stage", "values"), ALLOWED)
def test_values_at_the_edge_are_allowed(stage: type[StageConfig], values: dict[str, Any]) -> None:
    assert asdict(stage(**values)).items() >= values.items()


@pytest.mark.parametrize("stage", STAGES)
def test_json_and_back(stage: type[StageConfig]) -> None:
    text = json.dumps(stage().to_json(), allow_nan=False)
    assert stage.from_json(json.loads(text)) == stage()


def test_fields_of_another_version_are_ignored() -> None:
    values = {"k": 4, "unknown": 1, "__post_init__": None}
    assert SAEConfig.from_json(values) == SAEConfig(k=4)
    assert SAEConfig.from_json({}) == SAEConfig()


def test_options_not_given_change_nothing() -> None:
    config = TrainConfig(lr=0.5)
    assert config.with_options(lr=None, seed=None) == config
    assert config.with_options(seed=0, l2=0.0) == TrainConfig(lr=0.5, seed=0, l2=0.0)
    assert config.with_options(epochs=3) == TrainConfig(lr=0.5, epochs=3)


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SAEConfig().k = 3  # type: ignore[misc]


def test_option_names() -> None:
    assert (option("k"), option("emb_size")) == ("--k", "--emb-size")


def test_digest_is_the_same_everywhere() -> None:
    """Runs are found again by it, so it may not change from one version to the next."""
    known = digest("train", "BPRMF", {"seed": 0, "lr": 0.001, "é": None}, "toy", [1, True])
    assert known == "e9e1f100dd05bb6953485cf4351adf21e498e692e1e758cfb1514227fcffb4ff"


def test_digest_depends_on_content_alone() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    different = [
        digest("ab"),
        digest("a", "b"),
        digest(["a", "b"]),
        digest(1),
        digest("1"),
        digest(),
    ]
    assert len(set(different)) == len(different)


@settings(deadline=None)
@given(lr=st.floats(1e-9, 10), k=st.integers(1, 1000), seed=st.integers(0, 2**63 - 1))
def test_digest_survives_json(lr: float, k: int, seed: int) -> None:
    config = SAEConfig(lr=lr, k=k, seed=seed)
    again = SAEConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert digest(again.to_json()) == digest(config.to_json())
    assert digest(config.with_options(k=k + 1).to_json()) != digest(config.to_json())

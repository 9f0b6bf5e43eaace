"""Presets, the fields that each model uses, and options that it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from recommenders.toy_sequences import NAMES

from recsae.cli import app
from recsae.config import TrainConfig, option
from recsae.errors import ExitCode, UsageError
from recsae.recommenders.presets import ANY, FIELDS, MODELS, PRESETS, preset, used_settings

if TYPE_CHECKING:
    from conftest import Result

FIELD_NAMES = {field.name for field in fields(TrainConfig)}
OTHER = {
    "position_from": "recent",
    "objective": "bpr",
    "stage": "pretrain",
    "gamma": 0.9,
    "temp": 0.9,
    "dropout": 0.1,
    "lr": 0.5,
    "l2": 0.5,
    "add_pos": 0,
    "add_trm": 0,
}
"""A value of each field that is not its default; 16 for the others, which count something."""


def test_every_field_belongs_to_a_model() -> None:
    assert set().union(*FIELDS.values()) == FIELD_NAMES
    assert set(FIELDS) == set(MODELS) == {model for model, dataset in PRESETS if dataset == ANY}


def test_presets_name_models_and_fields_they_use() -> None:
    for (model, _), settings in PRESETS.items():
        assert set(settings) <= set(FIELDS[model])


@pytest.mark.parametrize("name", NAMES)
def test_a_data_set_without_a_preset_has_that_of_the_model(name: str) -> None:
    assert preset(name, "mine") == TrainConfig(**PRESETS[name, ANY])
    assert preset(name.lower(), "mine") == preset(name, "mine")


@pytest.mark.parametrize("key", [key for key in PRESETS if key[1] != ANY])
def test_the_preset_of_a_data_set_goes_over_that_of_the_model(key: tuple[str, str]) -> None:
    config = preset(*key)
    assert config == TrainConfig(**{**PRESETS[key[0], ANY], **PRESETS[key]})
    assert config != preset(key[0], "mine")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", sorted(FIELD_NAMES))
def test_options_of_a_model(name: str, field: str) -> None:
    """A field that the model uses replaces the preset's; another one is refused by its name."""
    value = OTHER.get(field, 16)
    if field in FIELDS[name]:
        config = preset(name, "mine", **{field: value})
        assert getattr(config, field) == value
        assert used_settings(name, config)[field] == value
        return
    with pytest.raises(UsageError) as caught:
        preset(name, "mine", **{field: value})
    assert caught.value.message == f"{option(field)} is not an option of {name}"
    assert caught.value.exit_code == ExitCode.USAGE
    assert preset(name, "mine", **{field: None}) == preset(name, "mine")


def test_the_hint_names_the_models_that_have_the_option() -> None:
    with pytest.raises(UsageError) as caught:
        preset("BPRMF", "ml-100k", n_layers=2)
    assert caught.value.hint == "leave it out; it belongs to LightGCN and TiMiRec"


def test_an_option_is_still_checked() -> None:
    with pytest.raises(UsageError, match="--gamma is -1"):
        preset("DirectAU", "ml-100k", gamma=-1.0)


@pytest.mark.parametrize("name", NAMES)
def test_fields_of_other_models_are_no_part_of_a_run(name: str) -> None:
    """So that a new field of one model never changes the identity of another's runs."""
    config = preset(name, "mine")
    foreign = {field: OTHER.get(field, 16) for field in FIELD_NAMES - set(FIELDS[name])}
    changed = config.with_options(**foreign)
    assert used_settings(name, changed) == used_settings(name, config)
    assert set(used_settings(name, config)) == set(FIELDS[name])


def test_every_field_is_an_option_of_the_command() -> None:
    command: Any = typer.main.get_command(app)
    flags = {flag for parameter in command.commands["train"].params for flag in parameter.opts}
    assert {option(name) for name in FIELD_NAMES} <= flags


@pytest.mark.parametrize("field", sorted(FIELD_NAMES - set(FIELDS["BPRMF"])))
def test_the_command_refuses_options_of_other_models(
    cli: Callable[..., Result], field: str, tmp_path: Path
) -> None:
    """Before it looks at the data, of which there are none here."""
    value = OTHER.get(field, 16)
    folders = "--data", tmp_path / "data", "--warehouse", tmp_path / "warehouse"
    result = cli("train", "bprmf", "ml-100k", option(field), value, *folders)
    assert (result.code, result.out) == (ExitCode.USAGE, "")
    assert f"{option(field)} is not an option of BPRMF" in result.err
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_options_of_its_model(cli: Callable[..., Result], tmp_path: Path) -> None:
    """As far as the data set, which there is not."""
    folders = "--data", tmp_path / "data", "--warehouse", tmp_path / "warehouse"
    result = cli("train", "TiMiRec", "mine", "--K", 3, "--stage", "pretrain", *folders)
    assert result.code != ExitCode.OK
    assert "mine" in result.err
    assert "is not an option" not in result.err

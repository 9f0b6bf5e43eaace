"""TiMiRec's two stages as runs: who trains whom, what is taken over, and what cannot go on."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from recsae.config import TrainConfig
from recsae.datasets import prepare
from recsae.errors import DataError
from recsae.progress import Reporter
from recsae.recommenders.base import Recommender
from recsae.recommenders.timirec import TiMiRec
from recsae.stages import run, train
from recsae.stages.pipeline import PipelineConfig
from recsae.stages.train import WEIGHTS, pretraining
from recsae.warehouse import Warehouse, run_folder

if TYPE_CHECKING:
    from conftest import Result

OPTIONS = {"users": 50, "items": 80, "concepts": 4, "noise_tags": 4, "seed": 0}
CONFIG = TrainConfig(emb_size=8, K=3, history_max=6, batch_size=64, lr=1e-2, epochs=2, temp=0.5)
WORDS = (
    *("train", "TiMiRec", "planted", "--emb-size", 8, "--K", 3, "--history-max", 6),
    *("--batch-size", 64, "--lr", 1e-2, "--l2", 1e-6, "--dropout", 0, "--epochs", 2),
)
FINETUNE = (*WORDS, "--temp", 0.5)
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages") / "data"
    prepare("planted", folder, **OPTIONS)
    return folder


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Weights]]:
    """Stage and weights at the start of every training."""
    stage = importlib.import_module("recsae.stages.train")
    fit, seen = stage.fit, list[tuple[str, Weights]]()

    def watched(model: Recommender, *rest: Any) -> Any:
        assert isinstance(model, TiMiRec)
        weights = {key: value.clone() for key, value in model.state_dict().items()}
        seen.append(("finetune" if model.predictor else "pretrain", weights))
        return fit(model, *rest)

    monkeypatch.setattr(stage, "fit", watched)
    return seen


class Notes(Reporter):
    def __init__(self) -> None:
        self.said = list[str]()

    def note(self, text: str) -> None:
        self.said.append(text)


def trained(root: Path, data: Path, config: TrainConfig = CONFIG, *, force: bool = False) -> str:
    return train(root, data, "TiMiRec", "planted", config, force=force, reporter=Reporter())


def weights_of(root: Path, run_id: str) -> Weights:
    return load_file(run_folder(root, run_id) / WEIGHTS)


def test_finetuning_trains_the_missing_stage_first(
    root: Path, data: Path, begun: list[tuple[str, Weights]], cli: Callable[..., Result]
) -> None:
    places = ("--data", data, "--warehouse", root)
    result = cli(*FINETUNE, *places)
    run_id = result.out.strip()
    assert (result.code, run_id.rsplit("-", 1)[0]) == (0, "timirec-planted")
    assert result.err.startswith("TiMiRec: its interests come from the pretraining stage\n")
    with Warehouse.open(root, read_only=True) as warehouse:
        found = warehouse.run(run_id)
        parent = warehouse.run(str(found.parent_run_id))
    assert parent.run_id.startswith("timirec-pretrain-planted-")
    assert (found.kind, parent.kind, parent.parent_run_id) == ("recommender",) * 2 + (None,)
    assert (found.params["stage"], parent.params["stage"]) == ("finetune", "pretrain")
    assert [stage for stage, _ in begun] == ["pretrain", "finetune"]
    first, start = weights_of(root, parent.run_id), begun[1][1]
    assert first
    assert all(torch.equal(start[key], value) for key, value in first.items())
    assert {key for key in start if key.startswith("predictor.")} == set(start) - set(first)
    again = cli(*FINETUNE, *places)
    assert (again.out, again.err) == (result.out, f"train {run_id}: already done\n")
    assert cli(*WORDS, "--stage", "pretrain", *places).out.strip() == parent.run_id
    assert len(begun) == 2


def test_finetuning_finds_the_pretrained_run(
    root: Path, data: Path, begun: list[tuple[str, Weights]]
) -> None:
    """What finetuning alone has does not ask for another one; other settings do."""
    first = trained(root, data, CONFIG.with_options(stage="pretrain", temp=1.0))
    assert trained(root, data, pretraining(CONFIG)) == first
    runs = {trained(root, data), trained(root, data, CONFIG.with_options(n_layers=2, temp=2.0))}
    assert [stage for stage, _ in begun] == ["pretrain", "finetune", "finetune"]
    other = trained(root, data, CONFIG.with_options(K=2))
    assert [stage for stage, _ in begun[3:]] == ["pretrain", "finetune"]
    with Warehouse.open(root, read_only=True) as warehouse:
        assert {warehouse.run(run_id).parent_run_id for run_id in runs} == {first}
        assert warehouse.run(other).parent_run_id not in (first, None)


def test_a_pretrained_run_again_asks_for_finetuning_again(
    root: Path, data: Path, begun: list[tuple[str, Weights]]
) -> None:
    second = trained(root, data)
    before = weights_of(root, second)
    trained(root, data, pretraining(CONFIG), force=True)
    with Warehouse.open(root, read_only=True) as warehouse:
        assert not warehouse.stage_done(second, "train")
        assert warehouse.run(second).status == "failed"
        assert warehouse.find_run("latest").run_id != second
    assert trained(root, data) == second
    assert [stage for stage, _ in begun] == ["pretrain", "finetune"] * 2
    assert all(torch.equal(value, before[k]) for k, value in weights_of(root, second).items())
    trained(root, data, force=True)
    assert [stage for stage, _ in begun[4:]] == ["finetune"]


def test_several_vectors_per_case(root: Path, data: Path, cli: Callable[..., Result]) -> None:
    """They are ranked by, but no autoencoder can be trained on them."""
    first = trained(root, data, pretraining(CONFIG))
    with Warehouse.open(root, read_only=True) as warehouse:
        stored = warehouse.metrics(first).filter(split="test")
        n_cases = warehouse.sql("select count(*) from raw.cases").item()
        n_best = warehouse.sql("select count(*) from raw.recommendations").item()
    assert n_best == 10 * n_cases > 0
    shown = json.loads(cli("evaluate", first, "--json", "--warehouse", root).out)
    test = {key: value for key, value in shown[1].items() if "@" in key}
    assert test == dict(stored.select("metric", "value").rows())
    for ref in (first, "latest"):
        refused = cli("sae", "train", ref, "--warehouse", root)
        assert (refused.code, refused.out) == (2, "")
        said = [line for line in refused.err.splitlines() if not line.startswith("run latest: ")]
        assert said == [
            f"recsae: error: run {first!r} is the pretraining stage of TiMiRec and has 3 vectors "
            "per case",
            "hint: recsae train TiMiRec planted",
        ]
    with Warehouse.open(root, read_only=True) as warehouse:
        assert warehouse.runs()["run_id"].to_list() == [first]


def test_options_of_the_second_stage_alone(cli: Callable[..., Result], root: Path) -> None:
    refused = cli(*FINETUNE, "--stage", "pretrain", "--warehouse", root)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.splitlines()[0] == (
        "recsae: error: --temp is not an option of --stage pretrain"
    )


def test_damaged_weights_are_named(root: Path, data: Path) -> None:
    first = trained(root, data, pretraining(CONFIG))
    path = run_folder(root, first) / WEIGHTS
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError) as caught:
        trained(root, data)
    assert caught.value.message.startswith(f"{path} is missing or damaged (")
    assert caught.value.hint == "recsae train TiMiRec planted --stage pretrain --force"


def test_the_pipeline_goes_through_both(root: Path, data: Path) -> None:
    notes = Notes()
    config = PipelineConfig(train=CONFIG)
    config = PipelineConfig(
        train=CONFIG,
        sae=config.sae.with_options(k=2, scale=2, epochs=2),
        confidence=config.confidence.with_options(permutations=1),
    )
    sae = run(root, data, "planted", "TiMiRec", config, source=None, force=False, reporter=notes)
    with Warehouse.open(root, read_only=True) as warehouse:
        recommender = warehouse.find_run(sae, "recommender")
        stages = dict(warehouse.runs().select("run_id", "stages").rows())
    assert recommender.params["stage"] == "finetune"
    assert stages[sae] == ["train", "encode", "concepts", "confidence"]
    assert stages[str(recommender.parent_run_id)] == ["train"]
    assert len(stages) == 3

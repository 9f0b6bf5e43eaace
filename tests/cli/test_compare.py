"""Controls of a run, the report with them, and runs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from recsae.report.comparison import ROWS
from recsae.sae.controls import control
from recsae.stages import evaluate
from recsae.stages.encode import load_sae
from recsae.stages.stored import load_stored
from recsae.warehouse import Warehouse
from recsae.warehouse.runs import KEPT_ALONE

if TYPE_CHECKING:
    from conftest import Result
    from stages.finished import Finished

    Cli = Callable[..., Result]

KEYS = [key for _, key, _ in ROWS]


@pytest.fixture(scope="module")
def compared(whole: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A copy of the finished run with its controls."""
    from stages.finished import copied

    from recsae.progress import Reporter
    from recsae.stages import controls

    own = copied(whole, tmp_path_factory.mktemp("compared") / "warehouse")
    controls(own.root, own.sae, force=False, reporter=Reporter())
    return own


@pytest.fixture
def at(compared: Finished, monkeypatch: pytest.MonkeyPatch) -> Finished:
    monkeypatch.setenv("RECSAE_WAREHOUSE", str(compared.root))
    return compared


def control_ids(root: Path) -> dict[str, str]:
    with Warehouse.open(root, read_only=True) as warehouse:
        found = warehouse.sql(
            "select model, run_id from raw.runs where model in ('untrained', 'neurons')"
        )
    return dict(found.rows())


def overview(root: Path, run_id: str) -> dict[str, Any]:
    with Warehouse.open(root, read_only=True) as warehouse:
        return warehouse.query("report.overview", {"run_id": run_id}).row(0, named=True)


def test_neurons_are_both_sides_of_every_coordinate() -> None:
    vectors = torch.tensor([[3.0, 0.0, 0.0], [-3.0, 1.0, 0.0], [0.0, -1.0, 0.5], [0.0, 0.0, -0.5]])
    sae = control("neurons", vectors, 99, 2, torch.Generator())
    assert (sae.d, sae.h, sae.k) == (3, 6, 2)
    values, indices = sae.encode(vectors)
    assert indices[0, 0] == 0  # the positive side of the first coordinate
    assert indices[1].tolist() == [3, 1]
    assert indices[2].tolist() == [4, 2]
    # two of three coordinates say all of a vector that has no third
    assert torch.allclose(sae(vectors), vectors, atol=1e-6)
    assert bool((values[0, 1:] == 0).all())


def test_untrained_directions_come_from_the_seed() -> None:
    vectors = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    one, same, other = (
        control("untrained", vectors, 32, 4, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert (one.h, one.k) == (32, 4)
    assert torch.equal(one.W_dec, same.W_dec)
    assert not torch.equal(one.W_dec, other.W_dec)
    assert torch.allclose(one.W_dec.norm(dim=1), torch.ones(32))


def test_controls_are_runs_with_the_same_cases(at: Finished) -> None:
    ids = control_ids(at.root)
    assert set(ids) == {"untrained", "neurons"}
    with Warehouse.open(at.root, read_only=True) as warehouse:
        own = warehouse.run(at.sae)
        for name, run_id in ids.items():
            run = warehouse.run(run_id)
            assert run_id.startswith(f"{name}-sasrec-planted-k4-")
            assert (run.parent_run_id, run.seed, run.params["k"]) == (at.recommender, own.seed, 4)
            sides, cases = (
                warehouse.sql(
                    f"select * exclude (run_id) from {table} where run_id = $r order by all",
                    {"r": run_id},
                ).equals(
                    warehouse.sql(
                        f"select * exclude (run_id) from {table} where run_id = $r order by all",
                        {"r": at.sae},
                    )
                )
                for table in ("staging.user_sides", "staging.cases")
            )
            assert sides
            assert cases
        assert warehouse.find_run("latest").run_id == at.sae
        assert warehouse.find_run(at.recommender, "sae").run_id == at.sae


def test_training_beats_its_controls(at: Finished) -> None:
    own = overview(at.root, at.sae)
    for run_id in control_ids(at.root).values():
        other = overview(at.root, run_id)
        assert own["fvu_heldout"] < other["fvu_heldout"]
        assert own["ndcg_10_kept"] > other["ndcg_10_kept"]
        assert own["n_concepts"] >= other["n_concepts"]


def test_interpretable_latents_alone(at: Finished) -> None:
    """The stored share against a rebuilding in which the others are zero, latent by latent."""
    with Warehouse.open(at.root, read_only=True) as warehouse:
        run, parent = warehouse.run(at.sae), warehouse.run(at.recommender)
        good = warehouse.sql(
            "select latent_id from confidence.scores "
            "where run_id = $r and status = 'interpretable'",
            {"r": at.sae},
        )["latent_id"].to_list()
        stored = dict(
            warehouse.metrics(at.sae).filter(split="test").select("metric", "value").rows()
        )
    sae, vectors = load_sae(at.root, run), load_stored(at.root, parent)
    others = [latent for latent in range(sae.h) if latent not in good]
    assert good
    assert others
    sae.W_dec.data[others] = 0
    alone = vectors.evaluate("test", sae)["NDCG@10"]
    assert stored[KEPT_ALONE] == pytest.approx(alone / vectors.evaluate("test")["NDCG@10"])
    assert evaluate(at.root, at.sae)[1]["NDCG@10"][2] > 0


def test_the_report_shows_them(at: Finished, cli: Cli) -> None:
    text = cli("report").out
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("controls "))
    assert head.split() == ["controls", "this", "SAE", "untrained", "neurons", "permuted"]
    assert all(len(line) <= 80 for line in lines)
    shown = json.loads(cli("report", "--json").out)
    assert set(shown["controls"]) == {"untrained", "neurons"}
    card = overview(at.root, control_ids(at.root)["neurons"])
    assert shown["controls"]["neurons"]["n_interpretable"] == card["n_interpretable"]
    assert shown["controls"]["neurons"]["n_latents"] == 64
    row = next(line for line in lines if line.startswith("interpretable "))
    assert row.split()[1:4] == [
        str(overview(at.root, run)["n_interpretable"])
        for run in (at.sae, control_ids(at.root)["untrained"], control_ids(at.root)["neurons"])
    ]


def test_a_report_without_controls(whole: Finished, cli: Cli) -> None:
    assert "\ncontrols " not in cli("report", "--warehouse", whole.root).out


def test_runs_side_by_side(at: Finished, cli: Cli) -> None:
    ids = control_ids(at.root)
    result = cli("compare", "latest", ids["untrained"], "neurons-", at.sae)
    assert result.code == 0
    lines = result.out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [
        ["1", f"{at.sae}:"],
        ["2", f"{ids['untrained']}:"],
        ["3", f"{ids['neurons']}:"],
    ]
    assert lines[3].split() == ["1", "2", "3"]
    assert all(len(line) <= 80 for line in lines)
    shown = json.loads(cli("compare", at.sae, "neurons-", "--json").out)
    assert [one["run_id"] for one in shown] == [at.sae, ids["neurons"]]
    assert set(shown[0]) == {"run_id", *KEYS}


def test_a_run_that_is_not_verified(at: Finished, cli: Cli) -> None:
    refused = cli("compare", at.sae, "nothing")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("recsae: error: no run is called 'nothing'")


def test_the_option_makes_them_once(
    own: Finished, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSAE_WAREHOUSE", str(own.root))
    words = ("confidence", "latest", "--permutations", 5, "--controls")
    first = cli(*words)
    assert (first.code, first.out) == (0, f"{own.sae}\n")
    assert len(control_ids(own.root)) == 2
    again = cli(*words)
    assert again.out == first.out
    assert again.err.splitlines() == [
        f"run latest: {own.sae}, autoencoder of {own.recommender}",
        f"confidence {own.sae}: already done",
        *(
            f"{stage} {run_id}: already done"
            for run_id in (control_ids(own.root)[name] for name in ("untrained", "neurons"))
            for stage in ("train", "encode", "concepts", "confidence")
        ),
    ]

"""The training stage: dictionary by data, the kept epoch, vectors that stay on disk, warnings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from sae.toy_vectors import Watcher

from recsae.config import SAEConfig
from recsae.errors import RecsaeError
from recsae.progress import Reporter
from recsae.sae import vectors
from recsae.sae.model import SAE
from recsae.stages import sae_train, stored
from recsae.stages.sae_train import train_sae
from recsae.warehouse import Warehouse

if TYPE_CHECKING:
    from stages.finished import Finished

CONFIG = SAEConfig(k=4, scale=2, lr=4e-3, revival="auxk", batch_size=256, epochs=3, seed=7)


class Notes(Reporter):
    def __init__(self) -> None:
        self.notes = list[str]()

    def note(self, text: str) -> None:
        self.notes.append(text)


def trained(own: Finished, config: SAEConfig = CONFIG) -> tuple[str, list[str]]:
    reporter = Notes()
    run_id = train_sae(own.root, own.recommender, config, force=False, reporter=reporter)
    return run_id, reporter.notes


def metrics(root: Path, run_id: str) -> pl.DataFrame:
    with Warehouse.open(root, read_only=True) as warehouse:
        return warehouse.metrics(run_id)


def value(frame: pl.DataFrame, split: str, epoch: int, metric: str) -> float:
    row = frame.filter(split=split, epoch=epoch, metric=metric)
    return float(row["value"].item())


def test_metrics_of_every_epoch(own: Finished) -> None:
    run_id, _ = trained(own)
    frame = metrics(own.root, run_id)
    for epoch in (1, 2, 3):
        names = {
            split: set(frame.filter(split=split, epoch=epoch)["metric"])
            for split in ("train", "heldout", "dev")
        }
        assert names == {
            "train": {"FVU", "L0", "dead", "seconds", "vectors/s"},
            "heldout": {"FVU", "L0", "dead"},
            "dev": {"NDCG@10"},
        }
        assert 0 <= value(frame, "dev", epoch, "NDCG@10") <= 1
    best = int(value(frame, "all", 0, "best epoch"))
    kept = value(frame, "heldout", best, "FVU")
    assert kept == pytest.approx(value(frame, "heldout", 0, "FVU"), rel=1e-5)


def test_vectors_on_disk_train_as_well(own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another order, so other weights, but the same quality; and nothing is left behind."""
    in_memory, _ = trained(own)
    expected = metrics(own.root, in_memory)
    monkeypatch.setattr(stored, "IN_MEMORY", 0)
    monkeypatch.setattr(vectors, "BUCKET_BYTES", 2**14)
    again, _ = trained(own, CONFIG.with_options(aux_weight=0.031))
    assert again != in_memory
    found = metrics(own.root, again)
    for split in ("train", "heldout"):
        one, other = (value(frame, split, 0, "FVU") for frame in (expected, found))
        assert other == pytest.approx(one, rel=0.25)
    folders = {path.name for path in (own.root / "tmp").iterdir() if path.is_dir()}
    assert folders <= {"locks", "spill"}


def test_a_sample_of_the_users_is_ranked_for(
    own: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    real = SAE.forward

    def spy(self: SAE, x: object) -> object:
        sizes.append(len(x))  # type: ignore[arg-type]
        return real(self, x)  # type: ignore[arg-type]

    monkeypatch.setattr(sae_train, "DEV_USERS", 17)
    monkeypatch.setattr(SAE, "forward", spy)
    trained(own)
    assert sizes[:3] == [17, 17, 17]


def test_the_vectors_are_part_of_the_identity(own: Finished) -> None:
    first, _ = trained(own)
    assert trained(own) == (first, [f"train {first}: already done"])
    path = own.root / "runs" / own.recommender / "vectors.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert trained(own)[0] != first


def test_the_dictionary_is_chosen_from_the_number_of_vectors(own: Finished) -> None:
    config = SAEConfig(k=4, batch_size=256, epochs=1)
    run_id, _ = trained(own, config)
    with Warehouse.open(own.root, read_only=True) as warehouse:
        params = warehouse.run(run_id).params
        cases = warehouse.sql(
            "select count(*) from raw.cases where run_id = $r", {"r": own.recommender}
        ).item()
    wanted = config.for_vectors(round(0.8 * cases), params["d"])
    assert params["scale"] == wanted.scale
    assert params["n_latents"] == wanted.scale * params["d"]
    assert trained(own, wanted)[0] == run_id, "the same, given or chosen"


@pytest.mark.parametrize(
    ("n", "d", "k", "scale"),
    [
        (10**6, 64, 8, 16),
        (4096, 64, 8, 16),
        (4095, 64, 8, 8),
        (751, 64, 8, 2),
        (10, 64, 8, 1),
        (10, 4, 10, 3),
        (0, 64, 8, 1),
    ],
)
def test_scale_for_vectors(n: int, d: int, k: int, scale: int) -> None:
    assert SAEConfig(k=k).for_vectors(n, d).scale == scale
    assert SAEConfig(k=k, scale=5).for_vectors(n, d).scale == 5


@pytest.mark.parametrize(
    ("train", "heldout", "said"),
    [
        (0.05, 0.3, "memorise"),
        (0.04, 0.09, None),
        (0.2, 0.3, None),
        (1.2, 1.3, "no better"),
        (0.1, float("nan"), None),
    ],
)
def test_warnings(train: float, heldout: float, said: str | None) -> None:
    reporter = Watcher()
    sae_train._warn(train, heldout, reporter)
    assert len(reporter.notes) == (said is not None)
    assert said is None or (said in reporter.notes[0] and reporter.notes[0].startswith("warning"))


def test_k_that_does_not_fit_is_refused_before_anything_is_stored(own: Finished) -> None:
    with pytest.raises(RecsaeError, match="--k is 999"):
        trained(own, SAEConfig(k=999, scale=2))

"""The training stage: dictionary by data, the kept epoch, vectors that stay on disk, warnings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from recsae.config import SAEConfig, TrainConfig
from recsae.errors import RecsaeError
from recsae.progress import Reporter
from recsae.sae import vectors
from recsae.sae.model import SAE
from recsae.stages import sae_train, stored
from recsae.stages.advice import warnings_about
from recsae.stages.encode import encode
from recsae.stages.sae_train import train_sae
from recsae.stages.train import train
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


def test_dead_latents_are_those_that_fire_on_no_case(own: Finished) -> None:
    """One definition: the metric of the training is the share that encoding finds without cases."""
    run_id, notes = trained(own, CONFIG.with_options(scale=16, aux_weight=0.0))
    encode(own.root, run_id, force=False, reporter=Reporter())
    with Warehouse.open(own.root, read_only=True) as warehouse:
        fired = warehouse.sql(
            "select count(distinct latent_id) from raw.activations where run_id = $r", {"r": run_id}
        ).item()
        n_latents = warehouse.run(run_id).params["n_latents"]
    frame = metrics(own.root, run_id)
    dead = value(frame, "all", 0, "dead")
    assert 0 < dead == pytest.approx(1 - fired / n_latents)
    assert set(frame.filter(epoch=0, metric="dead")["split"]) == {"all"}
    assert f"dead {dead:.1%}" in notes[-1]


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


@pytest.fixture
def table(own: Finished) -> Finished:
    """The same with a recommender that has one vector per user."""
    options = TrainConfig(emb_size=8, batch_size=64, lr=1e-2, epochs=20)
    run_id = train(own.root, own.data, "BPRMF", "planted", options, force=False, reporter=Notes())
    return own._replace(recommender=run_id)


TABLE = SAEConfig(k=4, scale=2, batch_size=64, epochs=20)


def test_parts_of_histories_train_a_table_model(table: Finished) -> None:
    """They bring the held-out users nearer, and do not count as training vectors."""
    (plain, _), (folded, notes) = (trained(table, TABLE.with_options(fold_in=n)) for n in (0, None))
    one, other = (metrics(table.root, run_id) for run_id in (plain, folded))
    assert value(one, "train", 0, "folded vectors") == 0
    count = value(other, "train", 0, "folded vectors")
    with Warehouse.open(table.root, read_only=True) as warehouse:
        assert warehouse.run(folded).params["fold_in"] == 24
        users = warehouse.sql("from staging.user_sides").filter(run_id=folded)
    n_train = len(users) - users["is_heldout"].sum()
    assert 20 * n_train < count <= 24 * n_train
    assert f"{int(count):,} vectors of parts of histories" in notes[0]
    assert f"own {n_train:,} (" in notes[0]
    fvu = [value(frame, "heldout", 0, "FVU") for frame in (one, other)]
    assert fvu[1] < 0.9 * fvu[0]
    given, _ = trained(table, TABLE.with_options(fold_in=24))
    assert given == folded, "the same, given or chosen"


def test_vectors_that_no_history_explains_are_left_alone(table: Finished) -> None:
    path = table.root / "runs" / table.recommender / "vectors.npy"
    noise = np.random.default_rng(0).normal(size=np.load(path).shape).astype(np.float32)
    np.save(path, noise)
    run_id, notes = trained(table, TABLE)
    assert notes[0].startswith("histories explain ")
    assert "too little to fold" in notes[0]
    assert value(metrics(table.root, run_id), "train", 0, "folded vectors") == 0


def test_only_one_vector_per_user_can_be_folded_in(
    own: Finished, table: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecsaeError, match="--fold-in is 2, but run 'sasrec") as error:
        train_sae(
            own.root, own.recommender, TABLE.with_options(fold_in=2), force=False, reporter=Notes()
        )
    assert "several vectors of a user" in str(error.value)
    monkeypatch.setattr(stored, "IN_MEMORY", 0)
    with pytest.raises(RecsaeError, match="has too many vectors"):
        trained(table, TABLE.with_options(fold_in=2))
    with pytest.raises(RecsaeError, match="--fold-in is -1"):
        SAEConfig(fold_in=-1)


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
    ("n", "size"),
    [(10**6, 512), (16384, 512), (16383, 256), (4096, 128), (2047, 32), (750, 32), (3, 32)],
)
def test_batch_size_for_vectors(n: int, size: int) -> None:
    """A power of two that leaves 32 steps to an epoch."""
    assert SAEConfig().vectors_per_step(n) == size
    assert SAEConfig(batch_size=500).vectors_per_step(n) == 500


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
    lines = warned(train, heldout)
    assert len(lines) == (said is not None)
    assert said is None or (said in lines[0] and lines[0].startswith("warning"))


PLAIN = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
SETTINGS = SAEConfig(k=8, scale=4, lr=4e-3)


def warned(
    train: float, heldout: float, config: SAEConfig | None = SETTINGS, vectors: Tensor = PLAIN
) -> list[str]:
    users = torch.arange(1, len(vectors) + 1)
    return list(warnings_about(train, heldout, vectors, users, config, 160))


def test_only_what_can_help_is_advised() -> None:
    assert warned(0.1, 0.5)[0].endswith("memorise vectors; lower --scale (it is 4)")
    least = warned(0.1, 0.5, SAEConfig(k=8, scale=2, lr=4e-3))[0]  # 8 have to fit into 2 * 4
    assert "--scale" not in least
    assert least.endswith("so only vectors of more users or positions help")
    for config in (None, SETTINGS):
        assert all("--lr" not in line for line in warned(1.5, 1.5, config))
    assert "raise --epochs" in warned(1.5, 1.5, SAEConfig(k=8, scale=4, lr=4e-3, epochs=1))[0]
    other = warned(1.5, 1.5, SAEConfig(k=8, scale=4, lr=0.5))[0]
    assert other.endswith("change --lr (it is 0.5; 0.004 is usual for k = 8)")
    assert all("--" not in line for line in warned(1.5, 9.0, None))


def test_a_few_overlong_vectors_are_the_reason() -> None:
    vectors = PLAIN.clone()
    vectors[17] *= 1e6
    (line,) = warned(0.1, 2027.0, vectors=vectors)
    assert "1 of 200 vectors hold 100.0% of the variance: case 17 of user_id 18 (" in line
    assert "--scale" not in line
    (line,) = warned(0.02, float("nan"), vectors=vectors)
    assert line.startswith("warning: FVU 0.02, - on held-out users: 1 of 200 vectors hold")


def test_k_that_does_not_fit_is_refused_before_anything_is_stored(own: Finished) -> None:
    with pytest.raises(RecsaeError, match="--k is 999"):
        trained(own, SAEConfig(k=999, scale=2))

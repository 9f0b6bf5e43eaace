"""``import``: a state dict of the reference -> the runs that training would have made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch

from recsae.config import SAEConfig, TrainConfig, digest, option
from recsae.datasets import Dataset, read_dataset
from recsae.errors import UsageError
from recsae.progress import Reporter
from recsae.recommenders import rechorus
from recsae.recommenders.base import Recommender, Sequences
from recsae.recommenders.cases import list_cases
from recsae.recommenders.fixed import Reduced
from recsae.recommenders.presets import create, model_name
from recsae.recommenders.trainer import case_vectors
from recsae.sae.model import SAE
from recsae.stages.common import METRICS, open_stage
from recsae.stages.sae_train import draw_user_sides, name_sae_run, publish_sae
from recsae.stages.stored import load_stored
from recsae.stages.train import (
    NewRun,
    load_reference,
    name_run,
    publish_recommender,
    sequences_of,
)
from recsae.vectors.agreement import Agreed, Agreement
from recsae.warehouse import Warehouse
from recsae.warehouse.checksums import sha256

SAE_KEYS = {
    "W_dec": f"{rechorus.SAE_PREFIX}W_dec",
    "b_dec": f"{rechorus.SAE_PREFIX}b_dec",
    "W_enc": f"{rechorus.SAE_PREFIX}encoder.weight",
    "b_enc": f"{rechorus.SAE_PREFIX}encoder.bias",
}
"""Weight of our autoencoder -> the reference's name of it."""

USED = {
    "BPRMF": ("emb_size",),
    "SASRec": ("emb_size", "num_layers", "num_heads", "history_max", "position_from"),
}
"""Settings that a model has after its training."""


@dataclass(frozen=True)
class ImportConfig:
    """What a state dict does not tell about itself."""

    num_layers: int | None = None
    """Transformer blocks (SASRec); default 1."""
    num_heads: int | None = None
    """Attention heads (SASRec); default 1."""
    history_max: int | None = None
    """Items of the history that the model sees (SASRec); default 20."""
    k: int | None = None
    """Latents kept per case, where the file holds an autoencoder; default 8."""
    scale: int | None = None
    """Dictionary size / width of the vectors; default as in the file."""
    seed: int = 0
    """Seed of the user and item sides."""


@dataclass(frozen=True)
class Source:
    """A state dict that was read, and where it came from."""

    path: Path
    digest: str
    state: rechorus.State


def import_rechorus(
    root: Path,
    data: Path,
    file: Path,
    model: str,
    dataset: str,
    config: ImportConfig,
    *,
    force: bool,
    reporter: Reporter,
) -> list[str]:
    """Make a finished recommender run of a state dict, and an SAE run where it holds one.

    Returns the ids of the runs. Raises DataError for a file that is not a state dict or does not
    fit model and data set, before anything is stored.
    """
    name = model_name(model)
    rechorus.require_known(name)
    _refuse_unused(name, config)
    content = read_dataset(dataset, data)
    source = Source(file, sha256(file), rechorus.read_state(file))
    sae = _autoencoder(source, config)
    has_sae = sae is not None
    run_id = _import_recommender(root, source, name, content, config, has_sae, force, reporter)
    if sae is None:
        return [run_id]
    return [run_id, _import_sae(root, source, sae, run_id, config.seed, force, reporter)]


def _refuse_unused(name: str, config: ImportConfig) -> None:
    for field in ("num_layers", "num_heads", "history_max"):
        if getattr(config, field) is not None and field not in USED[name]:
            raise UsageError(f"{option(field)} is not an option of {name}", "leave it out")


def _import_recommender(
    root: Path,
    source: Source,
    name: str,
    content: Dataset,
    config: ImportConfig,
    reads_all: bool,
    force: bool,
    reporter: Reporter,
) -> str:
    settings = TrainConfig(position_from="recent").with_options(
        emb_size=rechorus.width(source.state),
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        history_max=config.history_max,
    )
    sequences = sequences_of(content)
    recommender = create(name, settings, sequences)
    load_reference(recommender, source.state, source.path, content)
    # an autoencoder that comes with the model was trained on its vectors as they are
    agreed = None if reads_all else _agreed(recommender, sequences)
    used = {key: getattr(settings, key) for key in USED[name]}
    params = {**used, "imported": source.path.name, "sha256": source.digest}
    made = [] if agreed is None else ["without directions in which all items agree"]
    identity = digest("import", name, used, content.name, content.fingerprint, source.digest, *made)
    if agreed is not None:
        recommender, params["removed"] = Reduced(recommender, agreed.take_out), agreed.as_json()
    run_id, _ = name_run(root, content, name.lower(), identity)
    run = NewRun(run_id, name, content.name, params, content, seed=0)
    with run.open(root, identity, force=force, reporter=reporter) as stage:
        if stage is not None:
            if agreed is not None:
                reporter.note(agreed.told(source.path.name))
            none = pl.DataFrame(schema=METRICS)
            publish_recommender(stage, recommender, sequences, none, "imported", reporter)
    return run_id


def _agreed(recommender: Recommender, sequences: Sequences) -> Agreed | None:
    """Directions in which all items agree and cases do not."""
    agreement = Agreement(recommender.item_vectors().detach().numpy())
    if not agreement:
        return None
    users, positions, _ = list_cases(sequences, recommender.is_sequential)
    return agreement.among(case_vectors(recommender, sequences, users, positions).numpy())


def _autoencoder(source: Source, config: ImportConfig) -> SAE | None:
    """The autoencoder of a state dict; None where there is none. It does not scale its input."""
    own = {k: v for k, v in source.state.items() if k.startswith(rechorus.SAE_PREFIX)}
    if not own:
        for name, value in (("--k", config.k), ("--scale", config.scale)):
            if value is not None:
                raise UsageError(
                    f"{name} is {value}, but {source.path} holds no autoencoder",
                    f"leave {name} out",
                )
        return None
    settings = SAEConfig().with_options(k=config.k, scale=config.scale)
    d = rechorus.width(source.state) or 0
    decoder = own.get(SAE_KEYS["W_dec"], torch.empty(0))
    n_rows = len(decoder) if decoder.ndim else 0
    scale = config.scale or max(n_rows // max(d, 1), 1)
    h = scale * d
    shapes = {"W_dec": (h, d), "b_dec": (d,), "W_enc": (h, d), "b_enc": (h,)}
    expected = {SAE_KEYS[name]: shape for name, shape in shapes.items()}
    what = f"an autoencoder of scale {scale}"
    rechorus.check_shapes(own, expected, what, source.path)
    sae = SAE(d, h, settings.k)
    sae.load_state_dict({**sae.state_dict(), **{k: own[key] for k, key in SAE_KEYS.items()}})
    return sae


def _import_sae(
    root: Path,
    source: Source,
    sae: SAE,
    parent_id: str,
    seed: int,
    force: bool,
    reporter: Reporter,
) -> str:
    settings = SAEConfig(k=sae.k, scale=sae.h // sae.d, seed=seed)
    used: dict[str, Any] = {
        "k": sae.k,
        "scale": settings.scale,
        "construct_share": settings.construct_share,
        "heldout_share": settings.heldout_share,
        "seed": seed,
    }
    with Warehouse.open(root) as warehouse:
        parent = warehouse.run(parent_id)
        state = warehouse.require_stage(parent_id, "train", "import it again with --force")
        identity = digest("import", used, parent_id, state.input_hash, source.digest)
        run_id = name_sae_run(warehouse, parent, sae.k, identity)
    params = {**used, "imported": source.path.name, "sha256": source.digest}

    def register(warehouse: Warehouse) -> None:
        warehouse.start_run(
            run_id,
            kind="sae",
            parent_run_id=parent_id,
            dataset=parent.dataset,
            model="TopK",
            params={**params, "d": sae.d, "n_latents": sae.h},
            data_fingerprint=parent.data_fingerprint,
            seed=seed,
            replace=True,
        )

    with open_stage(
        root, run_id, "train", params, identity, force=force, reporter=reporter, register=register
    ) as stage:
        if stage is not None:
            reporter.note(
                f"warning: {source.path.name} was trained elsewhere, perhaps on all users; "
                "its held-out figures are then not held out"
            )
            sides = draw_user_sides(root, run_id, settings)
            publish_sae(stage, load_stored(root, parent), sae, sides, [], reporter)
    return run_id

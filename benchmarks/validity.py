"""Can the confidence be believed? Measured where the truth is known, and against its own doubles.

    python benchmarks/validity.py agreement power
    python benchmarks/validity.py stability trajectory trap protocol --warehouse warehouse --run RUN

agreement   rank correlation of confidence with what is planted, by three measures of the latter
power       what passes as tags fade, and false positives when no tag means anything
stability   the same latents with other draws of users, items and cases; other seeds of the SAE
trajectory  the headline measures from the untrained autoencoder to the trained one
trap        tags permuted over items: scored on the items that made the concept, and on others
protocol    what the paper's ten cases pass that hundreds of cases do not

RUN is an SAE run that has been encoded; --run may be repeated. The warehouse is copied first and
never written to.
docs/validity.md has what came out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsae import stages
from recsae.config import ConceptsConfig, ConfidenceConfig, SAEConfig, TrainConfig
from recsae.datasets import prepare, read_truth
from recsae.interpret.concepts import build_concepts, parameters
from recsae.interpret.confidence import build_confidence
from recsae.progress import Reporter
from recsae.recommenders.presets import preset
from recsae.warehouse import Run, Warehouse, load
from recsae.warehouse.workspace import Workspace

SEEDS = (0, 1, 2)
LARGE = {"users": 3200, "items": 800}
"""A planted data set of four times the cases."""
FADES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Shares of the items whose tags are swapped among each other."""
EPOCHS = (1, 3, 10, 30)
STEADY = 100
"""Held-out active cases from which a latent's confidence should not depend on the draw."""
JUDGED = pl.col("status").is_in(["interpretable", "not shown"])

Rows = list[dict[str, Any]]
Matrix = NDArray[np.float64]
Alter = Callable[[Workspace], None]


@dataclass(frozen=True)
class Place:
    """A warehouse with an SAE run in it."""

    root: Path
    run_id: str

    @property
    def run(self) -> Run:
        with Warehouse.open(self.root, read_only=True) as warehouse:
            return warehouse.run(self.run_id)


def scored(
    place: Place,
    rounds: int,
    *,
    seed: int | None = None,
    alter: Alter | None = None,
    look: Callable[[Workspace], pl.DataFrame] | None = None,
) -> pl.DataFrame:
    """confidence.scores with labels, computed in memory; or what ``look`` sees in the end.

    ``seed`` draws the sides of users and items and the cases anew; ``alter`` changes the inputs.
    """
    run = place.run
    config = ConfidenceConfig(permutations=rounds)
    params = parameters(run.run_id, run.seed if seed is None else seed, ConceptsConfig())
    params |= config.to_json()
    with Workspace.open(place.root, run, ["staging.user_sides"]) as workspace:
        if seed is not None:
            shares = {k: run.params[k] for k in ("construct_share", "heldout_share")}
            workspace.build("staging.user_sides", {**params, **shares})
        if alter:
            alter(workspace)
        for _ in build_concepts(workspace, params):
            pass
        for _ in build_confidence(workspace, params, config):
            pass
        if look:
            return look(workspace)
        return workspace.sql(
            "select s.*, l.leading_tag from confidence.scores as s "
            "left join concepts.labels as l using (latent_id) order by latent_id"
        )


def swapped(share: float, seed: int) -> Alter:
    """Swap the tags of a share of the items among each other, whole sets at a time."""

    def alter(workspace: Workspace) -> None:
        items = workspace.sql("select item_id from raw.items order by item_id")["item_id"]
        chosen = items.sample(fraction=share, shuffle=True, seed=seed)
        new = pl.DataFrame({"item_id": chosen, "to_id": chosen.sort()})
        tags = workspace.frame("raw.item_tags")
        moved = tags.join(new, on="item_id", how="left").with_columns(
            item_id=pl.coalesce("to_id", "item_id")
        )
        workspace.execute("delete from raw.item_tags")
        workspace.insert("raw.item_tags", moved.select(tags.columns))

    return alter


# -- where the truth is known -----------------------------------------------------------------


def agreement(work: Path) -> Iterator[tuple[str, Rows]]:
    """Confidence against three measures of what is planted; and against itself, drawn anew."""
    for name, seed, options in (*((str(s), s, {}) for s in SEEDS), ("0, large", 0, LARGE)):
        rows: Rows = []
        place, truth = planted(work, seed, **options)
        judged, again = {}, {}
        for model, one in with_controls(place).items():
            look = partial(with_truth, truth=truth)
            known = pl.col("purity").is_not_null()
            judged[model] = scored(one, 5, look=look).filter(JUDGED & known)
            other = scored(one, 1, seed=seed + 1000).filter(pl.col("confidence").is_not_null())
            again[model] = other.select("latent_id", again="confidence")
        for models in (("trained",), tuple(judged)):
            pairs = [judged[m].join(again[m], on="latent_id", how="left") for m in models]
            for least in (20, STEADY):
                some = pl.concat(pairs).filter(pl.col("n_active") >= least)
                rows.append(
                    {
                        "seed": name,
                        "of": " + ".join(models),
                        "active cases": f"{least} or more",
                        "latents": some.height,
                        "sd": some["confidence"].std(),
                        **{to: correlation(some, to) for to in (*TRUTHS, "again")},
                        "planted found": found(judged["trained"], truth),
                    }
                )
        yield "Rank correlation of confidence with what is planted", rows


TRUTHS = ("purity", "any", "oracle")


def power(work: Path) -> Iterator[tuple[str, Rows]]:
    """What passes as interpretable when the tags of ever more items are swapped."""
    rows: Rows = []
    for seed in SEEDS:
        place, _ = planted(work, seed)
        for share in FADES:
            judged = scored(place, 20, alter=swapped(share, seed)).filter(JUDGED)
            good = judged.filter(status="interpretable")
            rows.append(
                {
                    "seed": seed,
                    "swapped": share,
                    "judged": judged.height,
                    "interpretable": good.height,
                    "share": good.height / max(judged.height, 1),
                    "mean confidence": judged["confidence"].mean(),
                    "null": judged["null_mean"].mean(),
                }
            )
    yield "Power, and false positives when all tags are swapped", rows


def planted(work: Path, seed: int, **options: Any) -> tuple[Place, pl.DataFrame]:
    """A planted data set with a trained autoencoder, and its truth; made once."""
    name = "-".join(map(str, ("planted", seed, *options.values())))
    data = work / name
    prepare("planted", data, seed=seed, **options)
    truth = read_truth("planted", data)
    return trained(work / f"warehouse-{name}", data, "planted", seed), truth


def trained(root: Path, data: Path, dataset: str, seed: int) -> Place:
    """The pipeline up to the activations, with the presets."""
    config: TrainConfig = preset("SASRec", dataset, seed=seed, emb_size=32)
    quiet = Reporter()
    run = stages.train(root, data, "SASRec", dataset, config, force=False, reporter=quiet)
    sae = SAEConfig(k=4, scale=4, lr=4e-3, revival="auxk", seed=seed)
    run_id = stages.train_sae(root, run, sae, force=False, reporter=quiet)
    stages.encode(root, run_id, force=False, reporter=quiet)
    return Place(root, run_id)


def with_controls(place: Place) -> dict[str, Place]:
    """A run and its controls: latents of all degrees of purity, not only those of good training."""
    root, quiet = place.root, Reporter()
    stages.concepts(root, place.run_id, ConceptsConfig(), force=False, reporter=quiet)
    trial = ConfidenceConfig(permutations=1)
    stages.confidence(root, place.run_id, trial, force=False, reporter=quiet)
    ids = stages.controls(root, place.run_id, force=False, reporter=quiet)
    runs = zip(("trained", "untrained", "neurons"), (place.run_id, *ids), strict=True)
    return {name: replace(place, run_id=run_id) for name, run_id in runs}


def with_truth(workspace: Workspace, truth: pl.DataFrame) -> pl.DataFrame:
    """Scores, and how pure each latent is by what is planted; no measure knows a tag.

    A case holds shares of the planted concepts. ``purity`` is the largest difference over the
    concepts between the mean share in active and in inactive held-out cases; ``any`` the largest
    over all sets of concepts, which is the sum of the positive differences. ``oracle`` is the
    balanced accuracy of the set that is best on construction cases, at the threshold best there.
    """
    shares = (
        workspace.sql("select case_id, item_id, weight from staging.case_items")
        .join(truth, on="item_id")
        .group_by("case_id", "concept")
        .agg(share=pl.col("weight").sum() / 1e6)
    )
    concepts = truth["concept"].unique().sort().to_list()
    wide = shares.pivot("concept", index="case_id", values="share").fill_null(0)
    wide = wide.select("case_id", *concepts)
    rows = []
    sides = {side: sides_of(workspace, side, wide) for side in ("construct", "verify")}
    for latent_id, (active, inactive) in sides["verify"].items():
        gain = active.mean(0) - inactive.mean(0)
        rows.append(
            {
                "latent_id": latent_id,
                "purity": float(gain.max()),
                "any": float(gain.clip(0).sum()),
                "oracle": oracle(sides["construct"].get(latent_id), (active, inactive)),
            }
        )
    known = {"latent_id": pl.Int32, **dict.fromkeys(TRUTHS, pl.Float64)}
    scores = workspace.sql(
        "select s.*, l.leading_tag from confidence.scores as s "
        "left join concepts.labels as l using (latent_id)"
    )
    return scores.join(pl.DataFrame(rows, schema=known), on="latent_id", how="left")


Cases = tuple[Matrix, Matrix]
"""Shares of the planted concepts (cases, concepts): active ones, inactive ones."""


def sides_of(workspace: Workspace, side: str, shares: pl.DataFrame) -> dict[int, Cases]:
    """The cases that are scored on one side, by latent."""
    active = workspace.sql(
        "select latent_id, case_id from confidence.trials where side = $side", {"side": side}
    )
    inactive = workspace.sql(
        "select t.latent_id, p.case_id "
        "from (select distinct latent_id from confidence.trials) as t "
        "cross join staging.case_pool as p "
        "anti join confidence.pool_actives as a "
        "on t.latent_id = a.latent_id and p.case_id = a.case_id where p.side = $side",
        {"side": side},
    )
    parts = [
        {
            int(str(key[0])): rows.drop("latent_id", "case_id").to_numpy()
            for key, rows in cases.join(shares, on="case_id").group_by("latent_id")
        }
        for cases in (active, inactive)
    ]
    return {one: (parts[0][one], parts[1][one]) for one in parts[0].keys() & parts[1].keys()}


def oracle(construct: Cases | None, verify: Cases) -> float | None:
    """Balanced accuracy on verifying cases of the concepts that gain on construction cases."""
    if construct is None:
        return None
    chosen = construct[0].mean(0) > construct[1].mean(0)
    positive, negative = (np.sort(cases[:, chosen].sum(1)) for cases in construct)
    cuts = np.unique(np.concatenate([positive, negative]))
    recall = 1 - np.searchsorted(positive, cuts) / len(positive)
    specificity = np.searchsorted(negative, cuts) / len(negative)
    cut = cuts[np.argmax(recall + specificity)]
    active, inactive = (cases[:, chosen].sum(1) for cases in verify)
    return float(((active >= cut).mean() + (inactive < cut).mean()) / 2)


def found(judged: pl.DataFrame, truth: pl.DataFrame) -> float:
    """Share of the planted concepts that lead an interpretable latent."""
    concepts = set(truth["concept"])
    return len(concepts & set(judged.filter(status="interpretable")["leading_tag"])) / len(concepts)


def correlation(rows: pl.DataFrame, to: str) -> float:
    both = rows.drop_nulls(["confidence", to])
    return float(both.select(pl.corr("confidence", to, method="spearman")).item())


# -- against its own doubles ------------------------------------------------------------------


def stability(place: Place) -> Iterator[tuple[str, Rows]]:
    """Other draws of users, items and cases; then other autoencoders of the same recommender."""
    draws = [
        scored(place, 1, seed=seed).select("latent_id", "n_active", "confidence")
        for seed in range(5)
    ]
    every = (
        pl.concat(draws)
        .group_by("latent_id")
        .agg(draws=pl.col("confidence").count(), least=pl.min("n_active"), sd=pl.std("confidence"))
    )
    rows: Rows = []
    for low, high in ((20, 50), (50, STEADY), (STEADY, 200), (200, 500), (500, 10**9)):
        some = every.filter(
            pl.col("draws") == len(draws), pl.col("least").is_between(low, high - 1)
        )
        if some.height:
            rows.append(
                {
                    "active cases": f"{low}-{high - 1}" if high < 10**9 else f"{low} or more",
                    "latents": some.height,
                    "mean sd": some["sd"].mean(),
                    "largest tenth from": some["sd"].quantile(0.9),
                    "sd at most .03": (some["sd"] <= 0.03).mean(),
                }
            )
    yield "Standard deviation of a latent's confidence over five draws", rows
    sets = []
    parent, params = str(place.run.parent_run_id), place.run.params
    for seed in SEEDS:
        config = SAEConfig.from_json(params).with_options(seed=seed)
        other = replace(place, run_id=trained_sae(place.root, parent, config))
        good = scored(other, 20).filter(status="interpretable")
        sets.append(set(good["leading_tag"]))
    yield (
        "Leading tags found by autoencoders of other seeds",
        [
            {
                "seeds": f"{one}, {two}",
                "tags": f"{len(sets[one])}, {len(sets[two])}",
                "shared": len(sets[one] & sets[two]),
                "Jaccard": len(sets[one] & sets[two]) / max(len(sets[one] | sets[two]), 1),
            }
            for one, two in combinations(SEEDS, 2)
        ],
    )


def trained_sae(root: Path, parent: str, config: SAEConfig) -> str:
    quiet = Reporter()
    run_id = stages.train_sae(root, parent, config, force=False, reporter=quiet)
    return stages.encode(root, run_id, force=False, reporter=quiet)


def trajectory(place: Place) -> Iterator[tuple[str, Rows]]:
    """Runs of ever more epochs, each with its whole schedule, after the untrained one."""
    root, parent = place.root, str(place.run.parent_run_id)
    quiet = Reporter()
    rows: Rows = []
    stages.concepts(root, place.run_id, ConceptsConfig(), force=False, reporter=quiet)
    stages.confidence(root, place.run_id, ConfidenceConfig(), force=False, reporter=quiet)
    untrained, _ = stages.controls(root, place.run_id, force=False, reporter=quiet)
    config = SAEConfig.from_json(place.run.params)
    runs = {0: untrained} | {
        n: trained_sae(root, parent, config.with_options(epochs=n)) for n in EPOCHS
    }
    for epochs, run_id in runs.items():
        stages.concepts(root, run_id, ConceptsConfig(), force=False, reporter=quiet)
        stages.confidence(root, run_id, ConfidenceConfig(), force=False, reporter=quiet)
        with Warehouse.open(root, read_only=True) as warehouse:
            card = warehouse.query("report.overview", {"run_id": run_id}).row(0, named=True)
        names = ("fvu_heldout", "ndcg_10_kept", "ndcg_10_kept_alone", "n_interpretable")
        more = ("n_concepts", "user_coverage", "mean_confidence", "mean_confidence_null")
        rows.append({"epochs": epochs, **{name: card[name] for name in (*names, *more)}})
    yield "From untrained to trained", rows


def trap(place: Place) -> Iterator[tuple[str, Rows]]:
    """The same concepts and cases, scored on the other item half and on the same one."""
    rows: Rows = []
    for name, text in (("other items", None), ("the same items", "item_side")):
        for tags, share in (("true", 0.0), ("swapped", 1.0)):
            with scoring(text):
                scores = scored(place, 1, alter=swapped(share, 0)).filter(JUDGED)
            confidence = scores["confidence"]
            rows.append(
                {
                    "scored on": name,
                    "tags": tags,
                    "judged": scores.height,
                    "mean balanced accuracy": confidence.mean(),
                    "at .75 or more": (confidence >= 0.75).sum(),
                }
            )
    yield "The trap: verification on the items that made the concept", rows


SWAP = "if(concept_tags.item_side = 'A', 'B', 'A') as scored_side"


@contextmanager
def scoring(side: str | None) -> Iterator[None]:
    """Score items by tags fitted on this side of them; None leaves the query as it is."""
    query = load("concepts.item_scores")
    text = query.text
    if SWAP not in text:
        raise SystemExit("concepts.item_scores does not swap the halves as it did")
    if side:
        object.__setattr__(query, "text", text.replace(SWAP, f"concept_tags.{side} as scored_side"))
    try:
        yield
    finally:
        object.__setattr__(query, "text", text)


def protocol(place: Place) -> Iterator[tuple[str, Rows]]:
    """How many latents the ten cases pass, and what hundreds of cases say of these."""
    judged = scored(place, 20).filter(JUDGED & pl.col("reference_confidence").is_not_null())
    rows: Rows = []
    for least in (0.8, 0.9, 1.0):
        passed = judged.filter(pl.col("reference_confidence") >= least)
        rows.append(
            {
                "ten cases at least": least,
                "pass": passed.height,
                "of": judged.height,
                "whose confidence is below .7": (passed["confidence"] < 0.7).mean(),
                "interpretable": passed.filter(status="interpretable").height,
                "mean confidence": passed["confidence"].mean(),
            }
        )
    yield "The paper's ten cases against all", rows
    yield (
        "Rank correlation of both scores",
        [
            {
                "latents": judged.height,
                "Spearman": judged.select(
                    pl.corr("confidence", "reference_confidence", method="spearman")
                ).item(),
            }
        ],
    )


PLANTED: Mapping[str, Callable[[Path], Iterator[tuple[str, Rows]]]] = {
    "agreement": agreement,
    "power": power,
}
PARTS: Mapping[str, Callable[[Place], Iterator[tuple[str, Rows]]]] = {
    "stability": stability,
    "trajectory": trajectory,
    "trap": trap,
    "protocol": protocol,
}


def markdown(rows: Rows) -> str:
    """A table as the documents have it."""
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = (f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="+", metavar="PART", help=", ".join((*PLANTED, *PARTS)))
    parser.add_argument("--warehouse", type=Path, default=Path("warehouse"))
    parser.add_argument("--run", action="append", default=[], help="SAE run; may be repeated")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.parts) - {*PLANTED, *PARTS}:
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for part in PLANTED:
            if part in given.parts:
                show("planted", PLANTED[part](work), given.json)
        parts = [part for part in PARTS if part in given.parts]
        if not parts:
            return
        root = work / "warehouse"
        shutil.copytree(given.warehouse, root)
        with Warehouse.open(root) as warehouse:
            ids = [warehouse.find_run(ref, "sae").run_id for ref in given.run or ["latest"]]
        for run_id in ids:
            for part in parts:
                show(run_id, PARTS[part](Place(root, run_id)), given.json)


def show(of: str, tables: Iterator[tuple[str, Rows]], as_json: bool) -> None:
    """Print each table when it is done: the whole takes minutes."""
    for title, rows in tables:
        if as_json:
            print(json.dumps({"of": of, "title": title, "rows": rows}), flush=True)
        else:
            print(f"\n{title} ({of})\n\n{markdown(rows)}", flush=True)


if __name__ == "__main__":
    main()

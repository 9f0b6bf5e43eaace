"""Other ways to make concepts out of the tags, scored alike on the activations of one run.

    python benchmarks/concepts.py --warehouse warehouse --run RUN
    python benchmarks/concepts.py --warehouse warehouse --run RUN --only "as shipped" "no words"

A way is a change of the item tags, or of the settings, before the concepts are built; items, users
and cases are halved as shipped, and the tags that are permuted are the changed ones. The warehouse
is read and never written to. docs/validity.md has what came out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from validity import markdown

from recsae.config import ConceptsConfig, ConfidenceConfig
from recsae.interpret.concepts import CASES, DRAWN, ITEMS, NAMES, TAGS, parameters
from recsae.interpret.confidence import ROUND
from recsae.warehouse import Warehouse
from recsae.warehouse.workspace import Workspace

Change = Callable[[pl.DataFrame], pl.DataFrame]
"""From and to rows of raw.item_tags: dataset, item_id, kind, tag."""

ENGLISH = frozenset(
    word
    for line in (
        "all am any been before being best big can come could day days did do does ever every",
        "first get go goes going good gone got great had has have here home how just last let",
        "life like little long lost made make man many may me men more most mr mrs much must",
        "never new night now old one only own part same she should some such than them then",
        "there these they thing things those three time too two under until very way we well",
        "were which while will without world would ii iii iv",
    )
    for word in line.split()
)
"""Words that any film may have in its title, beyond those that are never tags."""

KEY = ("dataset", "item_id")


@dataclass(frozen=True)
class Variant:
    """A way to make concepts."""

    change: Change | None = None
    merged: bool = True
    """Whether spellings and plurals of one tag are one."""
    config: Mapping[str, int] = field(default_factory=dict)


def counts(tags: pl.DataFrame) -> pl.DataFrame:
    return tags.group_by("tag").agg(n=pl.len())


def without(kind: str) -> Change:
    return lambda tags: tags.filter(pl.col("kind") != kind)


def stopped(least: int) -> Change:
    """Words of titles without more stop words, on ``least`` items or more."""

    def change(tags: pl.DataFrame) -> pl.DataFrame:
        word = pl.col("kind") == "title_word"
        stop = pl.col("tag").str.strip_prefix("word:").is_in(list(ENGLISH))
        return (
            tags.join(counts(tags), on="tag")
            .filter(~word | (~stop & (pl.col("n") >= least)))
            .drop("n")
        )

    return change


def rare_only(most: float) -> Change:
    """Without tags on more than this share of the items."""

    def change(tags: pl.DataFrame) -> pl.DataFrame:
        n_items = tags["item_id"].n_unique()
        return tags.join(counts(tags), on="tag").filter(pl.col("n") <= most * n_items).drop("n")

    return change


def common(least: int) -> Change:
    """Without tags on fewer items than this."""
    return lambda tags: tags.join(counts(tags), on="tag").filter(pl.col("n") >= least).drop("n")


def both(least: int, most: float = 0.8) -> Change:
    """Add pairs of tags that hold together on ``least`` items.

    A pair that takes more than the share ``most`` of one of its tags says no more than that tag.
    """

    def change(tags: pl.DataFrame) -> pl.DataFrame:
        n = counts(tags)
        pairs = (
            tags.join(tags, on=KEY, suffix="_2")
            .filter(pl.col("tag") < pl.col("tag_2"))
            .join(n, on="tag")
            .join(n, left_on="tag_2", right_on="tag", suffix="_2")
            .with_columns(together=pl.len().over("tag", "tag_2"))
            .filter(pl.col("together") >= least)
            .filter(pl.col("together") <= most * pl.min_horizontal("n", "n_2"))
            .select(
                *KEY,
                kind=pl.lit("both"),
                tag=pl.format("both:{} & {}", "tag", "tag_2"),
            )
        )
        return pl.concat([tags, pairs.unique().select(tags.columns)])

    return change


def overlapping(least: float) -> Change:
    """Tags whose items are nearly the same (Jaccard) take the name of the more common one."""

    def change(tags: pl.DataFrame) -> pl.DataFrame:
        n = counts(tags)
        pairs = (
            tags.join(tags, on=KEY, suffix="_2")
            .filter(pl.col("tag") != pl.col("tag_2"))
            .group_by("tag", "tag_2")
            .agg(together=pl.len())
            .join(n, on="tag")
            .join(n, left_on="tag_2", right_on="tag", suffix="_2")
            .filter(
                pl.col("together") / (pl.col("n") + pl.col("n_2") - pl.col("together")) >= least
            )
            .filter(
                (pl.col("n_2") > pl.col("n"))
                | ((pl.col("n_2") == pl.col("n")) & (pl.col("tag_2") < pl.col("tag")))
            )
            .sort("n_2", "tag_2", descending=[True, False])
            .unique("tag", keep="first", maintain_order=True)
            .select("tag", "tag_2")
        )
        joined = tags.join(pairs, on="tag", how="left")
        return joined.select(*KEY, "kind", tag=pl.coalesce("tag_2", "tag")).unique()

    return change


def chained(*changes: Change) -> Change:
    def change(tags: pl.DataFrame) -> pl.DataFrame:
        for one in changes:
            tags = one(tags)
        return tags

    return change


VARIANTS: dict[str, Variant] = {
    "as shipped": Variant(),
    "spellings and plurals apart": Variant(merged=False),
    "no years": Variant(without("year")),
    "no decades": Variant(without("decade")),
    "no words": Variant(without("title_word")),
    "more stop words": Variant(stopped(5)),
    "more stop words, on 8 items": Variant(stopped(8)),
    "no years, more stop words": Variant(chained(without("year"), stopped(5))),
    "no tag on over half of the items": Variant(rare_only(0.5)),
    "tags on 10 items at least": Variant(common(10)),
    "pairs on 10 items": Variant(both(10)),
    "pairs on 30 items": Variant(both(30)),
    "alike from Jaccard .8": Variant(overlapping(0.8)),
    "alike from Jaccard .5": Variant(overlapping(0.5)),
    "3 tags": Variant(config={"label_tags": 3}),
    "8 tags": Variant(config={"label_tags": 8}),
    "15 tags": Variant(config={"label_tags": 15}),
}


STEPS = (*ROUND, "confidence.verification")
"""What follows the tags in every round."""


def prepared(workspace: Workspace, params: Mapping[str, object]) -> pl.DataFrame:
    """Build what no tag changes, once for all ways; returns the tags as they are."""
    trials = ("confidence.trials", "confidence.pool_actives", "confidence.trial_counts")
    for relation in (*DRAWN, *CASES, NAMES, *ITEMS, *trials):
        workspace.build(relation, params)
    return workspace.frame("raw.item_tags")


def measured(
    workspace: Workspace, tags: pl.DataFrame, params: Mapping[str, object], variant: Variant
) -> dict[str, Any]:
    """The headline figures of one way."""
    changed = variant.change(tags) if variant.change else tags
    workspace.execute("delete from raw.item_tags")
    workspace.insert("raw.item_tags", changed.select(tags.columns))
    params = {**params, **variant.config}
    params["profile_tags"] = params["tags_used"] = params["label_tags"]
    rounds, n_tags = int(str(params["permutations"])), 0
    for permutation in range(rounds + 1):
        own = {**params, "permutation": permutation}
        if permutation == 0:
            workspace.build(NAMES, own)
            if not variant.merged:
                workspace.execute(f"update {NAMES} set name = tag")
            n_tags = workspace.frame(NAMES)["name"].n_unique()
        for relation in TAGS:
            workspace.build(relation, own)
        if permutation == 0:
            workspace.build("concepts.labels", own)
        for relation in STEPS:
            workspace.build(relation, own, append=permutation > 0 and relation == STEPS[-1])
    workspace.build("confidence.q_values", params)
    judged = workspace.sql(
        "select q.latent_id, v.balanced_accuracy as confidence, l.leading_tag, "
        "v.balanced_accuracy >= $min_confidence and q.q_value <= $max_q as good "
        "from confidence.q_values as q "
        "join confidence.verification as v on q.latent_id = v.latent_id and v.permutation = 0 "
        "left join concepts.labels as l on q.latent_id = l.latent_id",
        {name: params[name] for name in ("min_confidence", "max_q")},
    )
    good = judged.filter("good")
    covered = workspace.sql(
        "select count(distinct c.user_id) as users, count(distinct c.case_id) as cases "
        "from raw.activations as a "
        "join staging.level_edges as e on a.run_id = e.run_id "
        "join staging.cases as c on a.run_id = c.run_id and a.case_id = c.case_id "
        "where list_contains($good, a.latent_id) and c.side = 'verify' "
        "and a.value::double >= e.edges[4]",
        {"good": good["latent_id"].to_list()},
    ).row(0, named=True)
    every = workspace.sql(
        "select count(distinct user_id) as users, count(*) as cases "
        "from staging.cases where side = 'verify'"
    ).row(0, named=True)
    null = (
        workspace.frame("confidence.verification")
        .filter(pl.col("permutation") > 0)
        .join(judged, on="latent_id", how="semi")["balanced_accuracy"]
    )
    return {
        "tags": n_tags,
        "judged": judged.height,
        "interpretable": good.height,
        "leading tags": good["leading_tag"].n_unique(),
        "users": covered["users"] / every["users"],
        "cases": covered["cases"] / every["cases"],
        "mean confidence": judged["confidence"].mean(),
        "null": null.mean(),
        "null passes": (null >= params["min_confidence"]).sum() / rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--warehouse", type=Path, default=Path("warehouse"))
    parser.add_argument("--run", default="latest", help="SAE run that has been encoded")
    parser.add_argument("--only", nargs="+", metavar="WAY", help=", ".join(VARIANTS))
    parser.add_argument("--permutations", type=int, default=20)
    given = parser.parse_args()
    names = given.only or list(VARIANTS)
    if unknown := set(names) - set(VARIANTS):
        parser.error(f"no way is called {', '.join(sorted(unknown))}")
    with Warehouse.open(given.warehouse, read_only=True) as warehouse:
        run = warehouse.find_run(given.run, "sae")
    config = ConfidenceConfig(permutations=given.permutations)
    params = parameters(run.run_id, run.seed, ConceptsConfig()) | config.to_json()
    rows = []
    with Workspace.open(given.warehouse, run, ["staging.user_sides"]) as workspace:
        tags = prepared(workspace, params)
        for name in names:
            start = time.process_time()
            row = measured(workspace, tags, params, VARIANTS[name])
            rows.append({"way": name, **row, "cpu s": round(time.process_time() - start)})
            print(markdown(rows[-1:]).splitlines()[-1], flush=True)
    print(f"\n{run.run_id}\n\n{markdown(rows)}")


if __name__ == "__main__":
    main()

"""``recsae data``: prepare data sets, list them, describe them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsae.cli.options import DataOption, ForceOption, JsonOption
from recsae.cli.output import json_text, note, plain, table_text
from recsae.errors import RecsaeError

if TYPE_CHECKING:
    from recsae.datasets import Dataset

app = typer.Typer(no_args_is_help=True, help="Prepare data sets, list them, describe them.")

DATA = Path("data")
TOP_TAGS = 20
"""Most frequent tags that ``describe`` shows."""

FILMS = "For ml-100k"
MADE = "For planted"
COUNTS = ("users", "items", "interactions", "item_tags")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set; see recsae data list.")]


@app.command()
def prepare(
    name: Name,
    data: DataOption = DATA,
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="ml-100k.zip, a folder with its files, or a RecBole wheel. Default: download.",
            rich_help_panel=FILMS,
        ),
    ] = None,
    min_rating: Annotated[
        float | None,
        typer.Option(help="Leave out ratings below this. Default 4.", rich_help_panel=FILMS),
    ] = None,
    core: Annotated[
        int | None, typer.Option(help="Least interactions of a user and an item. Default 5.")
    ] = None,
    users: Annotated[int | None, typer.Option(help="Default 800.", rich_help_panel=MADE)] = None,
    items: Annotated[int | None, typer.Option(help="Default 400.", rich_help_panel=MADE)] = None,
    concepts: Annotated[
        int | None,
        typer.Option(help="Concepts that items are made from. Default 16.", rich_help_panel=MADE),
    ] = None,
    noise_tags: Annotated[
        int | None,
        typer.Option(help="Tags on random items. Default 40.", rich_help_panel=MADE),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Default 0.", rich_help_panel=MADE)
    ] = None,
    stored_as: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="Name to store it under, so that several can stand side by side.",
            rich_help_panel=MADE,
        ),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Prepare a data set: ml-100k (downloaded or from --source) or planted (made here).

    \b
    Example:
      recsae data prepare ml-100k
      recsae data prepare ml-100k --source ml-100k.zip
      recsae data prepare planted --concepts 8 --name easy
    """
    from recsae import datasets

    datasets.prepare(
        name,
        data,
        source=source,
        force=force,
        report=note,
        stored_as=stored_as,
        min_rating=min_rating,
        core=core,
        users=users,
        items=items,
        concepts=concepts,
        noise_tags=noise_tags,
        seed=seed,
    )


@app.command("list")
def list_(data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """List the data sets: those that can be prepared, and those that are.

    \b
    Example:
      recsae data list
    """
    records = listed(data)
    if as_json:
        sys.stdout.write(json_text(records))
        return
    columns = ("data set", "state", *(column.replace("_", " ") for column in COUNTS))
    rows = [
        [row["name"], row["state"], *(number(row[column]) for column in COUNTS)] for row in records
    ]
    numeric = [False, False, *(True for _ in COUNTS)]
    sys.stdout.write(table_text(columns, rows, numeric))


def listed(data: Path) -> list[dict[str, Any]]:
    """One record per data set: name, state (prepared, not prepared, damaged), counts, about."""
    from recsae import datasets
    from recsae.datasets.prepare import RECIPES

    records = []
    names = datasets.prepared(data)
    for name in [*RECIPES, *(name for name in names if name not in RECIPES)]:
        state, info = "not prepared", {}
        if name in names:
            try:
                state, info = "prepared", datasets.read_info(name, data)
            except RecsaeError as error:
                state = "damaged"
                note(error.message)
        known = RECIPES.get(info.get("recipe", name))
        counts = {column: info.get("counts", {}).get(column) for column in COUNTS}
        records.append(
            {"name": name, "state": state, **counts, "about": known.about if known else ""}
        )
    return records


def number(value: int | None) -> str:
    """A count with thousands set apart; nothing for None."""
    return "" if value is None else f"{value:,}"


@app.command()
def describe(name: Name, data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """Describe a prepared data set: counts, splits, sources, what was dropped, tags.

    \b
    Example:
      recsae data describe ml-100k
    """
    from recsae import datasets

    record = description(datasets.read_dataset(name, data))
    if as_json:
        sys.stdout.write(json.dumps(plain(record), indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join(described(record)))


def description(dataset: Dataset) -> dict[str, Any]:
    """``dataset.json`` with sparsity, licence, and tags by kind and by frequency."""
    from recsae.datasets.prepare import RECIPES

    info = dataset.info
    counts = info["counts"]
    known = RECIPES.get(info.get("recipe", ""))
    tags = dataset.item_tags
    kinds = tags.group_by("kind").agg(tags=tags_column().n_unique(), item_tags=tags_column().len())
    top = tags.group_by("tag", "kind").len("items").sort("items", "tag", descending=[True, False])
    return {
        **info,
        "about": known.about if known else "",
        "licence": known.licence if known else "",
        "sparsity": 1 - counts["interactions"] / (counts["users"] * counts["items"]),
        "tag_kinds": kinds.sort("kind").to_dicts(),
        "top_tags": top.head(TOP_TAGS).to_dicts(),
    }


def tags_column() -> Any:
    """The column ``tag``, without polars at the top of this module."""
    import polars as pl

    return pl.col("tag")


def described(record: dict[str, Any]) -> list[str]:
    """The parts of the text form of a description."""
    facts = [
        ["about", record["about"]],
        ["licence", record["licence"]],
        ["options", ", ".join(f"{key} {value}" for key, value in record["options"].items())],
        *(["source", f"{one['file']}, route {one['route']}"] for one in record["sources"]),
        ["fingerprint", record["fingerprint"]],
        ["sparsity", f"{record['sparsity']:.2%}"],
        ["tag rule", record["tag_rule"]],
    ]
    kinds = [
        [row["kind"], number(row["tags"]), number(row["item_tags"])] for row in record["tag_kinds"]
    ]
    tags = [[row["tag"], number(row["items"])] for row in record["top_tags"]]
    sums = [[one["file"], one["sha256"]] for one in record["sources"]]
    return [
        table_text(("data set", record["name"]), facts, (False, False)),
        *([table_text(("file", "sha256"), sums, (False, False))] if sums else []),
        table_text(("count", "rows"), count_rows(record["counts"]), (False, True)),
        table_text(("dropped", "rows"), count_rows(record["dropped"]), (False, True)),
        table_text(("kind of tag", "tags", "item tags"), kinds, (False, True, True)),
        table_text(("frequent tag", "items"), tags, (False, True)),
    ]


def count_rows(counts: dict[str, int]) -> list[list[str]]:
    """Rows of a table of named counts."""
    return [[key.replace("_", " "), number(value)] for key, value in counts.items()]

"""``recsae data``: prepare data sets, list them, describe them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsae.cli.options import DataOption, ForceOption, JsonOption
from recsae.cli.output import json_line, json_text, note
from recsae.cli.table import table_text
from recsae.errors import RecsaeError, UsageError

if TYPE_CHECKING:
    from recsae.datasets import Dataset

app = typer.Typer(no_args_is_help=True, help="Prepare data sets, list them, describe them.")

DATA = Path("data")
TOP_TAGS = 20
"""Most frequent tags that ``describe`` shows."""

SOURCE = "Where the data come from"
KEPT = "What is kept"
TABLE = "Columns of csv and parquet"
MADE = "For planted"
COUNTS = ("users", "items", "interactions", "item_tags")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set; see recsae data list.")]


def column(words: str, option: str | None = None) -> Any:
    """An option that names a column."""
    names = [option] if option else []
    return typer.Option(*names, metavar="COLUMN", help=words, rich_help_panel=TABLE)


@app.command()
def prepare(
    name: Name,
    data: DataOption = DATA,
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="File, folder or zip archive. ml-100k and ml-1m are downloaded without it.",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    items: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|N",
            help="csv, parquet: file that describes the items. planted: how many, default 400.",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    stored_as: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="Name to store it under. amazon, csv and parquet need one; "
            "default for rechorus: the folder's.",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    min_rating: Annotated[
        float | None,
        typer.Option(
            help="Leave out ratings below this. Default 4, for amazon none.", rich_help_panel=KEPT
        ),
    ] = None,
    core: Annotated[
        int | None,
        typer.Option(
            help="Least interactions of a user and an item. Default 5; "
            "none where the split is given. csv, parquet: 0 keeps all.",
            rich_help_panel=KEPT,
        ),
    ] = None,
    split: Annotated[
        str | None,
        column(
            "Column that says train, dev or test. It is checked as it is given; "
            "after --min-rating, dev and test rows without a train row, "
            "and test rows without a dev row, are dropped. "
            "Default: last is test, the one before dev."
        ),
    ] = None,
    user: Annotated[str | None, column("Users. Default user_id.")] = None,
    item: Annotated[str | None, column("Items, in both files. Default item_id.")] = None,
    time: Annotated[
        str | None, column("Times. Default time; none takes the order of the rows.")
    ] = None,
    rating: Annotated[str | None, column("Ratings. Default: every row counts.")] = None,
    title: Annotated[str | None, column("Titles, in the file of items.")] = None,
    tags: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="Columns of tags in the file of items, between commas.",
            rich_help_panel=TABLE,
        ),
    ] = None,
    tag_separator: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Between the tags of a field. Default |.", rich_help_panel=TABLE
        ),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help="csv: comma (default), tab, semicolon, bar or blank.",
            rich_help_panel=TABLE,
        ),
    ] = None,
    quote: Annotated[
        str | None,
        typer.Option(
            metavar="double|lines|none",
            help="csv, rechorus: double (default) looks at the lines where a quote stays open; "
            "lines takes each quoted field whole; none takes quotes as text.",
            rich_help_panel=TABLE,
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="csv, rechorus: such as latin-1 or cp1252. Default utf-8.", rich_help_panel=TABLE
        ),
    ] = None,
    users: Annotated[int | None, typer.Option(help="Default 800.", rich_help_panel=MADE)] = None,
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
    force: ForceOption = False,
) -> None:
    """Prepare a data set: ml-100k, ml-1m, lastfm-2k, planted, or one of your own.

    Your own may be a folder of ReChorus (rechorus), reviews and meta of Amazon (amazon), or
    tables of any origin (csv, parquet).

    \b
    Example:
      recsae data prepare ml-100k
      recsae data prepare lastfm-2k --source hetrec2011-lastfm-2k
      recsae data prepare rechorus --source Grocery --name grocery
      recsae data prepare csv --source plays.csv --items songs.csv --name songs \\
        --user listener --item song --time played --title name --tags genre,mood
      recsae data prepare planted --concepts 8 --name easy
    """
    from recsae import datasets

    counted = name == "planted" and items is not None
    datasets.prepare(
        name,
        data,
        source=source,
        items_file=Path(items) if items is not None and not counted else None,
        force=force,
        report=note,
        stored_as=stored_as,
        min_rating=min_rating,
        core=core,
        split=split,
        user=user,
        item=item,
        time=time,
        rating=rating,
        title=title,
        tags=tags,
        tag_separator=tag_separator,
        separator=separator,
        quote=quote,
        encoding=encoding,
        users=users,
        items=count_of("--items", items) if counted else None,
        concepts=concepts,
        noise_tags=noise_tags,
        seed=seed,
    )


def count_of(option: str, text: str | None) -> int:
    """The number that an option has; UsageError when it is none."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise UsageError(f"{option} is {text}, but it must be a whole number", f"change {option}")
    return int(text)


@app.command("list")
def list_(data: DataOption = DATA, as_json: JsonOption = False) -> None:
    """List the data sets: those that can be prepared, the forms of your own, those prepared.

    \b
    Example:
      recsae data list
    """
    records = listed(data)
    if as_json:
        sys.stdout.write(json_text(records))
        return
    columns = ("data set", "state", *(one.replace("_", " ") for one in COUNTS))
    rows = [[row["name"], row["state"], *(number(row[one]) for one in COUNTS)] for row in records]
    numeric = [False, False, *(True for _ in COUNTS)]
    sys.stdout.write(table_text(columns, rows, numeric))


def listed(data: Path) -> list[dict[str, Any]]:
    """One record per data set: name, counts, about, and its state.

    The state is prepared, not prepared, damaged, or form: that of a source of one's own.
    """
    from recsae import datasets
    from recsae.datasets.prepare import RECIPES

    records = []
    names = datasets.prepared(data)
    for name in [*RECIPES, *(name for name in names if name not in RECIPES)]:
        known = RECIPES.get(name)
        state, info = "form" if known is not None and known.form else "not prepared", {}
        if name in names:
            try:
                state, info = "prepared", datasets.read_info(name, data)
            except RecsaeError as error:
                state = "damaged"
                note(error.message)
        known = RECIPES.get(info.get("recipe", name))
        counts = {one: info.get("counts", {}).get(one) for one in COUNTS}
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
        sys.stdout.write(json_line(record, indent=2) + "\n")
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

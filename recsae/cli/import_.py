"""``recsae import``: models that were trained elsewhere."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsae.cli.options import DataOption, ForceOption, SeedOption, WarehouseOption
from recsae.errors import UsageError

if TYPE_CHECKING:
    from recsae.progress import Reporter

SASREC = "For SASRec"
AUTOENCODER = "For a file with an autoencoder"
INTERACTIONS = "The data set"
COLUMNS = "Columns of --interactions and --item-metadata"
app = typer.Typer(no_args_is_help=True, help="Take over models that were trained elsewhere.")


DatasetOption = Annotated[
    str | None,
    typer.Option(help="A prepared data set; or give --interactions.", rich_help_panel=INTERACTIONS),
]
InteractionsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="csv or Parquet, prepared now; every row is kept.",
        rich_help_panel=INTERACTIONS,
    ),
]
MetadataOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File of the same form that describes the items: titles and tags.",
        rich_help_panel=INTERACTIONS,
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option(help="Name to store --interactions under.", rich_help_panel=INTERACTIONS),
]


def column(words: str, metavar: str = "COLUMN") -> Any:
    """An option about the columns of tables."""
    return typer.Option(metavar=metavar, help=words, rich_help_panel=COLUMNS)


UserColumn = Annotated[str | None, column("Users. Default user_id.")]
ItemColumn = Annotated[str | None, column("Items, in both files. Default item_id.")]
TimeColumn = Annotated[str | None, column("Times. Default time; none takes the order of the rows.")]
TitleColumn = Annotated[str | None, column("Titles, in the file of items.")]
TagColumns = Annotated[
    str | None, column("Columns of tags in the file of items, between commas.", "COLUMNS")
]
TagSeparator = Annotated[str | None, column("Between the tags of a field. Default |.", "TEXT")]
SeparatorOption = Annotated[
    str | None, column("csv: comma (default), tab, semicolon, bar or blank.", "WORD")
]
QuoteOption = Annotated[
    str | None,
    column(
        "csv: double (default) looks at the lines where a quote stays open; lines takes each "
        "quoted field whole; none takes quotes as text.",
        "double|lines|none",
    ),
]
EncodingOption = Annotated[
    str | None, column("csv: such as latin-1 or cp1252. Default utf-8.", "TEXT")
]
SplitColumn = Annotated[
    str | None,
    column("Column that says train, dev or test. Default: last is test, the one before dev."),
]
UserIds = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Ids of the rows of the users: one a line, or .npy."),
]
ItemIds = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Ids of the rows of the items: one a line, or .npy."),
]
ScoreOption = Annotated[
    str, typer.Option(metavar="dot|cosine", help="How a user vector and an item vector score.")
]
ModelNameOption = Annotated[
    str | None, typer.Option(help="What to call the model.", show_default=False)
]


@app.callback()
def root() -> None:
    """Take over models that were trained elsewhere."""


@app.command()
def rechorus(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="State dict that the reference saved.")
    ],
    model: Annotated[str, typer.Option(help="SASRec or BPRMF.", show_default=False)],
    dataset: Annotated[
        str,
        typer.Option(
            help="Data set that it was trained on, prepared from the same folder.",
            show_default=False,
        ),
    ],
    num_layers: Annotated[
        int | None, typer.Option(help="Transformer blocks. Default 1.", rich_help_panel=SASREC)
    ] = None,
    num_heads: Annotated[
        int | None, typer.Option(help="Attention heads. Default 1.", rich_help_panel=SASREC)
    ] = None,
    history_max: Annotated[
        int | None,
        typer.Option(help="Items of the history it sees. Default 20.", rich_help_panel=SASREC),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(help="Latents kept per case. Default 8.", rich_help_panel=AUTOENCODER),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Dictionary size / width of the vectors. Default: as in the file.",
            rich_help_panel=AUTOENCODER,
        ),
    ] = None,
    seed: SeedOption = 0,
    force: ForceOption = False,
    data: DataOption = Path("data"),
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Make finished runs of a state dict of the reference (ReChorus); prints their ids.

    A file of SASRec-SAE makes two: the recommender, and the autoencoder on it. Only weights are
    read; a file that would run code is refused.

    \b
    Example:
      recsae data prepare rechorus --source FOLDER --name rechorus-ml
      recsae import rechorus sasrec.pt --model SASRec --dataset rechorus-ml
    """
    from recsae import stages
    from recsae.progress import reporter

    config = stages.ImportConfig(num_layers, num_heads, history_max, k, scale, seed)
    run_ids = stages.import_rechorus(
        warehouse, data, file, model, dataset, config, force=force, reporter=reporter()
    )
    print("\n".join(run_ids))


@app.command()
def vectors(
    users: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Vectors of users, or of users at positions.", show_default=False
        ),
    ],
    items: Annotated[
        Path, typer.Option(metavar="FILE", help="Vectors of items.", show_default=False)
    ],
    user_ids: UserIds = None,
    item_ids: ItemIds = None,
    score: ScoreOption = "dot",
    item_bias: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="One number per item that is added to its scores."),
    ] = None,
    model_name: ModelNameOption = None,
    dataset: DatasetOption = None,
    interactions: InteractionsOption = None,
    item_metadata: MetadataOption = None,
    name: NameOption = None,
    user: UserColumn = None,
    item: ItemColumn = None,
    time: TimeColumn = None,
    title: TitleColumn = None,
    tags: TagColumns = None,
    tag_separator: TagSeparator = None,
    separator: SeparatorOption = None,
    quote: QuoteOption = None,
    encoding: EncodingOption = None,
    split: SplitColumn = None,
    force: ForceOption = False,
    data: DataOption = Path("data"),
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Make a finished run of vectors from any program: .npy, .npz, Parquet, safetensors.

    Ids of vectors are compared, as text, with those of the interactions. Prints the id of the run.

    \b
    Example:
      recsae import vectors --users users.npz --items items.npz \\
        --interactions plays.csv --item-metadata songs.csv --name songs --tags genre
      recsae import vectors --users u.parquet --items i.parquet --dataset ml-100k --score cosine
    """
    from recsae import stages
    from recsae.progress import reporter
    from recsae.vectors import read_bias, read_vectors

    bias = read_bias(item_bias) if item_bias else None
    files = {"--user-ids": user_ids, "--item-ids": item_ids, "--item-bias": item_bias}
    words: dict[str, object] = {"--users": users.name, "--items": items.name}
    words |= {option: file and file.name for option, file in files.items()}
    config = stages.VectorsConfig(score=score).with_options(
        model_name=model_name, command=typed("vectors", (), words, score, model_name)
    )
    user_table = read_vectors(users, ids_file=user_ids, column=user or "user_id")
    item_table = read_vectors(items, ids_file=item_ids, column=item or "item_id").with_bias(bias)
    said = reporter()
    stored = data_set(
        *(data, dataset, interactions, said, user_table.positions is not None),
        item_metadata=item_metadata,
        name=name,
        user=user,
        item=item,
        time=time,
        title=title,
        tags=tags,
        tag_separator=tag_separator,
        separator=separator,
        quote=quote,
        encoding=encoding,
        split=split,
    )
    run_id = stages.import_vectors(
        warehouse, data, stored, user_table, item_table, config, force=force, reporter=said
    )
    print(run_id)


@app.command()
def implicit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What model.save(FILE) wrote.")],
    user_ids: UserIds = None,
    item_ids: ItemIds = None,
    model_name: ModelNameOption = None,
    dataset: DatasetOption = None,
    interactions: InteractionsOption = None,
    item_metadata: MetadataOption = None,
    name: NameOption = None,
    user: UserColumn = None,
    item: ItemColumn = None,
    time: TimeColumn = None,
    title: TitleColumn = None,
    tags: TagColumns = None,
    tag_separator: TagSeparator = None,
    separator: SeparatorOption = None,
    quote: QuoteOption = None,
    encoding: EncodingOption = None,
    split: SplitColumn = None,
    force: ForceOption = False,
    data: DataOption = Path("data"),
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Make a finished run of an ALS, BPR or LMF model that the library implicit saved.

    Without ids a row of the matrix is the id of a user, a column that of an item. Prints the id of
    the run.

    \b
    Example:
      recsae import implicit als.npz --dataset lastfm-2k
    """
    from recsae import stages
    from recsae.progress import reporter
    from recsae.vectors.implicit import read_implicit

    user_table, item_table, kind = read_implicit(file, user_ids, item_ids)
    words = {"--user-ids": user_ids and user_ids.name, "--item-ids": item_ids and item_ids.name}
    config = stages.VectorsConfig(
        model_name=model_name or kind,
        command=typed("implicit", (file.name,), words, "dot", model_name),
    )
    said = reporter()
    stored = data_set(
        *(data, dataset, interactions, said, user_table.positions is not None),
        item_metadata=item_metadata,
        name=name,
        user=user,
        item=item,
        time=time,
        title=title,
        tags=tags,
        tag_separator=tag_separator,
        separator=separator,
        quote=quote,
        encoding=encoding,
        split=split,
    )
    run_id = stages.import_vectors(
        warehouse, data, stored, user_table, item_table, config, force=force, reporter=said
    )
    print(run_id)


@app.command()
def recbole(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What RecBole saved: saved/MODEL-DATE.pth.")
    ],
    user_ids: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Tokens of the users, one a line, or .npy.", show_default=False
        ),
    ],
    item_ids: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Tokens of the items, one a line, or .npy.", show_default=False
        ),
    ],
    model_name: ModelNameOption = None,
    dataset: DatasetOption = None,
    interactions: InteractionsOption = None,
    item_metadata: MetadataOption = None,
    name: NameOption = None,
    user: UserColumn = None,
    item: ItemColumn = None,
    time: TimeColumn = None,
    title: TitleColumn = None,
    tags: TagColumns = None,
    tag_separator: TagSeparator = None,
    separator: SeparatorOption = None,
    quote: QuoteOption = None,
    encoding: EncodingOption = None,
    split: SplitColumn = None,
    force: ForceOption = False,
    data: DataOption = Path("data"),
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Make a finished run of the user and item embeddings of a RecBole checkpoint.

    They are what BPR scores with. Only weights are read: no class that the file names is loaded.
    Tokens are in the order of RecBole's ids. Prints the id of the run.

    \b
    Example:
      recsae import recbole saved/BPR.pth --user-ids users.txt --item-ids items.txt \\
        --dataset ml-100k
    """
    from recsae import stages
    from recsae.progress import reporter
    from recsae.vectors.recbole import read_recbole

    user_table, item_table, kind, notes = read_recbole(file, user_ids, item_ids)
    said = reporter()
    for note in notes:
        said.note(note)
    words = {"--user-ids": user_ids.name, "--item-ids": item_ids.name}
    config = stages.VectorsConfig(
        model_name=model_name or kind,
        command=typed("recbole", (file.name,), words, "dot", model_name),
    )
    stored = data_set(
        *(data, dataset, interactions, said, user_table.positions is not None),
        item_metadata=item_metadata,
        name=name,
        user=user,
        item=item,
        time=time,
        title=title,
        tags=tags,
        tag_separator=tag_separator,
        separator=separator,
        quote=quote,
        encoding=encoding,
        split=split,
    )
    run_id = stages.import_vectors(
        warehouse, data, stored, user_table, item_table, config, force=force, reporter=said
    )
    print(run_id)


def typed(
    command: str,
    arguments: tuple[str, ...],
    options: dict[str, Any],
    score: str,
    model_name: str | None,
) -> str:
    """The command line that makes a run again, without its data set."""
    every = {**options, "--score": score if score != "dot" else None, "--model-name": model_name}
    given = [word for name, value in every.items() if value for word in (name, str(value))]
    return shlex.join(["recsae", "import", command, *arguments, *given])


def data_set(
    data: Path,
    dataset: str | None,
    interactions: Path | None,
    said: Reporter,
    per_position: bool,
    **columns: Any,
) -> str:
    """The data set that is named, or that is prepared now of a file of interactions.

    ``per_position`` says that the vectors count positions.
    """
    if (dataset is None) == (interactions is None):
        raise UsageError(
            "it takes --dataset or --interactions, one of them",
            "--dataset NAME takes a prepared data set, --interactions FILE prepares one",
        )
    if dataset is not None:
        given = [key for key, value in columns.items() if value is not None]
        # in a file of vectors the columns of ids may be named as well
        unused = [key for key in given if key not in ("user", "item")]
        if unused:
            raise UsageError(
                f"--{unused[0].replace('_', '-')} belongs to --interactions, not to --dataset",
                "leave it out",
            )
        return dataset
    assert interactions is not None
    from recsae import stages

    return stages.prepare_interactions(
        data, interactions, reporter=said, per_position=per_position, **columns
    )

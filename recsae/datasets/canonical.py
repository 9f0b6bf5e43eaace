"""The canonical form of a data set: four Parquet tables and ``dataset.json`` in one folder.

Every source ends here, and every later stage starts here. Whatever route the data came by, the same
content has the same fingerprint and, written by the same version of polars, the same bytes.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsae.config import option
from recsae.errors import DataError, MissingStageError
from recsae.warehouse.files import safe_name

FORMAT_VERSION = 1
INFO = "dataset.json"
SPLITS = ("train", "dev", "test")
PIECE = 2**16
"""Values that are turned into JSON at once."""

SCHEMAS: dict[str, pl.Schema] = {
    "users": pl.Schema({"user_id": pl.Int32, "source_user_id": pl.String}),
    "items": pl.Schema(
        {
            "item_id": pl.Int32,
            "source_item_id": pl.String,
            "title": pl.String,
            "popularity": pl.Int32,
        }
    ),
    "item_tags": pl.Schema({"item_id": pl.Int32, "tag": pl.String, "kind": pl.String}),
    "interactions": pl.Schema(
        {
            "user_id": pl.Int32,
            "item_id": pl.Int32,
            "position": pl.Int32,
            "time": pl.Int64,
            "split": pl.String,
        }
    ),
}
"""Columns and types of the four tables. Ids count from 1; 0 is padding."""

TRUTH = "truth"
TRUTH_SCHEMA = pl.Schema({"item_id": pl.Int32, "concept": pl.String})
"""Planted data only: the tag of the concept that every item was made from."""

TABLES = tuple(SCHEMAS)
_SCHEMAS = {**SCHEMAS, TRUTH: TRUTH_SCHEMA}
_KEYS = {"name", "format_version", "options", "sources", "counts", "dropped", "fingerprint"}
FILE_NAMES = frozenset({INFO, *(f"{table}.parquet" for table in _SCHEMAS)})
"""All that a prepared folder may hold, beside its mark."""
OWN_FILES = re.compile("|".join(map(re.escape, FILE_NAMES)))

Tables = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Dataset:
    """A prepared data set, checked against its fingerprint."""

    name: str
    users: pl.DataFrame
    """user_id, source_user_id; in order of user_id, which runs from 1 to n."""
    items: pl.DataFrame
    """item_id, source_item_id, title, popularity (train interactions); in order of item_id."""
    item_tags: pl.DataFrame
    """item_id, tag, kind; one row per item and tag."""
    interactions: pl.DataFrame
    """user_id, item_id, position (from 1), time, split; in order of user_id and position."""
    info: dict[str, Any]
    """The content of ``dataset.json``."""

    @property
    def fingerprint(self) -> str:
        return str(self.info["fingerprint"])


def fingerprint(tables: Tables) -> str:
    """SHA-256 over the content of the four tables: names, types and values, not Parquet bytes."""
    digest = hashlib.sha256()
    for table, schema in SCHEMAS.items():
        frame = tables[table]
        digest.update(_json([table, frame.height, [[c, str(t)] for c, t in schema.items()]]))
        for column, dtype in schema.items():
            values = frame[column]
            if dtype == pl.String or values.null_count():
                for piece in _json_pieces(values):
                    digest.update(piece)
            else:
                digest.update(values.to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _json_pieces(values: pl.Series) -> Iterator[bytes]:
    """A column as ``_json`` writes it, in pieces, so that millions of texts need little memory."""
    yield b"["
    for start in range(0, len(values), PIECE):
        piece = _json(values.slice(start, PIECE).to_list())
        yield (b"," if start else b"") + piece[1:-1]
    yield b"]"


def _json(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def count(tables: Tables) -> dict[str, int]:
    """Rows of interest, as ``dataset.json`` records them."""
    split = tables["interactions"]["split"]
    return {
        "users": tables["users"].height,
        "items": tables["items"].height,
        "interactions": split.len(),
        **{name: int((split == name).sum()) for name in SPLITS},
        "item_tags": tables["item_tags"].height,
        "tags": tables["item_tags"]["tag"].n_unique(),
    }


def write(folder: Path, tables: Tables, info: dict[str, Any]) -> dict[str, Any]:
    """Write the tables and ``dataset.json`` into an empty folder; return the complete info."""
    files = {}
    for table, schema in _SCHEMAS.items():
        if table in tables:
            path = folder / f"{table}.parquet"
            data = _parquet(tables[table].select(schema.names()))
            path.write_bytes(data)
            files[path.name] = hashlib.sha256(data).hexdigest()
    complete = {
        "format_version": FORMAT_VERSION,
        **info,
        "counts": count(tables),
        "fingerprint": fingerprint(tables),
        "files": files,
    }
    text = json.dumps(complete, indent=2, ensure_ascii=False) + "\n"
    # a file's name need not be text; its bytes become the escapes of JSON
    (folder / INFO).write_bytes(text.encode("utf-8", "backslashreplace"))
    return complete


def _parquet(frame: pl.DataFrame) -> bytes:
    """Parquet in memory, so that a full disk is an OSError of Python's own."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def prepared(data_dir: Path) -> list[str]:
    """Names of the folders in ``data_dir`` that hold a ``dataset.json``, sorted."""
    return sorted(path.parent.name for path in data_dir.glob(f"[!.]*/{INFO}"))


def read_info(name: str, data_dir: Path) -> dict[str, Any]:
    """The ``dataset.json`` of a prepared data set, without its tables."""
    folder = data_dir / safe_name("data set", name)
    if not folder.is_dir():
        raise MissingStageError(
            f"data set {name!r} is not prepared in {data_dir}", advice(name, data_dir)
        )
    path = folder / INFO
    try:
        info = json.loads(path.read_bytes())
        if not isinstance(info, dict) or not info.keys() >= _KEYS:
            raise ValueError("it lacks entries")
        if info["format_version"] != FORMAT_VERSION:
            raise ValueError(f"its format {info['format_version']} is of another version of recsae")
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(name, path, error) from None
    return info


def is_prepared(folder: Path) -> bool:
    """Whether the ``dataset.json`` of a folder tells of all its files, as recsae writes it.

    So a folder is known that an earlier version prepared, which gave it no mark.
    """
    try:
        info = json.loads((folder / INFO).read_bytes())
        known = {INFO, *info["files"]}
        return info.keys() >= _KEYS and {path.name for path in folder.iterdir()} <= known
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False


TABLES_OF_ONES_OWN = ("csv", "parquet")
WITHOUT_SOURCE = ("ml-100k", "ml-1m", "planted")
"""Data sets that are prepared by their name alone."""
MOST_NAMES = 8
"""Prepared data sets that a hint lists."""


def known_names(data_dir: Path) -> str:
    """The prepared data sets, for a hint."""
    names = prepared(data_dir)
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"prepared are {', '.join(names[:MOST_NAMES])}{more}" if names else "none is prepared"


def advice(name: str, data_dir: Path) -> str:
    """What to do about a data set that is not prepared."""
    if name in WITHOUT_SOURCE:
        return f"recsae data prepare {name}"
    if name == "lastfm-2k":
        return f"recsae data prepare {name} --source FOLDER"
    names = sorted({*prepared(data_dir), *WITHOUT_SOURCE})
    near = difflib.get_close_matches(name, names, cutoff=0.75)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{meant}{known_names(data_dir)}; recsae data list shows all that there is"


def again(name: str, info: Mapping[str, Any] | None) -> str:
    """The command that prepares a data set anew, as far as its ``dataset.json`` tells it."""
    recipe = (info or {}).get("recipe", name)
    if info is None and name not in WITHOUT_SOURCE:
        return "prepare it anew with recsae data prepare and --force"
    words = ["recsae", "data", "prepare", str(recipe)]
    files = (
        [str(one["file"]) for one in (info or {})["sources"]]
        if recipe in TABLES_OF_ONES_OWN
        else []
    )
    for word, file in zip(("--source", "--items"), files, strict=False):
        words += [word, file]
    if recipe not in (*WITHOUT_SOURCE, *TABLES_OF_ONES_OWN):
        words += ["--source", "PATH"]
    words += ["--name", name] if recipe != name else []
    if recipe in TABLES_OF_ONES_OWN:
        words += _other_options((info or {})["options"])
    return shlex.join([*words, "--force"])


def _other_options(options: Mapping[str, object]) -> list[str]:
    """Options of csv and parquet that are not their defaults, as words of a command."""
    from recsae.datasets.tabular import CsvOptions

    default = CsvOptions().to_json()
    if options.get("split") is not None:
        default["core"] = None
    if options.get("rating") is not None:
        default["min_rating"] = 4.0
    given = {key: value for key, value in options.items() if value != default.get(key)}
    return [word for key, value in given.items() for word in (option(key), str(value))]


def read_dataset(name: str, data_dir: Path) -> Dataset:
    """Read a prepared data set.

    Errors: MissingStageError when it is not prepared; DataError naming the file when one is
    missing, damaged or changed.
    """
    info = read_info(name, data_dir)
    tables = {table: read_table(name, data_dir, table, info) for table in TABLES}
    if TRUTH in _recorded(info):
        read_table(name, data_dir, TRUTH, info)
    if fingerprint(tables) != info["fingerprint"]:
        raise _damaged(
            name, data_dir / name / INFO, ValueError("its fingerprint is another one"), info
        )
    return Dataset(name, **tables, info=info)


def read_truth(name: str, data_dir: Path) -> pl.DataFrame:
    """The concept that each item of planted data was made from: item_id, concept (its tag)."""
    info = read_info(name, data_dir)
    if TRUTH not in _recorded(info):
        raise DataError(f"data set {name!r} has no planted concepts", "recsae data prepare planted")
    return read_table(name, data_dir, TRUTH, info)


def _recorded(info: dict[str, Any]) -> set[str]:
    """Tables whose checksum is recorded."""
    files = info.get("files")
    return (
        {str(file).removesuffix(".parquet") for file in files} if isinstance(files, dict) else set()
    )


def read_table(name: str, data_dir: Path, table: str, info: dict[str, Any]) -> pl.DataFrame:
    """One table, its bytes compared with the recorded checksum before they are parsed."""
    path = data_dir / name / f"{table}.parquet"
    try:
        if table not in _recorded(info):
            raise ValueError("its checksum is not recorded")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != info["files"][path.name]:
            raise ValueError("its checksum is another one")
        frame = pl.read_parquet(io.BytesIO(data))
        if frame.schema != _SCHEMAS[table]:
            raise ValueError("its columns are other ones")
        return frame
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise _damaged(name, path, error, info) from None


def _damaged(
    name: str, path: Path, error: Exception, info: Mapping[str, Any] | None = None
) -> DataError:
    reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        reason = "it is not JSON"
    return DataError(f"{path} is missing or damaged: {reason}", again(name, info))

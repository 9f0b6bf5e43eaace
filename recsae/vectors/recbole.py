"""Checkpoints of RecBole (github.com/RUCAIBox/RecBole): tables of user and item embeddings.

Such a file is a zip archive with a pickle of the training's state, and the numbers of its tensors
beside it. The pickle is of protocol 4, which torch's weights-only loader cannot read, so it is read
here: every class and function that it names is an empty class made for it, which runs nothing, and
a tensor is a note of where its numbers are.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recsae.errors import DataError
from recsae.vectors.files import read_ids, sha256
from recsae.vectors.table import Floats, VectorTable, table_of

USERS, ITEMS = "user_embedding.weight", "item_embedding.weight"
SCORING = ("BPR", "LINE")
"""Models whose score is the dot product of these two tables."""

PADDING = "[PAD]"
"""RecBole's token of id 0."""

TYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2"}
"""torch's name of a type of numbers -> numpy's."""

TENSOR = ("torch._utils", "_rebuild_tensor_v2")


class Checkpoint(NamedTuple):
    """What a checkpoint says about users and items."""

    users: Floats
    """(n_users, d), row r = internal id r + 1; without the padding."""
    items: Floats
    """(n_items, d), the same."""
    model: str | None
    """Name of the model; None where the file does not say it."""


def read_recbole(
    path: Path, user_ids: Path, item_ids: Path
) -> tuple[VectorTable, VectorTable, str, tuple[str, ...]]:
    """Vectors of users and items, the model's name (else recbole), and what is to be said.

    The files of ids have RecBole's tokens in the order of its ids, with or without [PAD] first.
    Errors: DataError for a file that is no such checkpoint, and for another number of ids.
    """
    found = read_checkpoint(path)
    tables = [
        table_of(
            f"{what} of {path}",
            rows,
            _tokens(ids, len(rows)),
            files=[(one.name, sha256(one)) for one in (path, ids)],
        )
        for what, rows, ids in (
            ("user_embedding", found.users, user_ids),
            ("item_embedding", found.items, item_ids),
        )
    ]
    name = re.sub(r"[^A-Za-z0-9]+", "-", found.model or "").strip("-")[:40] or "recbole"
    if found.model in SCORING:
        return tables[0], tables[1], name, ()
    note = (
        f"warning: {found.model or 'the model'} may not score with these tables: they are the "
        f"vectors of {' and '.join(SCORING)}, but those of LightGCN before propagation; write the "
        "vectors that are multiplied to files, and use recsae import vectors"
    )
    return tables[0], tables[1], name, (note,)


def _tokens(path: Path, n: int) -> list[str]:
    tokens = [str(one) for one in read_ids(path)]
    if tokens[:1] == [PADDING]:
        del tokens[0]
    if len(tokens) != n:
        raise DataError(
            f"{path} has {len(tokens):,} ids, but the table has {n:,} rows without padding",
            "write dataset.field2id_token[FIELD], one token a line",
        )
    return tokens


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tables of a checkpoint. Runs nothing that the file holds.

    Errors: DataError for a file that cannot be read so, and for one without both tables.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            folder, content = _content(archive)
            state = content.get("state_dict") if isinstance(content, Mapping) else None
            if not isinstance(state, Mapping):
                raise DataError(f"{path} is no checkpoint of RecBole: it has no state_dict")
            users, items = (_table(path, archive, folder, state, key) for key in (USERS, ITEMS))
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # what damage does to the unpickler cannot be listed
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"{path} cannot be read as a checkpoint: {reason}") from None
    return Checkpoint(users, items, _model(content))


class _Inert:
    """Stands for anything that a pickle makes: takes what belongs to it, and does nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        made = object.__new__(cls)
        made.args, made.state = args, None
        return made

    args: tuple[Any, ...]
    state: Any

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, value: object) -> None: ...

    def extend(self, values: object) -> None: ...


class _Unpickler(pickle.Unpickler):
    """Knows ordered dictionaries; every other name is an empty class of its own."""

    def find_class(self, module: str, name: str) -> Any:
        base = dict if (module, name) == ("collections", "OrderedDict") else _Inert
        # a new class each time, since a pickle may also change the classes that it names
        return type(name, (base,), {"__module__": module})

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _content(archive: zipfile.ZipFile) -> tuple[str, Any]:
    """The folder inside the archive, and what its pickle describes."""
    names = [one for one in archive.namelist() if re.fullmatch(r"[^/]*/data\.pkl", one)]
    if len(names) != 1:
        raise ValueError("it has no data.pkl")
    folder = names[0].removesuffix("data.pkl")
    return folder, _Unpickler(io.BytesIO(archive.read(names[0]))).load()


def _table(
    path: Path, archive: zipfile.ZipFile, folder: str, state: Mapping[str, Any], key: str
) -> Floats:
    """(n, d) one of the tables without its first row, the padding."""
    tensor = state.get(key)
    kind = (type(tensor).__module__, type(tensor).__name__)
    if not isinstance(tensor, _Inert) or kind != TENSOR or len(tensor.args[2]) != 2:
        found = ", ".join(sorted(map(str, state))[:8]) or "nothing"
        raise DataError(
            f"{path} has no table {key}; found {found}",
            "write the vectors that its model multiplies to files: recsae import vectors",
        )
    (_, storage, place, *_), offset, (n, d), stride = tensor.args[:4]
    if storage.__name__ not in TYPES or tuple(stride) != (d, 1):
        raise DataError(f"{path}: {key} is a {storage.__name__} with strides {tuple(stride)}")
    numbers = np.frombuffer(archive.read(f"{folder}data/{place}"), TYPES[storage.__name__])
    rows = numbers[offset : offset + n * d].reshape(n, d)
    return np.array(rows[1:], dtype=np.float32)


def _model(content: Mapping[str, Any]) -> str | None:
    """The model's name in the settings, which are an object with a mapping of final values."""
    settings = getattr(content.get("config"), "state", None)
    final = settings.get("final_config_dict") if isinstance(settings, Mapping) else None
    name = final.get("model") if isinstance(final, Mapping) else None
    return name if isinstance(name, str) else None

"""Checkpoints laid out as RecBole's: read without its classes, and without running anything."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from vectors.toy_vectors import Toy, toy

from recsae.errors import DataError
from recsae.vectors.recbole import read_checkpoint
from recsae.warehouse import Warehouse, run_folder

if TYPE_CHECKING:
    from conftest import Result

USERS = torch.arange(8.0).reshape(4, 2)
ITEMS = torch.arange(10.0).reshape(5, 2)
TABLES = {"user_embedding.weight": USERS, "item_embedding.weight": ITEMS}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return toy(tmp_path_factory.mktemp("recbole"))


class Runner:
    """Pickles to a call that writes a file."""

    def __init__(self, call: Callable[..., object], *args: object) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.args


def write(path: Path, state: Any = TABLES, model: str = "BPR", **more: object) -> Path:
    """A checkpoint with a settings object of a class that is gone when it is read."""
    module = ModuleType("recbole_of_a_test")
    config = type("Config", (), {"__module__": module.__name__, "__qualname__": "Config"})
    level = type("Level", (), {"__module__": module.__name__, "__qualname__": "Level"})
    module.Config, module.Level = config, level  # type: ignore[attr-defined]
    settings = config()
    settings.__dict__.update(final_config_dict={"model": model, "level": level()}, other=[level])
    content = {
        "config": settings,
        "epoch": 3,
        "best_valid_score": np.float64(0.5),
        "state_dict": state,
        "other_parameter": None,
        **more,
    }
    sys.modules[module.__name__] = module
    try:
        torch.save(content, path, pickle_protocol=4)
    finally:
        del sys.modules[module.__name__]
    return path


def test_tables_without_padding(tmp_path: Path) -> None:
    tables = read_checkpoint(write(tmp_path / "m.pth"))
    assert np.array_equal(tables.users, USERS[1:])
    assert np.array_equal(tables.items, ITEMS[1:])
    assert tables.model == "BPR"


def test_other_floats_and_parts_of_larger_tensors(tmp_path: Path) -> None:
    wide = torch.arange(20.0).reshape(10, 2)
    for kind in (torch.float64, torch.float16):
        tables = {key: wide.to(kind)[3:8] for key in TABLES}
        found = read_checkpoint(write(tmp_path / "m.pth", tables))
        assert found.users.dtype == np.float32
        assert np.array_equal(found.items, wide[4:8])


def test_nothing_of_the_file_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = f"open({str(mark)!r}, 'w').write('x')"
    command = f"touch {mark}"
    calls = [Runner(exec, code), Runner(eval, code), Runner(os.system, command)]
    calls += [Runner(Path.touch, mark), Runner(print, [Runner(os.system, command)])]
    for call in calls:
        assert read_checkpoint(write(tmp_path / "m.pth", extra=call)).model == "BPR"
        assert not mark.exists()
    pickle.loads(pickle.dumps(calls[3]))
    assert mark.exists()  # read in the usual way it does run


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("x")
    torch.save(TABLES, tmp_path / "weights.pth")
    torch.save([1], tmp_path / "list.pth")
    whole = write(tmp_path / "m.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "items.pth", {"item_embedding.weight": ITEMS, "gru.weight": USERS})
    write(tmp_path / "half.pth", {key: one.bfloat16() for key, one in TABLES.items()})
    write(tmp_path / "turned.pth", {**TABLES, "user_embedding.weight": USERS.reshape(2, 4).T})
    with zipfile.ZipFile(tmp_path / "empty.pth", "w") as archive:
        archive.writestr("x/y", "")
    write(tmp_path / "flat.pth", {**TABLES, "user_embedding.weight": USERS[0]})
    cases = {
        "text.pth": "cannot be read as a checkpoint: File is not a zip file",
        "cut.pth": "cannot be read as a checkpoint",
        "half.pth": "user_embedding.weight is a BFloat16Storage with strides (2, 1)",
        "turned.pth": "user_embedding.weight is a FloatStorage with strides (1, 4)",
        "empty.pth": "cannot be read as a checkpoint: it has no data.pkl",
        "weights.pth": "is no checkpoint of RecBole: it has no state_dict",
        "list.pth": "is no checkpoint of RecBole: it has no state_dict",
        "items.pth": "has no table user_embedding.weight; found gru.weight, item_embedding.weight",
        "flat.pth": "has no table user_embedding.weight; found ",
        "gone.pth": "No such file or directory",
    }
    for name, text in cases.items():
        with pytest.raises(DataError) as caught:
            read_checkpoint(tmp_path / name)
        assert text in caught.value.message
        assert "\n" not in caught.value.message


def padded(rows: np.ndarray) -> torch.Tensor:
    return torch.cat([torch.full((1, rows.shape[1]), 9.0), torch.from_numpy(rows)])


@pytest.mark.parametrize("model", ["BPR", "LightGCN"])
def test_a_run_of_a_checkpoint(
    model: str, cli: Callable[..., Result], given: Toy, root: Path, tmp_path: Path
) -> None:
    tables = {
        "user_embedding.weight": padded(given.users),
        "item_embedding.weight": padded(given.items),
    }
    file = write(tmp_path / "m.pth", tables, model)
    (tmp_path / "u.txt").write_text("\n".join(["[PAD]", *given.user_ids]))
    (tmp_path / "i.txt").write_text("\n".join(given.item_ids))
    words = (
        *("import", "recbole", file, "--user-ids", tmp_path / "u.txt"),
        *("--item-ids", tmp_path / "i.txt", "--dataset", "planted"),
        *("--data", given.data, "--warehouse", root),
    )
    result = cli(*words)
    assert result.code == 0, result.err
    assert result.out.startswith(f"{model.lower()}-planted-")
    folder = run_folder(root, result.out.strip())
    assert np.array_equal(np.load(folder / "vectors.npy"), given.users)
    assert np.array_equal(np.load(folder / "items.npy"), given.items)
    warned = f"warning: {model} may not score with these tables" in result.err
    assert warned == (model == "LightGCN")
    with Warehouse.open(root, read_only=True) as warehouse:
        assert set(warehouse.run(result.out.strip()).params["files"]) == {"m.pth", "u.txt", "i.txt"}
    (tmp_path / "u.txt").write_text("\n".join(given.user_ids[1:]))
    short = cli(*words)
    assert short.code == 1
    assert "u.txt has 59 ids, but the table has 60 rows without padding" in short.err

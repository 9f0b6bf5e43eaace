"""Every form of file gives the same table; what is no table of vectors is refused in one line."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from recsae.errors import DataError, RecsaeError, UsageError
from recsae.vectors import VectorTable, read_bias, read_vectors, table_of
from recsae.vectors.files import frame_arrays, read_ids

IDS = ["b", "a", "10"]
ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
POSITIONS = np.array([1, 2, 1])
BIAS = np.array([0.5, -1.0, 2.0], np.float32)


def frame(**changes: Any) -> pl.DataFrame:
    columns = {"id": IDS, "vector": ROWS.tolist(), "position": POSITIONS, "bias": BIAS}
    return pl.DataFrame({**columns, **changes})


def written(form: str, folder: Path) -> VectorTable:
    path = folder / f"v{form}"
    if form == ".npy":
        np.save(path, ROWS.astype(np.float64))
        (folder / "ids.txt").write_text("b\r\na\n10\n")
        return read_vectors(path, ids_file=folder / "ids.txt")
    if form == ".npz":
        np.savez(path, vectors=ROWS, ids=np.array(IDS), positions=POSITIONS, bias=BIAS)
    elif form == ".parquet":
        frame().rename({"id": "who"}).write_parquet(path)
        return read_vectors(path, column="who")
    else:
        numbers = {"ids": np.array([7, 8, 9]), "positions": POSITIONS, "bias": BIAS}
        save_file({"vectors": ROWS, **numbers}, path)
    return read_vectors(path)


@pytest.mark.parametrize("form", [".npy", ".npz", ".parquet", ".safetensors"])
def test_every_form(form: str, tmp_path: Path) -> None:
    table = written(form, tmp_path)
    assert table.ids == (("7", "8", "9") if form == ".safetensors" else tuple(IDS))
    assert table.vectors.dtype == np.float32
    assert np.array_equal(table.vectors, ROWS)
    if form == ".npy":
        assert (table.positions, table.bias) == (None, None)
        assert [name for name, _ in table.files] == ["v.npy", "ids.txt"]
        return
    assert table.positions is not None
    assert table.bias is not None
    assert table.positions.tolist() == [1, 2, 1]
    assert np.array_equal(table.bias, BIAS)
    assert len(table.files) == 1


def test_rows_without_ids_are_numbered(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", ROWS)
    table = read_vectors(tmp_path / "v.npy")
    assert (table.ids, table.row_ids) == (("0", "1", "2"), True)


def test_ids_of_a_numpy_file_and_of_bytes(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.array([b"x ", "ä".encode(), b"z"]))
    np.save(tmp_path / "v.npy", ROWS)
    table = read_vectors(tmp_path / "v.npy", ids_file=tmp_path / "ids.npy")
    assert table.ids == ("x", "ä", "z")
    (tmp_path / "ids.txt").write_text("\ufeffx\n\nz")
    assert read_ids(tmp_path / "ids.txt") == ["x", "", "z"]


BIG = 76561197960265729
"""An id that no float can hold."""


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("form", [".npy", ".npz", ".parquet"])
def test_ids_as_floats_are_refused_in_every_file(tmp_path: Path, form: str, kind: type) -> None:
    path, ids = tmp_path / f"v{form}", np.array([1, 2, 3], kind)
    if form == ".npy":
        np.save(path, ROWS)
        np.save(tmp_path / "ids.npy", ids)
    elif form == ".npz":
        np.savez(path, vectors=ROWS, ids=ids)
    else:
        pl.DataFrame({"id": ids.astype(float), "vector": ROWS.tolist()}).write_parquet(path)
    with pytest.raises(DataError, match=r"the id of row 0 is 1\.0, but ids are texts") as caught:
        read_vectors(path, ids_file=tmp_path / "ids.npy" if form == ".npy" else None)
    assert "int64" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["7.656119796026573e+16", "76561197960265728.0"])
def test_rounded_ids_in_a_text_are_refused(tmp_path: Path, text: str) -> None:
    np.save(tmp_path / "v.npy", ROWS)
    (tmp_path / "ids.txt").write_text(f"a\n{text}\nb\n")
    with pytest.raises(DataError, match="the id of row 1 is"):
        read_vectors(tmp_path / "v.npy", ids_file=tmp_path / "ids.txt")


def test_large_ids_keep_all_digits_in_any_company() -> None:
    """Numpy would make floats of these."""
    for ids in ([BIG, 2**63, -1], (BIG, "x", 2), [np.uint64(2**63), BIG, 5]):
        assert table_of("v", ROWS, ids).ids == tuple(map(str, ids))
    with pytest.raises(DataError, match=r"the id of row 1 is 2\.0"):
        table_of("v", ROWS, [BIG, 2.0, "x"])
    assert table_of("v", ROWS, [b"a", b"b", b"c"]).ids == ("a", "b", "c")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_ids_of_any_line_end(tmp_path: Path, end: str, encoding: str) -> None:
    (tmp_path / "ids.txt").write_bytes(end.join(("ä", "b", "", "c", "")).encode(encoding))
    if encoding != "utf-16" or end != "\r":
        assert read_ids(tmp_path / "ids.txt") == ["ä", "b", "", "c"]
    (tmp_path / "ids.txt.gz").write_bytes(gzip.compress(b"a\nb\n"))
    assert read_ids(tmp_path / "ids.txt.gz") == ["a", "b"]
    (tmp_path / "ids.txt").write_bytes("ä\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 1: not utf-8 text"):
        read_ids(tmp_path / "ids.txt")


def test_a_list_column_of_any_type_of_number() -> None:
    for kind in (pl.List(pl.Float64), pl.Array(pl.Float32, 2), pl.List(pl.Int8)):
        given = frame(vector=pl.Series(ROWS.tolist()).cast(kind))
        assert np.array_equal(frame_arrays("f", given)["vectors"], ROWS)


def test_a_bias_of_its_own_file(tmp_path: Path) -> None:
    table = table_of("items", ROWS, IDS)
    np.save(tmp_path / "rows.npy", BIAS)
    by_row = table.with_bias(read_bias(tmp_path / "rows.npy"))
    assert by_row.bias is not None
    assert by_row.bias.tolist() == BIAS.tolist()
    assert [name for name, _ in by_row.files] == ["items", "rows.npy"]
    np.savez(tmp_path / "ids.npz", bias=BIAS[::-1], ids=np.array(["10", "a", "b"]))
    by_id = table.with_bias(read_bias(tmp_path / "ids.npz"))
    assert by_id.bias is not None
    assert by_id.bias.tolist() == BIAS.tolist()
    np.savez(tmp_path / "few.npz", bias=BIAS[:2], ids=np.array(["10", "a"]))
    with pytest.raises(DataError, match=r"few\.npz has no bias for 'b' \(1 such ids\)"):
        table.with_bias(read_bias(tmp_path / "few.npz"))
    np.save(tmp_path / "few.npy", BIAS[:2])
    with pytest.raises(DataError, match=r"few\.npy has 2 numbers, but items has 3 vectors"):
        table.with_bias(read_bias(tmp_path / "few.npy"))
    np.save(tmp_path / "wide.npy", ROWS)
    with pytest.raises(DataError, match="a bias is one number per item"):
        table.with_bias(read_bias(tmp_path / "wide.npy"))


def odd(value: float, row: int) -> np.ndarray:
    changed = ROWS.copy()
    changed[row, 1] = value
    return changed


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"vectors": ROWS[0]}, "v: its vectors have the shape (2,), not (rows, width)"),
        ({"vectors": ROWS.astype(complex)}, "v: its vectors are of type complex128"),
        ({"vectors": ROWS.astype(str)}, "v: its vectors are of type <U32, not numbers"),
        ({"vectors": ROWS[:0]}, "v holds no vectors: their shape is (0, 2)"),
        ({"vectors": ROWS[:, :0]}, "v holds no vectors: their shape is (3, 0)"),
        ({"vectors": odd(np.nan, 1)}, "v: the vector of 'a' holds NaN (1 such rows)"),
        ({"vectors": odd(np.inf, 2)}, "v: the vector of '10' holds an infinite value"),
        ({"vectors": ROWS.astype(float) * 1e39}, "v: the vector of 'b' holds an infinite value"),
        ({"vectors": ROWS[[0, 0, 0]]}, "all vectors of v are the same, so they say nothing"),
        ({"ids": ["a", "b", "a"]}, "v has more than one vector for 'a'"),
        ({"ids": ["1", 2, 1]}, "v has more than one vector for '1'"),
        ({"ids": ["a", "b"]}, "v has 3 vectors, but 2 ids"),
        ({"ids": [1.0, 2.0, 3.0]}, "v: the id of row 0 is 1.0, but ids are texts or whole numbers"),
        ({"ids": [[1], [2], [3]]}, "v: its ids have the shape (3, 1), not (rows,)"),
        ({"positions": [1.0, 2.0, 1.0]}, "v: its positions are of type float64"),
        ({"positions": [1, 2]}, "v has 3 vectors, but 2 positions"),
        (
            {"positions": [1, 2, 2], "ids": ["a", "b", "b"]},
            "v has more than one vector for 'b' at position 2",
        ),
        ({"bias": [1.0, np.nan, 0.0]}, "v: the bias of 'a' holds NaN (1 such rows)"),
        ({"bias": ROWS}, "v: its bias have the shape (3, 2), not (rows,)"),
    ],
)
def test_what_no_table_may_be(arrays: dict[str, Any], message: str) -> None:
    given = {"vectors": ROWS, "ids": IDS, **arrays}
    with pytest.raises(DataError) as caught:
        table_of("v", given.pop("vectors"), given.pop("ids"), **given)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vector": [[1.0, 2.0], [3.0], [5.0, 6.0]]}, "f: the vector of 'a' has 1 numbers or gaps"),
        ({"vector": [[1.0, 2.0], None, [5.0, 6.0]]}, "f: the vector of 'a' has None numbers"),
        ({"vector": [[1.0, 2.0], [3.0, None], [5.0, 6.0]]}, "f: the vector of 'a' has 2 numbers"),
        ({"vector": [1.0, 2.0, 3.0]}, "f: column vector is of type Float64, not lists of numbers"),
        ({"position": [1, None, 2]}, "f: column position has empty values"),
    ],
)
def test_what_no_frame_may_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        frame_arrays("f", frame(**changes))
    assert caught.value.message.startswith(message)


def test_columns_that_are_missing() -> None:
    for column, lacking in ((None, "id"), ("who", "who")):
        with pytest.raises(DataError, match=f"f has no column {lacking}; found vector"):
            frame_arrays("f", frame().select("vector", "bias"), column)
    with pytest.raises(DataError, match="f has no column vector; found id, bias"):
        frame_arrays("f", frame().select("id", "bias"))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("1,2,3")
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    np.savez(tmp_path / "objects.npz", vectors=np.array([None, {}]))
    np.savez(tmp_path / "other.npz", a=ROWS, b=ROWS)
    np.savez(tmp_path / "biased.npz", bias=BIAS)
    whole = (tmp_path / "other.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.npy").write_bytes((tmp_path / "objects.npy").read_bytes()[:20])
    with zipfile.ZipFile(tmp_path / "wrong.npz", "w") as archive:
        archive.writestr("vectors.npy", "no array")
    np.save(tmp_path / "single.npy", ROWS)
    (tmp_path / "single.npz").write_bytes((tmp_path / "single.npy").read_bytes())
    (tmp_path / "text.parquet").write_text("x")
    (tmp_path / "text.safetensors").write_text("x" * 20)
    save_file({"w": ROWS}, tmp_path / "other.safetensors")
    (tmp_path / "folder.npy").mkdir()
    cases = {
        "text.npy": "is not a .npy file",
        "objects.npy": "holds Python objects, which are not read",
        "objects.npz": "holds Python objects, which are not read",
        "other.npz": "has no array vectors; found a, b",
        "biased.npz": "has no array vectors; found bias",
        "cut.npz": "cannot be read: it is cut short or damaged",
        "cut.npy": "cannot be read",
        "wrong.npz": "its vectors are of type |S8, not numbers",
        "single.npz": "is not a .npz file",
        "text.parquet": "cannot be read",
        "text.safetensors": "cannot be read",
        "other.safetensors": "has no array vectors; found w",
        "folder.npy": "Is a directory",
        "gone.npz": "No such file or directory",
    }
    for name, text in cases.items():
        with pytest.raises(RecsaeError) as caught:
            read_vectors(tmp_path / name)
        assert text in caught.value.message, name
        assert str(tmp_path / name) in caught.value.message
        assert "\n" not in caught.value.message
    for read in (read_vectors, read_bias):
        with pytest.raises(UsageError, match=r"x\.csv is not one of \.npy"):
            read(tmp_path / "x.csv")
    (tmp_path / "ids.txt").write_bytes(b"\xff\n")
    with pytest.raises(DataError, match=r"ids\.txt is not a text with one id a line"):
        read_vectors(tmp_path / "single.npy", ids_file=tmp_path / "ids.txt")
    np.savez(tmp_path / "ids.npz", vectors=ROWS, ids=np.array(IDS))
    with pytest.raises(
        UsageError, match=r"ids\.npz has ids of its own, beside those of .*ids\.txt"
    ):
        read_vectors(tmp_path / "ids.npz", ids_file=tmp_path / "ids.txt")

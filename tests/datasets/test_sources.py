from __future__ import annotations

import pytest
from datasets import film_files
from hypothesis import given, settings
from hypothesis import strategies as st

from recsae.datasets import sources
from recsae.datasets.movielens import GROUPLENS, RECBOLE
from recsae.datasets.sources import read_source
from recsae.errors import DataError

FILES = {"u.data": b"1\t2\t3\t4\n" * 50, "u.item": b"1|a|||\n" * 50}
CHOICES = (GROUPLENS, RECBOLE)


def failure(path):
    with pytest.raises(DataError) as caught:
        read_source(path, CHOICES)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_members_are_found_by_name_wherever_they_lie(tmp_path):
    for inside in ("", "ml-100k/", "../../elsewhere/", "/abs/"):
        archive = film_files.write_zip(tmp_path / "any.zip", FILES, inside)
        found = read_source(archive, CHOICES)
        assert [(file.name, file.data) for file in found] == list(FILES.items())
    assert [path.name for path in tmp_path.iterdir()] == ["any.zip"]


def test_what_is_looked_for_is_named(tmp_path):
    text = failure(film_files.write_zip(tmp_path / "empty.zip", {"README": b"hello"}))
    assert "no u.data and u.item or ml-100k.inter and ml-100k.item" in text
    assert str(tmp_path) in failure(tmp_path)


def test_a_file_that_is_no_archive(tmp_path):
    path = tmp_path / "ml-100k.zip"
    path.write_bytes(b"<html>not found</html>")
    assert "cannot be read as a zip archive" in failure(path)


def test_large_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE", 100)
    assert "u.data is larger" in failure(film_files.write_zip(tmp_path / "bomb.zip", FILES))
    assert "larger" in failure(film_files.write_folder(tmp_path / "folder", FILES))
    monkeypatch.setattr(sources, "MAX_ARCHIVE", 10)
    assert "larger" in failure(tmp_path / "bomb.zip")


def test_two_members_of_one_name_are_refused(tmp_path):
    archive = film_files.write_zip(
        tmp_path / "two.zip", {"u.data": b"", "b/u.data": b"", "u.item": b""}
    )
    assert "2 files named u.data" in failure(archive)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 400), st.binary(max_size=8), st.integers(0, 8))
def test_damaged_archives_give_a_result_or_a_clear_error(tmp_path_factory, start, new, size):
    path = film_files.write_zip(tmp_path_factory.getbasetemp() / "fuzz.zip", FILES)
    data = path.read_bytes()
    path.write_bytes(data[:start] + new + data[start + size :])
    with film_files.clear_errors():
        found = read_source(path, CHOICES)
        assert [file.name for file in found] == list(GROUPLENS)

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from datasets import film_files
from hypothesis import given, settings
from hypothesis import strategies as st

from recsae.datasets import available, canonical, prepare, prepared, read_dataset, read_truth
from recsae.errors import DataError, MissingStageError, UsageError
from recsae.warehouse.marks import own_folder

SMALL = {"users": 40, "items": 80, "concepts": 4, "noise_tags": 3}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    prepare("planted", folder, **SMALL)
    return folder


@pytest.fixture
def copy(small, tmp_path):
    shutil.copytree(small, tmp_path / "data")
    return tmp_path / "data"


def test_names_and_nearest_names(tmp_path):
    assert available()[:4] == ["ml-100k", "ml-1m", "lastfm-2k", "planted"]
    assert available()[4:] == ["amazon", "rechorus", "csv", "parquet"]
    with pytest.raises(UsageError) as caught:
        prepare("ml100k", tmp_path)
    assert caught.value.hint == "did you mean ml-100k?"
    with pytest.raises(UsageError) as caught:
        prepare("zzz", tmp_path)
    assert caught.value.hint.startswith("there are ml-100k, ml-1m, lastfm-2k")


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("planted", {"min_rating": 4}, "planted takes no --min-rating"),
        ("ml-100k", {"noise_tags": 4}, "ml-100k takes no --noise-tags"),
        ("ml-100k", {"stored_as": "films"}, "ml-100k takes no --name"),
        ("planted", {"stored_as": "ml-100k"}, "another data set"),
        ("planted", {"stored_as": "../x"}, "cannot be used as a folder name"),
        ("rechorus", {}, "rechorus needs --source"),
        ("csv", {"source": Path(__file__)}, "csv needs a name"),
        ("parquet", {"source": Path(__file__), "separator": "tab"}, "takes no --separator"),
        ("ml-1m", {"items_file": Path(__file__)}, "ml-1m takes no file of items"),
        ("csv", {"items_file": Path("gone"), "source": Path(__file__)}, "--items gone does not"),
        ("lastfm-2k", {"source": Path(__file__), "min_rating": 4}, "takes no --min-rating"),
    ],
)
def test_options_that_do_not_belong(name, options, named, tmp_path):
    with pytest.raises(UsageError) as caught:
        prepare(name, tmp_path / "data", **options)
    assert named in caught.value.message
    assert not (tmp_path / "data").exists()


def test_sources_that_do_not_belong(tmp_path):
    with pytest.raises(UsageError) as caught:
        prepare("ml-100k", tmp_path, source=tmp_path / "gone.zip")
    assert "gone.zip does not exist" in caught.value.message
    with pytest.raises(UsageError) as caught:
        prepare("planted", tmp_path, source=tmp_path)
    assert "takes no --source" in caught.value.message


def test_done_already_is_left_alone(copy):
    heard = []
    before = (copy / "planted" / canonical.INFO).stat()
    assert prepare("planted", copy, report=heard.append, **SMALL) == copy / "planted"
    assert heard == ["planted is prepared already; --force prepares it again"]
    assert (copy / "planted" / canonical.INFO).stat().st_mtime_ns == before.st_mtime_ns
    prepare("planted", copy, force=True, **SMALL)
    assert (copy / "planted" / canonical.INFO).stat().st_ino != before.st_ino


def test_other_options_prepare_again(copy):
    heard = []
    prepare("planted", copy, report=heard.append, **{**SMALL, "seed": 5})
    assert heard[0] == "planted was prepared with other options; preparing it again"
    assert read_dataset("planted", copy).info["options"]["seed"] == 5


def test_several_side_by_side(copy):
    prepare("planted", copy, stored_as="second", **{**SMALL, "seed": 2})
    assert prepared(copy) == ["planted", "second"]
    assert read_dataset("second", copy).name == "second"


def test_reading_what_is_not_prepared(tmp_path):
    with pytest.raises(MissingStageError) as caught:
        read_dataset("ml-100k", tmp_path)
    assert caught.value.hint == "recsae data prepare ml-100k"
    with pytest.raises(UsageError):
        read_dataset("../ml-100k", tmp_path)


@pytest.mark.parametrize("file", sorted(canonical.FILE_NAMES))
@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "folder"])
def test_damage_is_named_and_mended(copy, file, how):
    path = copy / "planted" / file
    data = path.read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how != "missing":
        path.write_bytes(data[: len(data) // 2] if how == "truncated" else b"")
    with pytest.raises(DataError) as caught:
        read_dataset("planted", copy)
    assert str(path) in caught.value.message
    assert caught.value.hint == "recsae data prepare planted --force"
    prepare("planted", copy, force=True, **SMALL)
    assert path.read_bytes() == data


def test_damage_is_mended_without_force_too(copy):
    path = copy / "planted" / "items.parquet"
    path.write_bytes(b"no")
    heard = []
    prepare("planted", copy, report=heard.append, **SMALL)
    assert "preparing it again" in heard[0]
    read_dataset("planted", copy)


@pytest.mark.parametrize(
    "edit",
    [
        {"fingerprint": "0" * 64},
        {"format_version": 99},
        {"files": {}},
        {"files": None},
        {"counts": None, "fingerprint": None},
    ],
)
def test_an_edited_description_is_noticed(copy, edit):
    path = copy / "planted" / canonical.INFO
    path.write_text(json.dumps({**json.loads(path.read_text()), **edit}))
    with pytest.raises(DataError) as caught:
        read_dataset("planted", copy)
    assert caught.value.hint == "recsae data prepare planted --force"


def test_an_exchanged_table_is_noticed(copy):
    prepare("planted", copy, stored_as="other", **{**SMALL, "seed": 9})
    info = copy / "planted" / canonical.INFO
    shutil.copy(copy / "other" / "items.parquet", copy / "planted")
    edited = json.loads(info.read_text())
    edited["files"] |= {
        "items.parquet": json.loads((copy / "other" / canonical.INFO).read_text())["files"][
            "items.parquet"
        ]
    }
    info.write_text(json.dumps(edited))
    with pytest.raises(DataError, match="fingerprint"):
        read_dataset("planted", copy)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_damage_is_an_error_or_harmless(small, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(small / "planted", folder / "planted")
    path = folder / "planted" / data.draw(st.sampled_from(sorted(canonical.FILE_NAMES)))
    old = path.read_bytes()
    start = data.draw(st.integers(0, len(old)))
    size = data.draw(st.integers(0, 4))
    path.write_bytes(old[:start] + data.draw(st.binary(max_size=4)) + old[start + size :])
    with film_files.clear_errors():
        read = read_dataset("planted", folder)
        assert read.items.equals(read_dataset("planted", small).items)


def test_truth_is_for_planted_data(toy, tmp_path):
    prepare("ml-100k", tmp_path / "data", source=toy)
    with pytest.raises(DataError, match="no planted concepts"):
        read_truth("ml-100k", tmp_path / "data")


def test_a_full_disk_leaves_the_old_data(copy, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = read_dataset("planted", copy).fingerprint
    monkeypatch.setattr(canonical, "write", full)
    with pytest.raises(DataError) as caught:
        prepare("planted", copy, force=True, **SMALL)
    assert caught.value.message == f"cannot prepare planted in {copy}: No space left on device"
    assert read_dataset("planted", copy).fingerprint == before
    assert names(copy / ".recsae" / "tmp") == []


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as caught:
        prepare("planted", tmp_path / "file" / "data", **SMALL)
    assert str(tmp_path / "file" / "data") in caught.value.message
    (tmp_path / "planted").write_text("mine")
    with pytest.raises(DataError, match="is a file"):
        prepare("planted", tmp_path, **SMALL)


def test_a_folder_of_the_user_is_never_replaced(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "data" / "ml-100k")
    with pytest.raises(DataError) as caught:
        prepare("ml-100k", tmp_path / "data", source=tmp_path / "data" / "ml-100k", force=True)
    assert "not a prepared data set" in caught.value.message
    assert (tmp_path / "data" / "ml-100k" / "u.data").exists()


def test_leftovers_of_killed_processes_go_away(copy):
    for name in ("planted.0dead000", "planted.1dead111"):
        folder = own_folder(copy / ".recsae", f"tmp/{name}")
        (folder / "prepared" / "users.parquet").mkdir(parents=True)
    (copy / ".recsae" / "tmp" / "planted.2dead222").mkdir()  # killed before it was marked
    (copy / ".recsae" / "tmp" / "planted.2dead222.lock").touch()
    prepare("planted", copy, force=True, **SMALL)
    assert names(copy / ".recsae" / "tmp") == []


def test_several_at_once_do_not_disturb_each_other(tmp_path):
    heard = []

    def one(_):
        return prepare("planted", tmp_path, report=heard.append, **SMALL)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(one, range(4))) == {tmp_path / "planted"}
    read_dataset("planted", tmp_path)
    assert sum("already" in line for line in heard) == 3


def test_source_checksums_and_names_are_recorded_without_paths(toy, tmp_path):
    place = prepare("ml-100k", tmp_path / "data", source=toy)
    text = (place / canonical.INFO).read_text()
    assert str(tmp_path) not in text
    sources = json.loads(text)["sources"]
    assert [one["file"] for one in sources] == ["u.data", "u.item"]
    assert all(one["route"] == "source" and len(one["sha256"]) == 64 for one in sources)


def test_importing_loads_no_torch():
    code = "import recsae.datasets, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

from __future__ import annotations

import hashlib
import io
import subprocess
import urllib.error

import pytest
from datasets import film_files

from recsae.datasets import fetch, movielens, prepare, read_dataset
from recsae.errors import DataError


@pytest.fixture
def online(monkeypatch):
    monkeypatch.delenv("RECSAE_OFFLINE")


def no_server(url, timeout):
    assert timeout <= 30
    raise urllib.error.URLError("timed out")


def pip_that(wheel, code=0, stderr=""):
    def run(command, **_):
        folder = command[command.index("--dest") + 1]
        if wheel is not None:
            with open(f"{folder}/recbole-1.2.1-py3-none-any.whl", "wb") as file:
                file.write(wheel)
        return subprocess.CompletedProcess(command, code, "", stderr)

    return run


def archive(tmp_path, files, inside):
    return film_files.write_zip(tmp_path / "made.zip", files, inside).read_bytes()


def by_hand(tmp_path):
    with pytest.raises(DataError) as caught:
        prepare("ml-100k", tmp_path / "data")
    text = caught.value.message
    assert "\n" not in text
    assert fetch.GROUPLENS_URL in text
    assert "--source FILE" in text
    return text


def test_offline_says_what_to_download(tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", None)
    monkeypatch.setattr("subprocess.run", None)
    assert "RECSAE_OFFLINE" in by_hand(tmp_path)


def test_both_routes_failing_gives_both_reasons(tmp_path, monkeypatch, online):
    monkeypatch.setattr("urllib.request.urlopen", no_server)
    monkeypatch.setattr("subprocess.run", pip_that(None, 1, "trying\nERROR: no index\n"))
    text = by_hand(tmp_path)
    assert "timed out" in text
    assert "ERROR: no index" in text


def test_the_archive_of_grouplens(tmp_path, monkeypatch, online, toy):
    files = {name: (toy / name).read_bytes() for name in movielens.GROUPLENS}
    data = archive(tmp_path, files, "ml-100k/")
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(data))
    monkeypatch.setattr(fetch, "GROUPLENS_SHA256", hashlib.sha256(data).hexdigest())
    prepare("ml-100k", tmp_path / "data")
    dataset = read_dataset("ml-100k", tmp_path / "data")
    assert {one["route"] for one in dataset.info["sources"]} == {"grouplens"}
    assert dataset.info["sources"][0]["file"] == "ml-100k.zip"
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == [".recsae", "ml-100k"]


def test_the_wheel_comes_second(tmp_path, monkeypatch, online, toy):
    files = {name: (toy / "recbole" / name).read_bytes() for name in movielens.RECBOLE}
    data = archive(tmp_path, files, "recbole/dataset_example/ml-100k/")
    monkeypatch.setattr("urllib.request.urlopen", no_server)
    monkeypatch.setattr("subprocess.run", pip_that(data))
    monkeypatch.setattr(fetch, "RECBOLE_SHA256", hashlib.sha256(data).hexdigest())
    heard = []
    prepare("ml-100k", tmp_path / "data", report=heard.append)
    dataset = read_dataset("ml-100k", tmp_path / "data")
    assert {one["route"] for one in dataset.info["sources"]} == {"recbole"}
    assert any("timed out" in line for line in heard)


def test_a_download_with_another_checksum_is_refused(tmp_path, monkeypatch, online):
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(b"other"))
    monkeypatch.setattr("subprocess.run", pip_that(b"other"))
    text = by_hand(tmp_path)
    assert "ml-100k.zip has the SHA-256" in text
    assert "recbole-1.2.1-py3-none-any.whl has the SHA-256" in text


def test_no_pip_and_a_slow_pip(tmp_path, monkeypatch, online):
    monkeypatch.setattr("urllib.request.urlopen", no_server)

    def slow(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr("subprocess.run", slow)
    assert "TimeoutExpired" in by_hand(tmp_path)

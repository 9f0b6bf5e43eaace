from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from datasets import film_files

from recsae.datasets import canonical, movielens
from recsae.datasets.movielens import ML100KOptions
from recsae.datasets.sources import SourceFile
from recsae.datasets.split import build

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSAE_OFFLINE", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the public data sets; the test is skipped where there is none."""
    folder = Path(os.environ.get("RECSAE_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "ml-100k" / "ml-100k.inter").is_file():
        pytest.skip("no ml-100k in RECSAE_TEST_DATA")
    return folder


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Path]:
    """Folder with small files in both forms; the reader takes them for the whole of MovieLens."""
    films, ratings = film_files.toy_films(), film_files.toy_ratings()
    source = film_files.write_folder(tmp_path / "toy", film_files.grouplens_files(films, ratings))
    film_files.write_folder(source / "recbole", film_files.recbole_files(films, ratings))
    with mock.patch.dict(movielens.EXPECTED, film_files.EXPECTED):
        files = [SourceFile(n, (source / n).read_bytes()) for n in movielens.GROUPLENS]
        options = ML100KOptions()
        tables, _ = build(movielens.read(files, options), options.core)
        with mock.patch.object(movielens, "FINGERPRINT", canonical.fingerprint(tables)):
            yield source

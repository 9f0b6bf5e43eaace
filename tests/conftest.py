"""What tests of every part share: an empty warehouse, small runs in it, and the command line."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import polars as pl
import pytest

from recsae.warehouse import Warehouse, temp_folder
from recsae.warehouse.publish import refresh_views

if TYPE_CHECKING:
    from faults.forked import Forker
    from stages.finished import Finished

ENVIRONMENT = (
    "RECSAE_WAREHOUSE",
    "RECSAE_DATA",
    "RECSAE_MEMORY",
    "RECSAE_TRACEBACK",
    "FORCE_COLOR",
    "NO_COLOR",
)
RUN = {"dataset": "toy", "data_fingerprint": "f0", "seed": 1}
CASES: dict[str, Any] = {
    "case_id": pl.Int64,
    "user_id": pl.Int32,
    "position": pl.Int32,
    "split": pl.String,
}
RECOMMENDATIONS: dict[str, Any] = {
    "case_id": pl.Int64,
    "rank": pl.Int32,
    "item_id": pl.Int32,
    "score": pl.Float32,
}
ACTIVATIONS: dict[str, Any] = {
    "latent_id": pl.Int32,
    "case_id": pl.Int64,
    "user_id": pl.Int32,
    "item_id": pl.Int32,
    "value": pl.Float32,
}


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option comes from outside, and a terminal is 80 columns wide."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture(scope="session")
def empty_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once and copied, because making the catalog takes a while."""
    root = tmp_path_factory.mktemp("template") / "warehouse"
    with Warehouse.open(root, create=True):
        pass
    return root


@pytest.fixture
def root(empty_warehouse: Path, tmp_path: Path) -> Path:
    """Folder of an empty warehouse of the test's own."""
    return copied(empty_warehouse, tmp_path / "warehouse")


def copied(source: Path, folder: Path) -> Path:
    """A copy that takes itself for the original, so that it opens without a new catalog."""
    shutil.copytree(source, folder)
    with duckdb.connect(str(folder / "recsae.duckdb")) as connection:
        connection.execute(
            "update raw.meta set value = $root where key = 'root'", {"root": str(folder.resolve())}
        )
    return folder


class Maker:
    """Makes finished runs with Parquet files of a few rows."""

    def start(self, warehouse: Warehouse, run_id: str, parent: str | None = None) -> None:
        warehouse.start_run(
            run_id,
            kind="sae" if parent else "recommender",
            model="sae" if parent else "bprmf",
            params={"n_latents": 4},
            parent_run_id=parent,
            replace=True,
            **RUN,
        )

    def recommender(self, warehouse: Warehouse, run_id: str = "rec-1", n_cases: int = 3) -> None:
        """A finished recommender: users 1.. with one case each and one recommendation, item 7."""
        self.start(warehouse, run_id)
        warehouse.start_stage(run_id, "train", {}, "h1")
        self.publish(warehouse, run_id, n_cases)
        warehouse.finish_run(run_id, 2.5)

    def publish(self, warehouse: Warehouse, run_id: str, n_cases: int = 3) -> None:
        with temp_folder(warehouse.root, run_id) as temp:
            warehouse.publish(run_id, "train", self.folders(temp, n_cases), seconds=1.0)

    def sae(
        self, warehouse: Warehouse, run_id: str = "sae-1", parent: str = "rec-1", n: int = 2
    ) -> None:
        """A finished autoencoder whose latent 0 fires on cases 0.. with values 1, 2, ..."""
        self.start(warehouse, run_id, parent)
        warehouse.start_stage(run_id, "train", {}, "h2")
        warehouse.finish_stage(run_id, "train", seconds=1.0)
        warehouse.finish_run(run_id, 1.0)
        warehouse.start_stage(run_id, "encode", {}, "h3")
        with temp_folder(warehouse.root, run_id) as temp:
            rows = [(0, case, case + 1, 7, float(case + 1)) for case in range(n)]
            folder = self.write(temp / "activations", rows, ACTIVATIONS)
            warehouse.publish(run_id, "encode", {"activations": folder}, seconds=1.0)

    def folders(self, temp: Path, n_cases: int = 3) -> dict[str, Path]:
        """Folders as the training stage of a recommender publishes them."""
        cases = [(case, case + 1, 5, "test") for case in range(n_cases)]
        best = [(case, 1, 7, 0.5) for case in range(n_cases)]
        return {
            "cases": self.write(temp / "cases", cases, CASES),
            "recommendations": self.write(temp / "recommendations", best, RECOMMENDATIONS),
        }

    def write(
        self, folder: Path, rows: Sequence[tuple[object, ...]], schema: Mapping[str, Any]
    ) -> Path:
        folder.mkdir(parents=True)
        frame = pl.DataFrame(list(rows), schema=dict(schema), orient="row")
        frame.write_parquet(folder / "part-0.parquet")
        return folder


@pytest.fixture(scope="session")
def make() -> Maker:
    return Maker()


@pytest.fixture(scope="session")
def filled_warehouse(
    empty_warehouse: Path, make: Maker, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The recommenders rec-1 (3 cases) and rec-2 (4), and sae-1 of rec-1; not to be changed."""
    root = copied(empty_warehouse, tmp_path_factory.mktemp("filled") / "warehouse")
    with Warehouse.open(root) as warehouse:
        make.recommender(warehouse, "rec-1", 3)
        make.recommender(warehouse, "rec-2", 4)
        make.sae(warehouse)
    return root


@pytest.fixture
def filled(filled_warehouse: Path, tmp_path: Path) -> Path:
    """A copy of that warehouse for a test of its own."""
    root = copied(filled_warehouse, tmp_path / "warehouse")
    with Warehouse.open(root) as warehouse, warehouse.transaction():
        refresh_views(warehouse)
    return root


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The planted data set run through all stages; not to be changed."""
    from stages.finished import finished

    return finished(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, whole: Finished) -> Path:
    """Where the pipeline of the session is."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    """Commands in processes of their own, which start at once."""
    from faults.forked import forker

    with forker(tmp_path_factory.mktemp("forked") / "texts") as one:
        yield one


@pytest.fixture
def own(whole: Finished, tmp_path: Path) -> Finished:
    """A copy of it for a test of its own."""
    from stages.finished import copied

    return copied(whole, tmp_path / "warehouse")


class Result(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run ``recsae WORDS`` in this process; ``stdin`` is what it reads there."""
    from recsae.cli import invoke

    def run(*words: object, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsysbinary.readouterr()
        code = invoke([str(word) for word in words])
        out, err = capsysbinary.readouterr()
        return Result(int(code), out.decode("utf-8", "surrogateescape"), err.decode())

    return run

"""The built wheel, installed outside the checkout: it starts, finds its .sql files, and queries.

Its dependencies are not installed again; the new environment sees those of the present one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import recsae

pytestmark = pytest.mark.wheel

REPOSITORY = Path(recsae.__file__).parents[1]


def run(*words: str | Path, cwd: Path) -> str:
    """Output of a command that has to succeed, without any setting of the checkout."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, cwd=cwd, env=kept
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as a release is."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, REPOSITORY, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of a new environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    installed = Path(run(programs / "python", "-c", SITE, cwd=folder).strip())
    pip = [sys.executable, "-m", "pip", "--python", programs / "python"]
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    # a path alone, so that .pth files there (an editable checkout) are not followed
    (installed / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return programs


SITE = "import sysconfig; print(sysconfig.get_paths()['purelib'])"


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*/*.sql"))
    }


def test_the_wheel_has_every_sql_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name.removeprefix("recsae/sql/"): archive.read(name).decode()
            for name in archive.namelist()
            if name.startswith("recsae/sql/")
        }
        others = {name.partition("/")[0] for name in archive.namelist()}
    assert packed == tree(REPOSITORY / "sql")
    assert others == {"recsae", f"recsae-{recsae.__version__}.dist-info"}


def test_the_wheel_has_every_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.endswith(".py")}
    package = REPOSITORY / "recsae"
    assert packed == {path.relative_to(REPOSITORY).as_posix() for path in package.rglob("*.py")}


def test_it_runs_from_where_it_is_installed(environment: Path, tmp_path: Path) -> None:
    recsae_command = environment / "recsae"
    assert run(recsae_command, "--version", cwd=tmp_path) == f"recsae {recsae.__version__}\n"
    assert "query" in run(recsae_command, "--help", cwd=tmp_path)
    place = "from recsae.warehouse.sql import sql_folder; print(sql_folder())"
    folder = Path(run(environment / "python", "-c", place, cwd=tmp_path).strip())
    assert folder.is_relative_to(environment.parent.resolve())
    assert tree(folder) == tree(REPOSITORY / "sql")


def test_it_queries_a_warehouse(environment: Path, tmp_path: Path, filled_warehouse: Path) -> None:
    place = ("--warehouse", filled_warehouse, "--format", "csv")
    words = ("select count(*) as n from raw.activations", *place)
    assert run(environment / "recsae", "query", *words, cwd=tmp_path) == "n\n2\n"
    shares = ("-p", "construct_share", "1", "-p", "heldout_share", "0")
    words = ("staging.user_sides", "-p", "run_id", "latest", "-p", "seed", "0", *shares, *place)
    assert "sae-1,1,construct,false" in run(environment / "recsae", "query", *words, cwd=tmp_path)

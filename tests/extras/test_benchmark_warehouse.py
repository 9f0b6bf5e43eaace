"""benchmarks/warehouse.py makes a warehouse that is whole enough to be asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import recsae
from recsae.warehouse import Warehouse

SCRIPT = Path(recsae.__file__).parents[1] / "benchmarks" / "warehouse.py"


def test_a_small_warehouse_is_made_and_asked(tmp_path: Path) -> None:
    if not SCRIPT.is_file():
        pytest.skip("the benchmarks are not here")
    root = tmp_path / "warehouse"
    words = ["--rows", "20000", "--latents", "64", "--keep", str(root), "--only", "latent RUN 32"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = [one for one in done.stdout.splitlines() if one.startswith("recsae latent RUN 32")]
    assert len(line.split()) == 8, line
    with Warehouse.open(root, read_only=True) as warehouse:
        assert warehouse.sql("select count(*) from raw.activations").item() == 20_000
        shown = warehouse.sql("select count(distinct concept) as n from user_latents")
        assert shown["n"].item() > 10

"""harlequin, an SQL editor for the terminal, opens a warehouse read-only where it is installed."""

from __future__ import annotations

from typing import Any

import pytest
from stages.finished import Finished

harlequin_duckdb: Any = pytest.importorskip("harlequin_duckdb")


def test_harlequin_reads_a_warehouse_and_does_not_write(own: Finished) -> None:
    path = own.root / "recsae.duckdb"
    before = path.read_bytes()
    adapter = harlequin_duckdb.DuckDbAdapter((str(path),), read_only=True)
    connection = adapter.connect()
    found = connection.execute("select run_id, count(*) as n from latents group by all")
    assert [name for name, _ in found.columns()] == ["run_id", "n"]
    assert found.fetchall().to_pylist() == [{"run_id": own.sae, "n": 64}]
    with pytest.raises(Exception, match="read-only"):
        connection.execute("create table mine (i integer)")
    connection.close()
    assert path.read_bytes() == before

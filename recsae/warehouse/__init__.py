"""The warehouse that every stage reads from and writes to; plain SQL opens it too."""

from recsae.warehouse.files import run_folder, run_lock, temp_folder
from recsae.warehouse.runs import Run, StageState
from recsae.warehouse.sql import Query, load, queries
from recsae.warehouse.store import Warehouse

__all__ = [
    "Query",
    "Run",
    "StageState",
    "Warehouse",
    "load",
    "queries",
    "run_folder",
    "run_lock",
    "temp_folder",
]

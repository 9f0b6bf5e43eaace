"""Data sets: one reader per source, each ending in the same four Parquet tables."""

from recsae.datasets.canonical import Dataset, prepared, read_dataset, read_info, read_truth
from recsae.datasets.prepare import available, prepare

__all__ = [
    "Dataset",
    "available",
    "prepare",
    "prepared",
    "read_dataset",
    "read_info",
    "read_truth",
]

"""Vectors of users and items that another program made: reading, checking, matching with data."""

from recsae.vectors.files import read_bias, read_vectors
from recsae.vectors.matching import Matched, match
from recsae.vectors.table import VectorTable, table_of

__all__ = ["Matched", "VectorTable", "match", "read_bias", "read_vectors", "table_of"]

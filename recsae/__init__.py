"""recsae opens up recommender models with sparse autoencoders.

Stages, in order, each meeting the next only in the warehouse:
``data prepare -> train -> sae train -> sae encode -> concepts -> confidence -> report``.
``recsae.Warehouse`` runs them from Python. Importing this package loads nothing heavy; its names
are loaded when they are used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recsae.api import Warehouse
    from recsae.errors import RecsaeError
    from recsae.sae.model import SAE

__version__ = "0.1.0"
__all__ = ["RecsaeError", "SAE", "Warehouse", "__version__"]

_HOMES = {"RecsaeError": "recsae.errors", "SAE": "recsae.sae.model", "Warehouse": "recsae.api"}
"""Public name -> module that has it."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

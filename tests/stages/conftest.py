"""The finished pipeline as fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
from stages.finished import Finished, copied, finished


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The planted data set run through all stages; not to be changed."""
    return finished(tmp_path_factory.getbasetemp())


@pytest.fixture
def own(whole: Finished, tmp_path: Path) -> Finished:
    """A copy of it for a test of its own."""
    return copied(whole, tmp_path / "warehouse")

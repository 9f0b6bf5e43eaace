"""What the fault suite shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.forked import Forker, forker
from stages.finished import Finished


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, whole: Finished) -> Path:
    """Where the pipeline of the session is."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="session")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    with forker(tmp_path_factory.mktemp("forked") / "texts") as one:
        yield one

"""Where the reference's weights and interactions are, for the tests that need them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder ``rechorus``; the test is skipped where there is none."""
    folder = Path(os.environ.get("RECSAE_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "rechorus" / "checkpoints").is_dir():
        pytest.skip("no rechorus/checkpoints in RECSAE_TEST_DATA")
    return folder / "rechorus"

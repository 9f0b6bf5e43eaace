"""Which settings a k gets when none are given."""

from __future__ import annotations

import pytest

from recsae.config import SAEConfig
from recsae.errors import UsageError
from recsae.sae.presets import RATES, preset


@pytest.mark.parametrize("k", RATES)
def test_a_measured_k_has_its_own_rate(k: int) -> None:
    assert preset(k) == SAEConfig(k=k, lr=RATES[k])


@pytest.mark.parametrize(("k", "like"), [(1, 4), (5, 4), (6, 8), (12, 16), (20, 16), (500, 32)])
def test_another_k_has_the_rate_of_the_nearest(k: int, like: int) -> None:
    assert preset(k) == SAEConfig(k=k, lr=RATES[like])


def test_no_k_is_the_default() -> None:
    assert preset(None) == SAEConfig()


@pytest.mark.parametrize("k", [0, -3])
def test_a_k_that_cannot_be_is_refused(k: int) -> None:
    with pytest.raises(UsageError, match=f"--k is {k}"):
        preset(k)

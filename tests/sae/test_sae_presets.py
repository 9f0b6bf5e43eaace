"""Which settings a k and a scale get when none are given."""

from __future__ import annotations

import pytest

from recsae.config import SAEConfig
from recsae.errors import UsageError
from recsae.sae.presets import PRESETS, preset, with_preset


@pytest.mark.parametrize(("k", "scale"), PRESETS)
def test_what_was_measured_has_its_own(k: int, scale: int) -> None:
    lr, revival = PRESETS[k, scale]
    found = with_preset(SAEConfig(k=k, scale=scale))
    assert found == SAEConfig(k=k, scale=scale, lr=lr, revival=revival)


@pytest.mark.parametrize(
    ("k", "scale", "like"),
    [
        (1, 16, (4, 16)),
        (5, 16, (4, 16)),
        (6, 32, (8, 32)),
        (12, 16, (16, 16)),
        (20, 32, (16, 32)),
        (500, 16, (32, 16)),
        (16, 1, (16, 16)),
        (16, 22, (16, 16)),
        (16, 23, (16, 32)),
        (16, 1000, (16, 32)),
    ],
)
def test_others_have_those_of_the_nearest(k: int, scale: int, like: tuple[int, int]) -> None:
    assert preset(k, scale) == PRESETS[like]


def test_an_open_scale_counts_as_that_of_many_vectors() -> None:
    assert with_preset(SAEConfig()) == SAEConfig(lr=PRESETS[8, 16].lr, revival="auxk")


def test_what_is_given_stays() -> None:
    own = SAEConfig(k=4, scale=16, lr=1e-3)
    assert with_preset(own) == SAEConfig(k=4, scale=16, lr=1e-3, revival="restarts")
    own = SAEConfig(k=4, scale=16, revival="none")
    assert with_preset(own) == SAEConfig(k=4, scale=16, lr=PRESETS[4, 16].lr, revival="none")
    assert with_preset(with_preset(own)) == with_preset(own)


@pytest.mark.parametrize("of_auxk", [{"aux_weight": 0.1}, {"dead_after": 1.0}])
def test_who_sets_something_of_auxk_gets_it(of_auxk: dict[str, float]) -> None:
    found = with_preset(SAEConfig(k=4).with_options(**of_auxk))
    assert (found.revival, found.lr) == ("auxk", PRESETS[4, 16].lr)


@pytest.mark.parametrize("k", [0, -3])
def test_a_k_that_cannot_be_is_refused(k: int) -> None:
    with pytest.raises(UsageError, match=f"--k is {k}"):
        SAEConfig(k=k)

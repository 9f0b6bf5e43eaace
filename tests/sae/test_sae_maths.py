"""The fast path against the plain dense formulas of section 4.1 of the paper, in float64.

z     = TopK_k(ReLU(W_enc (x - b_dec) + b_enc))
x_hat = z W_dec + b_dec
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sae.toy_vectors import random_sae, random_vectors
from torch import Tensor

from recsae.errors import UsageError
from recsae.sae.model import SAE, Encoding, auxk_loss, differentiate_auxk_, fvu

many = settings(deadline=None, max_examples=60)
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


@st.composite
def problems(draw: st.DrawFn) -> tuple[SAE, Tensor]:
    """An autoencoder of any size, k = 1 and k = h included, and a batch of at least two."""
    d, h = draw(st.integers(1, 7)), draw(st.integers(1, 12))
    k = draw(st.sampled_from([1, h]) | st.integers(1, h))
    sae = random_sae(d, h, k, seed=draw(st.integers(0, 10**6))).double()
    x = random_vectors(draw(st.integers(2, 9)), d, seed=draw(st.integers(0, 10**6))).double()
    return sae, x


def dense_latents(sae: SAE, x: Tensor, topk_first: bool = False) -> Tensor:
    """z, dense (b, h), with gradient; TopK of ReLU, or ReLU of TopK."""
    pre = (x - sae.b_dec) @ sae.W_enc.T + sae.b_enc
    values, indices = (pre if topk_first else pre.relu()).topk(sae.k, dim=1)
    return torch.zeros_like(pre).scatter(1, indices, values).relu()


def dense_auxk(sae: SAE, x: Tensor, x_hat: Tensor, dead: Tensor, most: int | None = None) -> Tensor:
    """The strongest dead latents of each row, d/2 of them by default, rebuild x - x_hat."""
    residual = x.detach() - x_hat.detach()
    pre = (x - sae.b_dec) @ sae.W_enc.T + sae.b_enc
    total = torch.zeros((), dtype=x.dtype)
    for row, left in zip(pre, residual, strict=True):
        ranked = sorted(dead.nonzero()[:, 0].tolist(), key=lambda i: -row[i].item())
        chosen = ranked[: most or max(sae.d // 2, 1)]
        rebuilt = sum((row[i].relu() * sae.W_dec[i] for i in chosen), torch.zeros_like(left))
        total = total + (left - rebuilt).square().sum()
    return total / residual.square().sum()


def gradients(sae: SAE, loss: Tensor) -> list[Tensor]:
    weights = list(sae.parameters())
    found = torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)
    pairs = zip(found, sae.parameters(), strict=True)
    return [torch.zeros_like(p) if gradient is None else gradient for gradient, p in pairs]


def as_dense(encoding: Encoding, h: int) -> Tensor:
    values, indices = encoding
    return torch.zeros(len(values), h, dtype=values.dtype).scatter(1, indices, values)


@many
@given(problem=problems())
def test_latents_and_reconstruction(problem: tuple[SAE, Tensor]) -> None:
    sae, x = problem
    encoding = sae.encode_normalised(x)
    assert encoding.values.shape == encoding.indices.shape == (len(x), sae.k)
    z = dense_latents(sae, x)
    torch.testing.assert_close(as_dense(encoding, sae.h), z, **CLOSE)
    torch.testing.assert_close(sae.decode_normalised(encoding), z @ sae.W_dec + sae.b_dec, **CLOSE)
    torch.testing.assert_close(as_dense(sae.encode(x), sae.h), z.detach(), **CLOSE)


@many
@given(problem=problems())
def test_gradients_of_the_loss(problem: tuple[SAE, Tensor]) -> None:
    sae, x = problem
    fast = fvu(x, sae.decode_normalised(sae.encode_normalised(x)))
    dense_hat = dense_latents(sae, x) @ sae.W_dec + sae.b_dec
    plain = (x - dense_hat).square().sum() / (x - x.mean(0)).square().sum()
    torch.testing.assert_close(fast, plain, **CLOSE)
    for ours, theirs in zip(gradients(sae, fast), gradients(sae, plain), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@many
@given(problem=problems(), spread=st.floats(0.1, 10))
def test_the_hand_written_gradient(problem: tuple[SAE, Tensor], spread: float) -> None:
    """Reconstruction, encoding, and the gradient of the FVU by all weights."""
    sae, x = problem
    dense_hat = dense_latents(sae, x) @ sae.W_dec + sae.b_dec
    plain = gradients(sae, (x - dense_hat).square().sum() / (spread * len(x)))
    x_hat, encoding = sae.differentiate_(x, spread)
    torch.testing.assert_close(x_hat, dense_hat, **CLOSE)
    torch.testing.assert_close(as_dense(encoding, sae.h), dense_latents(sae, x), **CLOSE)
    for weights, expected in zip(sae.parameters(), plain, strict=True):
        assert weights.grad is not None
        torch.testing.assert_close(weights.grad, expected, **CLOSE)


@many
@given(problem=problems())
def test_topk_then_relu_is_relu_then_topk(problem: tuple[SAE, Tensor]) -> None:
    sae, x = problem
    one, other = dense_latents(sae, x, True), dense_latents(sae, x, False)
    torch.testing.assert_close(one, other, **CLOSE)
    weights = random_vectors(len(x), sae.h).double()
    pairs = zip(
        gradients(sae, (one * weights).sum()), gradients(sae, (other * weights).sum()), strict=True
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, **CLOSE)


@many
@given(problem=problems(), data=st.data())
def test_auxk_and_its_gradients(problem: tuple[SAE, Tensor], data: st.DataObject) -> None:
    sae, x = problem
    dead = torch.tensor(data.draw(st.lists(st.booleans(), min_size=sae.h, max_size=sae.h)))
    if not dead.any():
        dead[data.draw(st.integers(0, sae.h - 1))] = True
    x_hat = sae.decode_normalised(sae.encode_normalised(x))
    fast, plain = auxk_loss(sae, x, x_hat, dead), dense_auxk(sae, x, x_hat, dead)
    torch.testing.assert_close(fast, plain, **CLOSE)
    for ours, theirs in zip(gradients(sae, fast), gradients(sae, plain), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)
    _, _, decoder, _ = gradients(sae, fast)
    assert not decoder[~dead].any(), "AuxK trains dead latents only"


@many
@given(
    problem=problems(),
    data=st.data(),
    weight=st.floats(0.01, 2),
    most=st.none() | st.integers(1, 5),
)
def test_the_hand_written_gradient_of_auxk(
    problem: tuple[SAE, Tensor], data: st.DataObject, weight: float, most: int | None
) -> None:
    """It is added to what is there."""
    sae, x = problem
    dead = torch.tensor(data.draw(st.lists(st.booleans(), min_size=sae.h, max_size=sae.h)))
    dead[data.draw(st.integers(0, sae.h - 1))] = True
    x_hat = sae.decode_normalised(sae.encode_normalised(x)).detach()
    plain = gradients(sae, weight * dense_auxk(sae, x, x_hat, dead, most))
    for weights in sae.parameters():
        weights.grad = torch.ones_like(weights)
    differentiate_auxk_(sae, x, x_hat, dead, weight, most)
    for weights, expected in zip(sae.parameters(), plain, strict=True):
        assert weights.grad is not None
        torch.testing.assert_close(weights.grad, 1 + expected, **CLOSE)


@many
@given(problem=problems(), data=st.data())
def test_auxk_on_what_the_stronger_half_leaves(
    problem: tuple[SAE, Tensor], data: st.DataObject
) -> None:
    """Rebuilt by the dense formula with a smaller k; as many dead latents learn as are left out."""
    sae, x = problem
    dead = torch.tensor(data.draw(st.lists(st.booleans(), min_size=sae.h, max_size=sae.h)))
    dead[data.draw(st.integers(0, sae.h - 1))] = True
    rebuilt = sae.decode_stronger_half(sae.encode_normalised(x))
    fewer = SAE(sae.d, sae.h, sae.k - sae.k // 2).double()
    fewer.load_state_dict(sae.state_dict())
    expected = dense_latents(fewer, x) @ sae.W_dec + sae.b_dec
    torch.testing.assert_close(rebuilt, expected.detach(), **CLOSE)
    most = max(sae.k // 2, 1)
    fast, plain = (loss(sae, x, rebuilt, dead, most) for loss in (auxk_loss, dense_auxk))
    torch.testing.assert_close(fast, plain, **CLOSE)
    for ours, theirs in zip(gradients(sae, fast), gradients(sae, plain), strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


def test_auxk_does_not_move_what_it_rebuilds() -> None:
    """The residual is detached: no gradient reaches a living latent, nor x_hat itself."""
    sae, x = random_sae(6, 10, 3), random_vectors(8, 6)
    dead = torch.arange(10) >= 7
    x_hat = sae.decode_normalised(sae.encode_normalised(x)).detach().requires_grad_()
    loss = auxk_loss(sae, x, x_hat, dead)
    assert torch.autograd.grad(loss, x_hat, allow_unused=True, retain_graph=True) == (None,)
    loss.backward()
    for weights in (sae.W_enc, sae.W_dec, sae.b_enc):
        assert weights.grad is not None
        assert not weights.grad[~dead].any()
        assert weights.grad[dead].any()


def test_auxk_has_the_sign_of_the_residual_right() -> None:
    """A step on the dead latent brings what it adds to x_hat closer to x."""
    sae, x = random_sae(8, 6, 2), random_vectors(64, 8).abs()
    dead = torch.tensor([False, False, False, False, False, True])
    with torch.no_grad():
        sae.b_enc[5] = 1.0
        x_hat = sae.decode_normalised(sae.encode_normalised(x))

    def left() -> float:
        """Squared error with the dead latent's share added to the reconstruction."""
        with torch.no_grad():
            share = ((x - sae.b_dec) @ sae.W_enc[5] + sae.b_enc[5]).relu()[:, None] * sae.W_dec[5]
            return float((x - (x_hat + share)).square().sum())

    before = left()
    auxk_loss(sae, x, x_hat, dead).backward()
    with torch.no_grad():
        for weights in (sae.W_enc, sae.W_dec, sae.b_enc):
            assert weights.grad is not None
            weights -= 0.01 * weights.grad
    assert left() < before


@pytest.mark.parametrize("n_dead", [1, 2, 3, 20])
@pytest.mark.parametrize("d", [1, 2, 8])
def test_auxk_with_few_dead_latents(n_dead: int, d: int) -> None:
    sae, x = random_sae(d, 20, 2).double(), random_vectors(5, d).double()
    dead = torch.arange(20) < n_dead
    x_hat = sae.decode_normalised(sae.encode_normalised(x))
    torch.testing.assert_close(
        auxk_loss(sae, x, x_hat, dead), dense_auxk(sae, x, x_hat, dead), **CLOSE
    )


def test_auxk_of_a_perfect_reconstruction() -> None:
    sae, x = random_sae(4, 6, 2), random_vectors(5, 4)
    with torch.no_grad():
        sae.b_enc[0] = -100.0
    dead = torch.arange(6) == 0
    assert auxk_loss(sae, x, x.clone(), dead).item() == 0.0


def test_fvu_of_known_cases() -> None:
    x = random_vectors(50, 4).double()
    assert float(fvu(x, x)) == 0.0
    assert float(fvu(x, x.mean(0).expand_as(x))) == pytest.approx(1.0)
    whole = float((x - x.mean(0)).square().sum(1).mean())
    assert float(fvu(x, x * 0.9, whole)) == pytest.approx(float(fvu(x, x * 0.9)))
    parts = [float(fvu(part, part * 0.9, whole)) * len(part) for part in x.split(7)]
    assert sum(parts) / 50 == pytest.approx(float(fvu(x, x * 0.9)))
    assert float(fvu(x[:1], x[:1] * 0.9, whole)) < 1.0


def test_the_decoder_keeps_unit_rows() -> None:
    sae = random_sae(5, 9, 2)
    with torch.no_grad():
        sae.W_dec.mul_(torch.arange(1, 10)[:, None])
        before = sae.W_dec.clone()
    sae.normalise_decoder_()
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(9))
    torch.testing.assert_close(sae.W_dec * torch.arange(1, 10)[:, None], before)
    with torch.no_grad():
        sae.W_dec[3].zero_()
    sae.normalise_decoder_()
    assert torch.isfinite(sae.W_dec).all()


def test_the_gradient_is_orthogonal_to_the_rows() -> None:
    sae, x = random_sae(5, 9, 2), random_vectors(20, 5)
    sae.project_decoder_gradient_()  # nothing to do yet
    fvu(x, sae.decode_normalised(sae.encode_normalised(x))).backward()
    assert sae.W_dec.grad is not None
    rows, whole = sae.W_dec.detach(), sae.W_dec.grad.clone()
    along = (whole * rows).sum(1, keepdim=True)
    sae.project_decoder_gradient_()
    torch.testing.assert_close(sae.W_dec.grad, whole - along * rows)
    assert float((sae.W_dec.grad * rows).sum(1).abs().max()) < 1e-6
    assert float(along.abs().max()) > 1e-3


def test_scaling_there_and_back() -> None:
    sae, x = random_sae(5, 9, 2, scaled=True), random_vectors(20, 5)
    torch.testing.assert_close(sae.restore(sae.normalise(x)), x)
    inner = sae.normalise(x)
    expected = sae.restore(dense_latents(sae, inner) @ sae.W_dec + sae.b_dec)
    torch.testing.assert_close(sae(x), expected.detach())
    torch.testing.assert_close(sae.decode(*sae.encode(x)), expected.detach())


def test_encode_is_in_descending_order_without_gradient() -> None:
    values, indices = random_sae(5, 9, 4, scaled=True).encode(random_vectors(20, 5))
    assert not values.requires_grad
    assert torch.equal(values, values.sort(dim=1, descending=True).values)
    assert all(len(set(row)) == 4 for row in indices.tolist())
    assert bool((values >= 0).all())


@pytest.mark.parametrize("shape", [(3, 4), (3, 6), (5,), (2, 3, 5)])
def test_vectors_of_another_shape(shape: tuple[int, ...]) -> None:
    sae = random_sae(5, 9, 2)
    for take in (sae.encode, sae):
        with pytest.raises(UsageError) as caught:
            take(torch.zeros(shape))
        assert caught.value.message == f"vectors have shape {shape}, but this SAE takes (n, 5)"


@pytest.mark.parametrize("k", [0, -1, 10])
def test_k_must_fit(k: int) -> None:
    with pytest.raises(UsageError) as caught:
        SAE(5, 9, k)
    assert caught.value.message == f"--k is {k}, but the dictionary has 9 latents"

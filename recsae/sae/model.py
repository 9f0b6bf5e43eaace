"""The TopK sparse autoencoder (section 4.1 of the paper; Gao et al. 2024).

    z     = TopK_k(ReLU(W_enc (x - b_dec) + b_enc))
    x_hat = z W_dec + b_dec

Shapes: x (b, d), W_enc and W_dec (h, d) with one row per latent, b_enc (h,), b_dec (d,). Rows of
W_dec have unit norm. Latents are never held as a dense (b, h) matrix with gradients: an encoding is
(values, indices), each (b, k), and decoding gathers k rows. All of it runs on the device of the
weights.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from recsae.errors import DataError, UsageError
from recsae.sae.topk import by_column, top_k
from recsae.sae.vectors import Vectors, as_vectors
from recsae.saving import new_file, replacing

FORMAT_VERSION = 1

ENCODE_ROWS = 1024
"""Vectors that ``encode`` takes at once on a processor."""


class Encoding(NamedTuple):
    """Latents of a batch in sparse form."""

    values: Tensor
    """(b, k) activations, zero or positive; a latent is active only if its value is above zero."""
    indices: Tensor
    """(b, k) int64 latent ids, 0-based."""


class SAE(nn.Module):
    """TopK autoencoder with its input scaling.

    >>> sae = recsae.SAE.load("warehouse/runs/sae-sasrec-ml-100k-k8-60f7/sae")  # doctest: +SKIP
    >>> values, indices = sae.encode(vectors)  # doctest: +SKIP
    >>> rebuilt = sae.decode(values, indices)  # doctest: +SKIP

    with float32 tensors: vectors and rebuilt (n, d), values and indices (n, k), the strongest
    latent first. Rows of ``sae.W_dec`` (h, d) are the directions of the latents.

    Public methods take vectors as the recommender has them; inside, these are centred by ``shift``
    (d,) and divided by ``scale`` (a scalar) to a mean norm of 1, and scaled back afterwards.
    """

    W_enc: nn.Parameter
    b_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter
    shift: Tensor
    scale: Tensor

    def __init__(self, d: int, h: int, k: int) -> None:
        super().__init__()
        if not 1 <= k <= h:
            raise UsageError(f"--k is {k}, but the dictionary has {h} latents", "lower --k")
        self.d, self.h, self.k = d, h, k
        self.W_enc = nn.Parameter(torch.zeros(h, d))
        self.b_enc = nn.Parameter(torch.zeros(h))
        self.W_dec = nn.Parameter(torch.zeros(h, d))
        self.b_dec = nn.Parameter(torch.zeros(d))
        self.register_buffer("shift", torch.zeros(d))
        self.register_buffer("scale", torch.ones(()))

    def initialise_(self, vectors: Tensor | Vectors, generator: torch.Generator) -> float:
        """Take centre and scale from ``vectors`` (n, d); random unit directions, W_enc = W_dec.

        Returns the variance mean |x - mean|^2 of the normalised vectors. Raises DataError for
        vectors that are none, not finite or all the same.
        """
        source = as_vectors(vectors)
        if not source.n:
            raise DataError("there are no training vectors", "lower --heldout-share")
        total, largest = torch.zeros(self.d, dtype=torch.float64), 0.0
        for block in source.blocks():
            if not bool(torch.isfinite(block).all()):
                raise DataError("the training vectors hold NaN or infinite values", "train again")
            total += block.sum(0, dtype=torch.float64)
            largest = max(largest, float(block.abs().max()))
        self.shift.copy_(total / source.n)
        norms, squares = 0.0, 0.0
        for block in source.blocks():
            norm = (block - self.shift).norm(dim=1)
            norms += float(norm.sum(dtype=torch.float64))
            squares += float(norm.double().square().sum())
        scale = norms / source.n
        if not math.isfinite(scale):
            raise DataError("the training vectors are too large to be squared", "train again")
        # the mean of equal vectors is off by a rounding error
        if scale <= 1e-6 * largest:
            raise DataError("all training vectors are the same: there is nothing to learn")
        self.scale.fill_(scale)
        with torch.no_grad():
            rows = torch.randn(self.h, self.d, generator=generator)
            self.W_dec.copy_(F.normalize(rows, dim=1))
            self.W_enc.copy_(self.W_dec)
        return squares / source.n / scale**2

    def normalise(self, vectors: Tensor) -> Tensor:
        """Centre and scale recommender vectors (b, d) to the space the dictionary lives in."""
        return (vectors - self.shift) / self.scale

    def restore(self, x: Tensor) -> Tensor:
        """Undo ``normalise``, (b, d)."""
        return x * self.scale + self.shift

    def preactivations(self, x: Tensor) -> Tensor:
        """W_enc (x - b_dec) + b_enc for normalised x (b, d), dense (b, h)."""
        return torch.addmm(self.b_enc - self.W_enc @ self.b_dec, x, self.W_enc.T)

    def encode_normalised(self, x: Tensor) -> Encoding:
        """Top-k latents of normalised x (b, d), with gradients through the chosen ones only.

        The dense product only chooses; the k chosen pre-activations are then computed again with
        gradient, which saves the dense backward pass. TopK's gradient is the same.
        """
        with torch.no_grad():
            _, indices = top_k(self.preactivations(x), self.k)
        rows = F.embedding(indices, self.W_enc)
        values = torch.bmm(rows, (x - self.b_dec)[:, :, None])[:, :, 0]
        # not b_enc[indices], whose gradient several threads add up in any order
        bias = F.embedding(indices, self.b_enc[:, None])[:, :, 0]
        return Encoding(F.relu(values + bias), indices)

    def decode_normalised(self, encoding: Encoding) -> Tensor:
        """Reconstruction z W_dec + b_dec from the k chosen rows, (b, d)."""
        return self._rows(encoding) + self.b_dec

    @torch.no_grad()
    def decode_stronger_half(self, encoding: Encoding) -> Tensor:
        """Reconstruction (b, d) without the k // 2 weakest of the chosen latents."""
        values, indices = encoding  # the strongest first
        half = self.k - self.k // 2
        return self.decode_normalised(Encoding(values[:, :half], indices[:, :half].contiguous()))

    def _rows(self, encoding: Encoding) -> Tensor:
        values, indices = encoding
        return F.embedding_bag(indices, self.W_dec, per_sample_weights=values, mode="sum")

    @torch.no_grad()
    def differentiate_(self, x: Tensor, spread: float) -> tuple[Tensor, Encoding]:
        """Reconstruct normalised x (b, d), and set every weight's ``grad`` to that of the FVU.

        Equals ``fvu(x, decode_normalised(encode_normalised(x)), spread).backward()`` in a third of
        the time. Returns the reconstruction (b, d) and the encoding.
        """
        values, indices = encoding = self._encoded(x)
        x_hat = self.decode_normalised(encoding)
        slope = (x_hat - x) * (2 / (spread * len(x)))
        # d FVU / d pre-activation of the chosen latents, (b, k)
        delta = torch.linalg.vecdot(F.embedding(indices, self.W_dec), slope[:, None, :])
        delta = torch.where(values > 0, delta, 0.0)
        # with the pairs of vector and latent in order of latents, every sum has a fixed order
        order, starts = by_column(indices, self.h)
        rows = order // self.k

        def sums(vectors: Tensor, weights: Tensor) -> Tensor:
            """Per latent the weighted sum of the vectors that chose it, (h, d)."""
            own = weights.flatten()[order]
            return F.embedding_bag(rows, vectors, starts, mode="sum", per_sample_weights=own)

        bias = F.embedding_bag(order, delta.view(-1, 1), starts, mode="sum")[:, 0]
        self.W_enc.grad = sums(x - self.b_dec, delta)
        self.b_enc.grad = bias
        self.W_dec.grad = sums(slope, values)
        self.b_dec.grad = slope.sum(0) - bias @ self.W_enc
        return x_hat, encoding

    def _encoded(self, x: Tensor) -> Encoding:
        values, indices = top_k(self.preactivations(x), self.k)
        return Encoding(F.relu(values), indices)

    @torch.no_grad()
    def encode(self, vectors: Tensor) -> Encoding:
        """Latents of recommender vectors (b, d)."""
        self._check(vectors)
        # a few rows at a time, so that the dense pre-activations stay in the cache
        size = ENCODE_ROWS if vectors.device.type == "cpu" else max(len(vectors), 1)
        parts = [self._encoded(self.normalise(part)) for part in vectors.split(size)]
        values, indices = zip(*parts, strict=True)
        return Encoding(torch.cat(values), torch.cat(indices))

    @torch.no_grad()
    def decode(self, values: Tensor, indices: Tensor) -> Tensor:
        """Vectors (b, d) in the recommender's space from latents (b, k)."""
        return self.restore(self.decode_normalised(Encoding(values, indices)))

    @torch.no_grad()
    def forward(self, vectors: Tensor) -> Tensor:
        """Reconstruct recommender vectors (b, d) -> (b, d)."""
        return self.decode(*self.encode(vectors))

    def _check(self, vectors: Tensor) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.d:
            shape = tuple(vectors.shape)
            raise UsageError(f"vectors have shape {shape}, but this SAE takes (n, {self.d})")

    @torch.no_grad()
    def normalise_decoder_(self) -> None:
        """Bring every row of W_dec back to unit norm."""
        self.W_dec.div_(self.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-12))

    @torch.no_grad()
    def project_decoder_gradient_(self) -> None:
        """Remove the part of W_dec's gradient along each row: it would only change the norm."""
        gradient = self.W_dec.grad
        if gradient is not None:
            along = torch.linalg.vecdot(gradient, self.W_dec)
            gradient.addcmul_(along[:, None], self.W_dec, value=-1)

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``config.json`` into ``folder``, each by rename."""
        folder.mkdir(parents=True, exist_ok=True)
        config = {"format_version": FORMAT_VERSION, "d": self.d, "h": self.h, "k": self.k}
        with replacing(folder / "model.safetensors") as file:
            save_file({k: v.contiguous() for k, v in self.state_dict().items()}, file)
        text = folder / "config.json.partial"
        with new_file(text) as config_file:
            config_file.write(f"{json.dumps(config, indent=2)}\n".encode())
        os.replace(text, folder / "config.json")

    @classmethod
    def load(cls, folder: Path | str) -> SAE:
        """Read what ``save`` wrote. Raises DataError naming the file that is missing or damaged."""
        path = Path(folder) / "config.json"
        try:
            d, h, k = _read_sizes(path)
            path = path.with_name("model.safetensors")
            weights = load_file(path)
            if weights["W_enc"].shape != (h, d):
                raise ValueError(f"W_enc is {tuple(weights['W_enc'].shape)}, not {(h, d)}")
            model = cls(d, h, k)
            model.load_state_dict(weights)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise DataError(f"{path} is missing or damaged ({error})") from error
        return model


def _read_sizes(path: Path) -> tuple[int, int, int]:
    """d, h and k of a ``config.json``; ValueError when they do not make an SAE."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or config.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"format_version is not {FORMAT_VERSION}")
    d, h, k = (config.get(name, 0) for name in ("d", "h", "k"))
    if not all(type(size) is int for size in (d, h, k)) or d < 1 or not 1 <= k <= h:
        raise ValueError(f"d {d!r}, h {h!r} and k {k!r} are not the sizes of an SAE")
    return d, h, k


def fvu(x: Tensor, x_hat: Tensor, spread: float | None = None) -> Tensor:
    """Fraction of variance unexplained, sum |x - x_hat|^2 / sum |x - mean(x)|^2 over (n, d).

    ``spread`` is the mean |x - mean|^2 of all vectors when these are a batch of them: a batch of
    one vector, or of equal ones, has no variance of its own.
    """
    errors = (x - x_hat).square().sum()
    if spread is None:
        return errors / (x - x.mean(0)).square().sum()
    return errors / (spread * x.shape[0])


def auxk_loss(sae: SAE, x: Tensor, x_hat: Tensor, dead: Tensor, most: int | None = None) -> Tensor:
    """AuxK: dead latents reconstruct what is left over, as a fraction of its variance (scalar).

    The top ``most`` dead latents of each vector (``dead`` (h,) bool; None: d/2) rebuild the
    detached residual x - x_hat. The reference has the residual's sign reversed, so its dead latents
    learn to make the error larger (docs/decisions.md).
    """
    residual = (x - x_hat).detach()
    ids = dead.nonzero().squeeze(1)
    encoder, decoder = F.embedding(ids, sae.W_enc), F.embedding(ids, sae.W_dec)
    pre = torch.addmm(sae.b_enc[ids], x - sae.b_dec, encoder.T)
    # dead latents are few: dense products cost less here than gathering rows
    rebuilt = _strongest(pre, most or sae.d // 2) @ decoder
    return (residual - rebuilt).square().sum() / residual.square().sum().clamp_min(1e-12)


@torch.no_grad()
def differentiate_auxk_(
    sae: SAE, x: Tensor, x_hat: Tensor, dead: Tensor, weight: float, most: int | None = None
) -> None:
    """Add ``weight`` times the gradient of ``auxk_loss`` to every weight's ``grad``.

    Equals ``(weight * auxk_loss(sae, x, x_hat, dead, most)).backward()`` in a third of the time.
    """
    residual, centred = x - x_hat, x - sae.b_dec
    ids = dead.nonzero().squeeze(1)
    encoder, decoder = sae.W_enc[ids], sae.W_dec[ids]
    pre = torch.addmm(sae.b_enc[ids], centred, encoder.T)
    values = _strongest(pre, most or sae.d // 2)
    slope = values @ decoder - residual
    slope *= 2 * weight / residual.square().sum().clamp_min(1e-12)
    # d loss / d pre-activation of the dead latents, (b, m)
    delta = torch.where(values > 0, slope @ decoder.T, 0.0)
    owns = (delta.T @ centred, delta.sum(0), values.T @ slope)
    for weights, own in zip((sae.W_enc, sae.b_enc, sae.W_dec), owns, strict=True):
        assert weights.grad is not None
        weights.grad.index_add_(0, ids, own)
    assert sae.b_dec.grad is not None
    sae.b_dec.grad -= (delta @ encoder).sum(0)


def _strongest(pre: Tensor, most: int) -> Tensor:
    """ReLU of pre-activations (b, m) that are among the ``most`` (at least one) of their row."""
    if max(most, 1) < pre.shape[1]:
        chosen = torch.zeros_like(pre, dtype=torch.bool)
        pre = pre.masked_fill(~chosen.scatter_(1, top_k(pre, max(most, 1))[1], True), 0.0)
    return F.relu(pre)

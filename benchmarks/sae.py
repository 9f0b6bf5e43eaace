"""A training step of the autoencoder against other ways to write it, in one run.

Same vectors, same k and dictionary size: the dense formula of the paper at batches of 4, 256 and
1,024 (plain autograd and Adam), the SparseCoder of eai-sparsify and the TopK trainer of sae-lens at
our batch, where these are installed. Two figures each: samples a second, and the time until the FVU
of 4,096 vectors that train nobody is as low as ours after a few epochs; rates grow with the root of
the batch. The floor is what no implementation that computes all pre-activations can avoid: the
product with the encoder, the product of dense latents with the decoder, and the choice of the k
largest, without gradients, with torch.topk and with ours.

All times are processor seconds of one thread, so that they are of use on a busy machine too, and
the rows take turns, so that whatever slows the machine down slows all of them.

    python benchmarks/sae.py
    python benchmarks/sae.py --vectors warehouse/runs/RUN/vectors.npy --json
    python benchmarks/sae.py --large 20_000_000      # from a file of 5 GB, with its peak memory
    python benchmarks/sae.py --encode 1_000_000      # vectors encoded and written a second
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from recsae.config import SAEConfig
from recsae.progress import Reporter, reporter
from recsae.sae.encode import write_activations
from recsae.sae.model import SAE, fvu
from recsae.sae.topk import top_k
from recsae.sae.trainer import fit, train_step
from recsae.sae.vectors import FileVectors, MemoryVectors
from recsae.stages.common import peak_memory_mb, reset_peak_memory

D, H, K, BATCH = 64, 1024, 8, 512
RATE = 3e-3
"""Adam step size at a batch of 512, without a schedule."""

TEST = 4096
"""Vectors whose FVU is asked for."""


class Contender(Protocol):
    """Something that can be trained step by step."""

    def step(self, x: Tensor) -> None: ...

    def rebuild(self, x: Tensor) -> Tensor: ...


def rate_of(batch: int) -> float:
    return RATE * (batch / BATCH) ** 0.5


def initial() -> SAE:
    """The weights that every row starts from, for vectors that are normalised already."""
    sae = SAE(D, H, K)
    with torch.no_grad():
        rows = torch.randn(H, D, generator=torch.Generator().manual_seed(1))
        sae.W_dec.copy_(F.normalize(rows, dim=1))
        sae.W_enc.copy_(sae.W_dec)
    return sae


class Ours:
    """The step that recsae trains with."""

    def __init__(self, batch: int, spread: float) -> None:
        self.sae, self.spread = initial(), spread
        self.adam = torch.optim.Adam(self.sae.parameters(), lr=rate_of(batch), fused=True)
        self.silent, self.seen = torch.zeros(H), 20_000

    def step(self, x: Tensor) -> None:
        dead = self.silent > self.seen
        train_step(self.sae, x, self.spread, self.adam, dead, self.silent, 1 / 32)

    def rebuild(self, x: Tensor) -> Tensor:
        return self.sae(x)


class Dense:
    """The formula as it stands: a dense matrix of latents, autograd, Adam."""

    def __init__(self, batch: int, spread: float) -> None:
        self.sae, self.spread = initial(), spread
        self.adam = torch.optim.Adam(self.sae.parameters(), lr=rate_of(batch))
        self.silent, self.seen = torch.zeros(H), 20_000

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sae = self.sae
        pre = (x - sae.b_dec) @ sae.W_enc.T + sae.b_enc
        values, indices = F.relu(pre).topk(K, dim=1)
        z = torch.zeros_like(pre).scatter(1, indices, values)
        return pre, z, z @ sae.W_dec + sae.b_dec

    def step(self, x: Tensor) -> None:
        self.adam.zero_grad()
        pre, z, x_hat = self.forward(x)
        loss = fvu(x, x_hat, self.spread)
        dead = self.silent > self.seen
        if dead.any():
            residual = (x - x_hat).detach()
            least = torch.where(dead, pre, -torch.inf)
            values, indices = least.topk(min(D // 2, int(dead.sum())), dim=1)
            extra = torch.zeros_like(pre).scatter(1, indices, F.relu(values)) @ self.sae.W_dec
            loss = loss + (residual - extra).square().sum() / residual.square().sum() / 32
        loss.backward()
        self.sae.project_decoder_gradient_()
        self.adam.step()
        self.sae.normalise_decoder_()
        self.silent += len(x)
        self.silent[(z > 0).any(0)] = 0

    @torch.no_grad()
    def rebuild(self, x: Tensor) -> Tensor:
        return self.forward(x)[2]


class Sparsify:
    """SparseCoder of eai-sparsify, stepped as its trainer does, with Adam."""

    def __init__(self, batch: int, spread: float) -> None:
        from sparsify import SparseCoder, SparseCoderConfig

        start = initial()
        self.sae = SparseCoder(D, SparseCoderConfig(num_latents=H, k=K))
        with torch.no_grad():
            self.sae.encoder.weight.copy_(start.W_enc)
            self.sae.encoder.bias.zero_()
            self.sae.W_dec.copy_(start.W_dec)
        self.adam = torch.optim.Adam(self.sae.parameters(), lr=rate_of(batch))
        self.silent, self.seen = torch.zeros(H), 20_000

    def step(self, x: Tensor) -> None:
        out = self.sae(x, dead_mask=self.silent > self.seen)
        (out.fvu + out.auxk_loss / 32).backward()
        self.sae.remove_gradient_parallel_to_decoder_directions()
        self.adam.step()
        self.adam.zero_grad()
        self.sae.set_decoder_norm_to_unit_norm()
        self.silent += len(x)
        self.silent[out.latent_indices.flatten()] = 0

    @torch.no_grad()
    def rebuild(self, x: Tensor) -> Tensor:
        return self.sae(x).sae_out


class SaeLens:
    """SAETrainer of sae-lens with its TopK autoencoder, fed one batch at a time."""

    def __init__(self, batch: int, spread: float) -> None:
        from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
        from sae_lens.config import LoggingConfig, SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        start = initial()
        self.sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=D, d_sae=H, k=K))
        with torch.no_grad():
            self.sae.W_enc.copy_(start.W_enc.T)
            self.sae.W_dec.copy_(start.W_dec)
        config = SAETrainerConfig(
            n_checkpoints=0,
            checkpoint_path=None,
            save_final_checkpoint=False,
            total_training_samples=10**9,
            device="cpu",
            autocast=False,
            lr=rate_of(batch),
            lr_end=rate_of(batch),
            lr_scheduler_name="constant",
            lr_warm_up_steps=0,
            adam_beta1=0.9,
            adam_beta2=0.999,
            lr_decay_steps=0,
            n_restart_cycles=1,
            train_batch_size_samples=batch,
            dead_feature_window=20_000 // batch,
            feature_sampling_window=2000,
            logger=LoggingConfig(log_to_wandb=False),
        )
        self.trainer = SAETrainer(config, self.sae, iter(()))

    def step(self, x: Tensor) -> None:
        self.trainer.step(x)
        self.trainer.n_training_steps += 1

    @torch.no_grad()
    def rebuild(self, x: Tensor) -> Tensor:
        return self.sae(x)


Make = Callable[[int, float], Contender]
ROWS: dict[str, tuple[Make, int, str | None]] = {
    "recsae": (Ours, BATCH, None),
    "dense formula, batch 4": (Dense, 4, None),
    "dense formula, batch 256": (Dense, 256, None),
    "dense formula, batch 1024": (Dense, 1024, None),
    "eai-sparsify SparseCoder": (Sparsify, BATCH, "sparsify"),
    "sae-lens TopK trainer": (SaeLens, BATCH, "sae_lens"),
}
"""Row -> class, batch, and the library that it needs."""


class Timed(NamedTuple):
    """A row of the table."""

    row: str
    batch: int
    rate: float
    """Samples a second."""
    seconds: float | None
    """Until the FVU is reached; None: not within the time allowed."""
    fvu: float
    """When that ended."""


def batches(x: Tensor, size: int, seed: int) -> Iterator[Tensor]:
    """Without end, each epoch in another order."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for chunk in torch.randperm(len(x), generator=generator).split(size):
            if len(chunk) == size:
                yield x[chunk]


def clocked(contender: Contender, parts: Iterator[Tensor], seconds: float) -> tuple[int, float]:
    """Samples and processor seconds of steps for about ``seconds``."""
    samples, spent = 0, 0.0
    while spent < seconds:
        # the batch is made outside: all rows get theirs in the same way
        ready = list(itertools.islice(parts, 8))
        started = time.process_time()
        for x in ready:
            contender.step(x)
        spent += time.process_time() - started
        samples += sum(map(len, ready))
    return samples, spent


def rates(rows: dict[str, Contender], x: Tensor, rounds: int, seconds: float) -> dict[str, float]:
    """Samples a second of every row; they take turns and the best round counts."""
    feeds = {name: batches(x, ROWS[name][1], 3) for name in rows}
    best = dict.fromkeys(rows, 0.0)
    for number in range(rounds + 1):
        for name, contender in rows.items():
            samples, spent = clocked(contender, feeds[name], seconds if number else seconds / 4)
            if number:  # the first round warms up
                best[name] = max(best[name], samples / spent)
    return best


def until(make: Contender, x: Tensor, test: Tensor, batch: int, goal: float, most: float) -> Any:
    """Processor seconds of training until the FVU of ``test`` is at the goal, and the last FVU."""
    parts, spent = batches(x, batch, 4), 0.0
    while spent < most:
        # look often enough that looking, which is not timed, does not decide
        spent += clocked(make, parts, max(0.05, spent / 40))[1]
        now = float(fvu(test, make.rebuild(test)))
        if now <= goal:
            return spent, now
    return None, now


def floor(x: Tensor, choose: Callable[[Tensor], Any], rounds: int) -> float:
    """Samples a second of two dense products and the choice of the k largest, nothing else."""
    sae = initial()
    encoder, decoder = sae.W_enc.detach().T, sae.W_dec.detach()
    parts = x[: 32 * BATCH].split(BATCH)
    latents = [F.relu(part @ encoder) for part in parts[:4]]
    best = float("inf")
    for _ in range(4 * rounds):
        started = time.process_time()
        for number, part in enumerate(parts):
            choose(part @ encoder)
            latents[number % 4] @ decoder
        best = min(best, time.process_time() - started)
    return sum(map(len, parts)) / best


def planted(n: int, seed: int = 0) -> Tensor:
    """Vectors that are sums of 6 of 800 directions with falling weights, and some noise."""
    generator = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(800, D, generator=generator), dim=1)
    popular = 1 / torch.arange(20, 820).float()
    parts = []
    for start in range(0, n, 100_000):
        count = min(100_000, n - start)
        chosen = torch.multinomial(popular, 6 * count, True, generator=generator).view(count, 6)
        weights = 0.3 + torch.rand(count, 6, generator=generator)
        noise = 0.05 * torch.randn(count, D, generator=generator)
        parts.append((weights[:, :, None] * directions[chosen]).sum(1) + noise)
    return torch.cat(parts)


def compare(vectors: Tensor, rounds: int, seconds: float, most: float) -> dict[str, Any]:
    """Every row that can be had, the floor, and what is missing."""
    whole = SAE(D, H, K)
    spread = whole.initialise_(vectors, torch.Generator().manual_seed(0))
    mixed = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(2))
    normal = whole.normalise(vectors[mixed])
    test, x = normal[:TEST], normal[TEST:]
    missing = [
        name for name, (_, _, m) in ROWS.items() if m and importlib.util.find_spec(m) is None
    ]
    names = [name for name in ROWS if name not in missing]

    def make(name: str) -> Contender:
        return ROWS[name][0](ROWS[name][1], spread)

    speed = rates({name: make(name) for name in names}, x, rounds, seconds)
    first, parts = make("recsae"), batches(x, BATCH, 4)
    for part in itertools.islice(parts, 5 * len(x) // BATCH):
        first.step(part)
    goal = float(fvu(test, first.rebuild(test)))
    rows = []
    for name in names:
        spent, reached = until(make(name), x, test, ROWS[name][1], goal, most)
        rows.append(Timed(name, ROWS[name][1], speed[name], spent, reached))
    floors = {
        "torch.topk": floor(x, lambda pre: pre.topk(K, dim=1), rounds),
        "our top-k": floor(x, lambda pre: top_k(pre, K), rounds),
    }
    return {"rows": rows, "floors": floors, "goal": goal, "missing": missing, "n": len(vectors)}


def show(result: dict[str, Any], most: float) -> None:
    console = Console(width=100)
    for name in result["missing"]:
        console.print(f"{name}: not installed, left out")
    own = result["rows"][0]
    table = Table(
        title=f"{result['n']:,} vectors of width {D}, {H:,} latents, k = {K}, one thread; "
        f"FVU to reach {result['goal']:.3f}"
    )
    table.add_column("")
    for column in ("batch", "samples/s", "recsae is", "s to the FVU", "recsae is"):
        table.add_column(column, justify="right")
    for row in result["rows"]:
        there = f"> {most:.0f} ({row.fvu:.3f})" if row.seconds is None else f"{row.seconds:.2f}"
        least = "> " if row.seconds is None else ""
        times = f"{least}{(row.seconds or most) / own.seconds:.1f} x"
        cells = (row.batch, f"{row.rate:,.0f}", f"{own.rate / row.rate:.1f} x", there, times)
        table.add_row(row.row, *map(str, cells))
    for name, rate in result["floors"].items():
        table.add_row(
            f"floor, {name}", str(BATCH), f"{rate:,.0f}", f"{own.rate / rate:.2f} x", "", ""
        )
    console.print(table)


def large(n: int, folder: Path, in_memory: int, epochs: int) -> None:
    """Train on n vectors in a file: the rate and peak memory, beside the rate in memory."""
    path = folder / "vectors.npy"
    if not path.exists():
        write_large(path, n)
    config = SAEConfig(k=K, scale=H // D, epochs=epochs)
    heldout = planted(TEST)

    def rate(source: Any, name: str) -> float:
        own = folder / name
        own.mkdir(exist_ok=True)
        (own / "checkpoint.pt").unlink(missing_ok=True)
        started = time.process_time(), time.monotonic()
        _, history = fit(source, heldout, config, own, name, reporter())
        cpu, wall = time.process_time() - started[0], time.monotonic() - started[1]
        trained = source.n * epochs
        print(
            f"{name}: {trained:,} vectors, {trained / cpu:,.0f} a processor second, "
            f"{trained / wall:,.0f} a second, {cpu:.0f} s of {wall:.0f} s, "
            f"FVU {history[0]['FVU']:.3f}, peak {peak_memory_mb():,.0f} MB",
            flush=True,
        )
        return trained / cpu

    reset_peak_memory()
    from_file = rate(FileVectors(path, folder), "file")
    start = np.load(path, mmap_mode="r")[:in_memory]
    if n > in_memory:  # the same vectors from both, because AuxK depends on how many there are
        np.save(folder / "start.npy", start)
        from_file = rate(FileVectors(folder / "start.npy", folder), "start of the file")
    from_memory = rate(MemoryVectors(torch.from_numpy(np.array(start))), "memory")
    print(f"from the file: {from_file / from_memory:.0%} of the rate in memory")


def write_large(path: Path, n: int) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (n, D)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        # drawing is slow: a million vectors again and again, moved a little
        drawn = planted(min(n, 10**6))
        for start in range(0, n, len(drawn)):
            moved = 0.02 * torch.randn(D, generator=torch.Generator().manual_seed(start))
            file.write((drawn[: n - start] + moved).numpy().tobytes())


def encode_rate(n: int, folder: Path, threads: int) -> None:
    """Vectors encoded and written as Parquet a second, wall clock."""
    torch.set_num_threads(threads)
    sae = initial()
    vectors = planted(n).numpy()
    ids = np.arange(n, dtype=np.int32)
    started, cpu = time.monotonic(), time.process_time()
    rows = write_activations(sae, vectors, ids, ids, folder / "activations.parquet", Reporter())
    wall, cpu = time.monotonic() - started, time.process_time() - cpu
    print(
        f"encode: {n:,} vectors and {rows:,} activations in {wall:.1f} s ({cpu:.1f} processor s), "
        f"{n / wall:,.0f} vectors a second, {n / cpu:,.0f} a processor second, {threads} threads"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=Path, help="a .npy of width 64; planted ones otherwise")
    parser.add_argument("--rounds", type=int, default=4, help="rounds of each row, the best counts")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each row and round")
    parser.add_argument("--most", type=float, default=60.0, help="seconds to reach the FVU in")
    parser.add_argument("--large", type=int, metavar="N", help="train on N vectors in a file")
    parser.add_argument(
        "--in-memory", type=int, default=2_000_000, help="how many of them in memory"
    )
    parser.add_argument("--epochs", type=int, default=1, help="passes of --large")
    parser.add_argument("--encode", type=int, metavar="N", help="encode and write N vectors")
    parser.add_argument("--threads", type=int, default=2, help="threads of --encode")
    parser.add_argument("--folder", type=Path, help="where files go; else a temporary folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the other libraries
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.large:
            large(options.large, folder, options.in_memory, options.epochs)
            return
        if options.encode:
            encode_rate(options.encode, folder, options.threads)
            return
    vectors = planted(60_000)
    if options.vectors:
        vectors = torch.from_numpy(np.load(options.vectors))
    result = compare(vectors, options.rounds, options.seconds, options.most)
    if options.json:
        result["rows"] = [row._asdict() for row in result["rows"]]
        json.dump(result, sys.stdout, indent=2)
        print()
    else:
        show(result, options.most)


if __name__ == "__main__":
    main()

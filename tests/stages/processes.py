"""Commands as processes of their own, to be killed at chosen moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

import recsae

REPOSITORY = Path(recsae.__file__).parents[1]
PAUSE = 0.001
"""Seconds between two looks at a process."""

COMMAND = "from recsae.cli import main; main()"


class Place(NamedTuple):
    """Where a command reads and writes."""

    root: Path
    data: Path


class Ended(NamedTuple):
    """A process that has ended."""

    code: int
    """Negative: the signal that ended it."""
    out: str
    err: str
    seconds: float


def environment(place: Place) -> dict[str, str]:
    """Variables of a process that computes with as many threads as this one.

    Another number of threads adds numbers in another order, which changes their last bits.
    """
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "RECSAE_WAREHOUSE": str(place.root),
        "RECSAE_DATA": str(place.data),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }


def started(words: Sequence[str], place: Place, script: str = COMMAND) -> subprocess.Popen[str]:
    """Start ``recsae WORDS``; ``script`` may do something before."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(place),
    )


def ended(process: subprocess.Popen[str], began: float) -> Ended:
    """Wait for the end of a process."""
    out, err = process.communicate(timeout=240)
    return Ended(process.returncode, out, err, time.monotonic() - began)


def completed(words: Sequence[str], place: Place, script: str = COMMAND) -> Ended:
    """Run ``recsae WORDS`` to its end."""
    began = time.monotonic()
    return ended(started(words, place, script=script), began)


def killed(
    words: Sequence[str],
    place: Place,
    moment: Callable[[float], bool],
) -> Ended:
    """Run ``recsae WORDS`` and send SIGKILL once ``moment`` (given the seconds so far) is true."""
    began = time.monotonic()
    process = started(words, place)
    while process.poll() is None:
        if moment(time.monotonic() - began):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(PAUSE)
    return ended(process, began)


EVENTS = """
import os, signal
from collections import Counter

from recsae.warehouse.session import Session

count, seen = 0, Counter()


def happened(label):
    global count
    seen[label] += 1
    if seen[label] > 2:
        return
    count += 1
    if count == stop:
        os.kill(os.getpid(), signal.SIGKILL)


def followed(function):
    def wrapped(source, target, *rest, **options):
        result = function(source, target, *rest, **options)
        happened(os.path.basename(target))
        return result

    return wrapped


def execute(self, text, *rest, plain=Session.execute):
    plain(self, text, *rest)
    if text == "commit":
        seen["commit"] = 0
        happened("commit")


os.rename, os.replace, os.link = map(followed, (os.rename, os.replace, os.link))
Session.execute = execute
"""
"""Kills its process after the event whose number (from 1) is ``stop``; 0: never.

Events are commits, and files and folders that move to their place, of each name the first two;
``count`` of them there were.
"""

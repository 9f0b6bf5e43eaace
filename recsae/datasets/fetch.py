"""Getting MovieLens 100K over the network: GroupLens' archive, else the RecBole wheel through pip.

Downloads land in a temporary folder and are compared with the published checksums; only the
canonical tables are kept. ``RECSAE_OFFLINE=1`` keeps the network untouched.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from recsae.datasets.sources import MAX_ARCHIVE
from recsae.errors import DataError

GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
GROUPLENS_MD5 = "0e33842e24a9c977be4e0107933c0723"
GROUPLENS_SHA256 = "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
RECBOLE = "recbole==1.2.1"
RECBOLE_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"

TIMEOUT = 10.0
"""Seconds that a server may stay silent."""
PIP_TIMEOUT = 300.0
"""Seconds that pip may take."""

_OFF = ("", "0", "false", "no")


def offline() -> bool:
    """Whether the environment forbids the network."""
    return os.environ.get("RECSAE_OFFLINE", "").lower() not in _OFF


def fetch_ml_100k(folder: Path, report: Callable[[str], None]) -> tuple[Path, str]:
    """Download into ``folder``; return the archive and the name of its route.

    Errors: DataError of one line saying what to download by hand.
    """
    if offline():
        raise _by_hand("RECSAE_OFFLINE is set")
    failures = []
    for route, get in (("grouplens", get_grouplens), ("recbole", get_recbole)):
        report(f"downloading from {GROUPLENS_URL if route == 'grouplens' else RECBOLE}")
        try:
            return get(folder), route
        except DataError as error:
            report(error.message)
            failures.append(error.message)
    raise _by_hand("; ".join(failures))


def _by_hand(reason: str) -> DataError:
    return DataError(
        f"ml-100k cannot be downloaded ({reason}); "
        f"get {GROUPLENS_URL} and pass it with --source FILE",
        "recsae data prepare ml-100k --source ml-100k.zip",
    )


def get_grouplens(folder: Path) -> Path:
    """The archive of GroupLens, its checksum compared."""
    target = folder / "ml-100k.zip"
    try:
        with urllib.request.urlopen(GROUPLENS_URL, timeout=TIMEOUT) as reply:
            data = reply.read(MAX_ARCHIVE + 1)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"files.grouplens.org: {reason}") from None
    check(data, GROUPLENS_SHA256, target.name)
    target.write_bytes(data)
    return target


def get_recbole(folder: Path) -> Path:
    """The wheel of RecBole from the package index that pip is set up for, its checksum compared."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--no-input"]
    command += ["--disable-pip-version-check", "--quiet", "--only-binary", ":all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), RECBOLE],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PIP_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"pip download {RECBOLE}: {type(error).__name__}") from None
    wheels = sorted(folder.glob("recbole-*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise DataError(f"pip download {RECBOLE}: {last}")
    check(wheels[0].read_bytes(), RECBOLE_SHA256, wheels[0].name)
    return wheels[0]


def check(data: bytes, sha256: str, name: str) -> None:
    """DataError unless the data have the published checksum."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataError(
            f"{name} has the SHA-256 {found[:12]}..., not the published {sha256[:12]}..."
        )

"""Getting MovieLens over the network: GroupLens' archive; for 100K, else RecBole's wheel, by pip.

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
ML_1M_URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
ML_1M_MD5 = "c4d9eecfca2ab87c1945afe126590906"
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
        raise _by_hand("ml-100k", GROUPLENS_URL, "RECSAE_OFFLINE is set")
    failures = []
    for route, get in (("grouplens", get_grouplens), ("recbole", get_recbole)):
        report(f"downloading from {GROUPLENS_URL if route == 'grouplens' else RECBOLE}")
        try:
            return get(folder), route
        except DataError as error:
            report(error.message)
            failures.append(error.message)
    raise _by_hand("ml-100k", GROUPLENS_URL, "; ".join(failures))


def fetch_ml_1m(folder: Path, report: Callable[[str], None]) -> tuple[Path, str]:
    """Download into ``folder``; return the archive and the name of its route.

    Errors: DataError of one line saying what to download by hand.
    """
    if offline():
        raise _by_hand("ml-1m", ML_1M_URL, "RECSAE_OFFLINE is set")
    report(f"downloading from {ML_1M_URL}")
    target = folder / "ml-1m.zip"
    try:
        data = _download(ML_1M_URL)
        found = hashlib.md5(data, usedforsecurity=False).hexdigest()
        _compare(found, ML_1M_MD5, target.name, "MD5")
    except DataError as error:
        raise _by_hand("ml-1m", ML_1M_URL, error.message) from None
    target.write_bytes(data)
    return target, "grouplens"


def _by_hand(name: str, url: str, reason: str) -> DataError:
    return DataError(
        f"{name} cannot be downloaded ({reason}); get {url} and pass it with --source FILE",
        f"recsae data prepare {name} --source {name}.zip",
    )


def get_grouplens(folder: Path) -> Path:
    """The archive of MovieLens 100K, its checksum compared."""
    target = folder / "ml-100k.zip"
    data = _download(GROUPLENS_URL)
    check(data, GROUPLENS_SHA256, target.name)
    target.write_bytes(data)
    return target


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as reply:
            data: bytes = reply.read(MAX_ARCHIVE + 1)
            return data
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"files.grouplens.org: {reason}") from None


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
    _compare(hashlib.sha256(data).hexdigest(), sha256, name, "SHA-256")


def _compare(found: str, published: str, name: str, kind: str) -> None:
    if found != published:
        raise DataError(
            f"{name} has the {kind} {found[:12]}..., not the published {published[:12]}..."
        )

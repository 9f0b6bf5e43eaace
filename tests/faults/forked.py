"""Commands in processes that are forked from one with all imports done, so that they start at once.

A stage of the small planted data then takes a second instead of four, and can be killed often.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.processes import EVENTS, Ended, Place, environment

SERVER = """
import importlib, json, os, pkgutil, signal, sys, time

import torch

torch.set_num_threads(1)
import recsae
from recsae.cli import invoke

for module in pkgutil.walk_packages(recsae.__path__, "recsae."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)


def child(order, events):
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(order["variables"])
    code = 70
    counted = {"stop": order["stop"]}
    try:
        if order["stop"] is not None:
            exec(events, counted)
        code = invoke(order["words"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        if order["stop"] is not None:
            print("events", counted["count"], file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


events = json.loads(sys.stdin.readline())
for line in sys.stdin:
    order = json.loads(line)
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        child(order, events)
    ended = 0
    while not ended:
        ended, status = os.waitpid(pid, os.WNOHANG)
        now = time.monotonic() - began
        if not ended and order["kill"] is not None and now >= order["kill"]:
            os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, 0)
        time.sleep(0.001)
    print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - began]), flush=True)
"""


class Forker:
    """Runs commands one after the other, each in a process of its own."""

    def __init__(self, server: subprocess.Popen[str], folder: Path) -> None:
        self._server, self._folder = server, folder

    def send(
        self,
        words: Sequence[str],
        place: Place,
        kill: float | None = None,
        stop: int | None = None,
        **variables: str,
    ) -> None:
        """Begin ``recsae WORDS``, with SIGKILL after ``kill`` seconds; ``wait`` has to follow.

        ``stop`` kills it after that event of EVENTS instead; 0 only counts them.
        """
        order = {
            "words": list(words),
            "kill": kill,
            "stop": stop,
            "variables": {
                "RECSAE_WAREHOUSE": str(place.root),
                "RECSAE_DATA": str(place.data),
                **variables,
            },
            **{name: str(self._folder / name) for name in ("out", "err")},
        }
        assert self._server.stdin
        print(json.dumps(order), file=self._server.stdin, flush=True)

    def wait(self) -> Ended:
        """How the command of ``send`` ended."""
        assert self._server.stdout
        code, seconds = json.loads(self._server.stdout.readline())
        out, err = ((self._folder / name).read_text() for name in ("out", "err"))
        return Ended(code, out, err, seconds)

    def run(
        self,
        words: Sequence[str],
        place: Place,
        kill: float | None = None,
        stop: int | None = None,
        **variables: str,
    ) -> Ended:
        """``send`` and ``wait``."""
        self.send(words, place, kill, stop, **variables)
        return self.wait()


@contextmanager
def forker(folder: Path) -> Iterator[Forker]:
    """A server; ``folder`` takes what its commands print."""
    folder.mkdir(parents=True)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(Place(folder, folder)),
    )
    with server:
        assert server.stdin
        print(json.dumps(EVENTS), file=server.stdin, flush=True)
        yield Forker(server, folder)
        server.stdin.close()

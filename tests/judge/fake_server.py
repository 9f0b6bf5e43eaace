"""A chat server on this machine whose behaviour a test decides, one function per request."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Response:
    """What the server sends back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    """Content-Length, when it is not the true one."""


@dataclass
class Asked:
    """A request as it arrived."""

    number: int
    """From 0, in order of arrival."""
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def system(self) -> str:
        return str(self.body["messages"][0]["content"])

    @property
    def user(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def is_describe(self) -> bool:
        return self.user.endswith("The latent looks for:")


Behaviour = Callable[[Asked], Response]


def said(text: str, *, finish: str = "stop", usage: bool = True) -> Response:
    """A chat completion."""
    told: dict[str, Any] = {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]
    }
    if usage:
        told["usage"] = {"prompt_tokens": 100, "completion_tokens": 5}
    return Response(body=json.dumps(told).encode())


def good(asked: Asked) -> Response:
    """A sentence, or the level 8 when a moment names the described word and else 1."""
    if asked.is_describe:
        return said("films about trains")
    return said("8" if "tag" in asked.user else "1")


def failed(status: int, message: str = "no", **headers: str) -> Response:
    """An error as OpenAI words it."""
    body = json.dumps({"error": {"message": message, "code": "some"}}).encode()
    return Response(status, body, {k.replace("_", "-"): v for k, v in headers.items()})


class FakeServer:
    """Counts what it is asked; ``behave`` may be changed meanwhile."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                with outer._lock:
                    asked = Asked(len(outer.asked), self.path, dict(self.headers), json.loads(raw))
                    outer.asked.append(asked)
                    outer._now += 1
                    outer.most_at_once = max(outer.most_at_once, outer._now)
                try:
                    response = outer.behave(asked)
                finally:
                    with outer._lock:
                        outer._now -= 1
                try:
                    self.send_response(response.status)
                    for name, value in response.headers.items():
                        self.send_header(name, value)
                    length = len(response.body) if response.length is None else response.length
                    self.send_header("Content-Length", str(length))
                    self.end_headers()
                    self.wfile.write(response.body)
                except OSError:  # the client has gone
                    pass

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @classmethod
    @contextmanager
    def run(cls, behave: Behaviour = good) -> Iterator[FakeServer]:
        server = cls(behave)
        thread = threading.Thread(
            target=server._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        try:
            yield server
        finally:
            server._server.shutdown()
            server._server.server_close()
            thread.join()

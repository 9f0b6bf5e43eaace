"""A client of chat endpoints in the form that OpenAI, vLLM, Ollama and llama.cpp share.

The key goes to the host that was named and nowhere else: redirects are refused, it is in no
message, and over plain http only a local host gets it.
"""

from __future__ import annotations

import email.utils
import ipaddress
import json
import math
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import recsae
from recsae.errors import JudgeError, UsageError

MOST_BYTES = 4_000_000
"""Of a response; more is no chat completion."""

MOST_WAIT = 600.0
"""Seconds that a server may ask us to wait; a longer wait ends the command."""

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
AGAIN = (408, 409, 425, 429)
"""Statuses beside 5xx after which the same request may succeed."""

REFUSED = (400, 413, 422)
"""Statuses that speak about this one request, such as a prompt that is too long."""


@dataclass(frozen=True)
class Endpoint:
    """Where prompts go."""

    url: str
    """Of the chat completions."""
    model: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    """Seconds for a whole request."""
    retries: int = 6
    """Tries after the first."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    text: str
    finish_reason: str | None
    tokens_in: int | None
    tokens_out: int | None
    seconds: float


class RefusedError(Exception):
    """The server refused this one prompt."""


class StoppedError(Exception):
    """The command ends while a request waits."""


class _TransientError(Exception):
    def __init__(self, text: str, wait: float | None = None) -> None:
        super().__init__(text)
        self.wait = wait


def endpoint(
    base_url: str,
    model: str,
    *,
    key_env: str = "OPENAI_API_KEY",
    allow_http: bool = False,
    timeout: float = 120.0,
    retries: int = 6,
) -> Endpoint:
    """Check an address, with or without ``/v1``, and take the key from the environment.

    UsageError for an address that is none, that holds a password, or that would send the key in
    the clear to another machine.
    """
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(
            f"--base-url {base_url!r} is not an address", "as http://localhost:8000/v1"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            "--base-url may hold no name, password, query or fragment",
            f"a key comes from the environment variable {key_env}",
        )
    if not model.strip():
        raise UsageError("--model is empty", "name the model as the server does")
    if model == "builtin":
        raise UsageError("--model builtin is the name of the built-in judge", "give it another")
    key = os.environ.get(key_env) or None
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(f"{key_env} holds no key: it has characters that no header may have")
    if key and parts.scheme == "http" and not is_local(host) and not allow_http:
        raise UsageError(
            f"the key in {key_env} would go to {host} unencrypted",
            "use https, unset the variable, or say --allow-http",
        )
    return Endpoint(_chat_url(parts.scheme, parts.netloc, parts.path), model, key, timeout, retries)


def _chat_url(scheme: str, netloc: str, path: str) -> str:
    steps = [step for step in path.split("/") if step]
    if steps[-2:] == ["chat", "completions"]:
        steps = steps[:-2]
    if not any(step[0] == "v" and step[1:2].isdigit() for step in steps):
        steps.append("v1")
    return urlunsplit((scheme, netloc, "/" + "/".join([*steps, "chat", "completions"]), "", ""))


def is_local(host: str) -> bool:
    """Whether a host name means this machine."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Client:
    """Sends requests, from several threads at once; a server's wish to wait holds for all."""

    def __init__(
        self, to: Endpoint, stop: threading.Event | None = None, *, pause: float = FIRST_PAUSE
    ) -> None:
        self.to = to
        self.stop = stop or threading.Event()
        self.n_retried = 0
        self._pause = pause
        self._not_before = 0.0
        self._reached = False
        local = is_local(urlsplit(to.url).hostname or "")
        # a proxy cannot reach this machine, and has no business with what is sent to it
        proxies = [urllib.request.ProxyHandler({})] if local else []
        self._opener = urllib.request.build_opener(_NoRedirect, *proxies)

    def complete(self, body: Mapping[str, Any]) -> Answer:
        """The answer to one request.

        Repeats after 408, 409, 425, 429, 5xx, timeouts and responses that are cut off, with
        growing pauses or those that the server names. RefusedError: the server does not take this
        prompt. JudgeError: it does not answer at all. StoppedError: ``stop`` was set meanwhile.
        """
        data = json.dumps(body, ensure_ascii=True).encode()
        for attempt in range(self.to.retries + 1):
            self._wait_turn()
            try:
                return self._once(data)
            except _TransientError as error:
                if attempt == self.to.retries:
                    raise JudgeError(
                        f"no answer from {self.to.url} after {attempt + 1} tries: {error}",
                        "the same command goes on where it stopped",
                    ) from None
                self._delay(attempt, error)
        raise AssertionError("unreachable")

    def _wait_turn(self) -> None:
        while (left := self._not_before - time.monotonic()) > 0 and not self.stop.is_set():
            self.stop.wait(left)
        if self.stop.is_set():
            raise StoppedError

    def _delay(self, attempt: int, error: _TransientError) -> None:
        self.n_retried += 1
        if error.wait is not None:
            if error.wait > MOST_WAIT:
                raise JudgeError(
                    f"{self.to.url} asks to wait {error.wait:,.0f} s: {error}",
                    "repeat the command then; it goes on where it stopped",
                )
            self._not_before = max(self._not_before, time.monotonic() + error.wait)
            return
        pause = min(self._pause * 2**attempt, LONGEST_PAUSE)
        self.stop.wait(pause * random.uniform(0.5, 1.0))

    def _once(self, data: bytes) -> Answer:
        started = time.monotonic()
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"recsae/{recsae.__version__}",
        }
        if self.to.key:
            headers["Authorization"] = f"Bearer {self.to.key}"
        request = urllib.request.Request(self.to.url, data, headers)
        try:
            with self._opener.open(request, timeout=self.to.timeout) as response:
                self._reached = True
                raw = _read(response, started + self.to.timeout)
        except urllib.error.HTTPError as error:
            self._reached = True
            with error:
                raise self._status_error(error) from None
        except (OSError, HTTPException) as error:
            raise self._connection_error(error) from None
        return _answer(raw, time.monotonic() - started)

    def _status_error(self, error: urllib.error.HTTPError) -> Exception:
        code, text = self._message(error)
        status = f"{error.code} {text}".rstrip()
        if error.code in REFUSED:
            return RefusedError(status)
        may_repeat = error.code in AGAIN or error.code >= 500
        if may_repeat and code != "insufficient_quota":
            return _TransientError(status, retry_after(error.headers.get("Retry-After")))
        hints = {
            401: "set the key in the variable that --api-key-env names",
            403: "the key may not use this model",
            404: "check --base-url and --model",
        }
        if 300 <= error.code < 400:
            status = f"{error.code}: it points elsewhere, which is not followed"
        return JudgeError(f"{self.to.url} answered {status}", hints.get(error.code))

    def _message(self, error: urllib.error.HTTPError) -> tuple[str, str]:
        """Code and text of an error as the server tells it; on one line, without the key."""
        try:
            raw = error.read(65536).decode("utf-8", "replace")
        except (OSError, HTTPException):
            raw = ""
        code, text = "", raw
        try:
            told = json.loads(raw)
            inner = told.get("error", told) if isinstance(told, dict) else told
            if isinstance(inner, dict):
                code = str(inner.get("code") or "")
                text = str(inner.get("message") or inner.get("detail") or inner)
            else:
                text = str(inner)
        except ValueError:
            pass
        text = " ".join(text.split())
        if self.to.key:
            text = text.replace(self.to.key, "***")
        return code, text[:200]

    def _connection_error(self, error: Exception) -> Exception:
        reason = getattr(error, "reason", None)
        cause = reason if isinstance(reason, Exception) else error
        if isinstance(cause, TimeoutError):
            return _TransientError(f"no answer within {self.to.timeout:g} s")
        text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        if not self._reached and isinstance(cause, OSError):
            return JudgeError(f"cannot reach {self.to.url}: {text}", "does the server run there?")
        return _TransientError(str(text))


def _read(response: HTTPResponse, deadline: float) -> bytes:
    """A whole body, not larger or later than may be: a server that drips is one that hangs."""
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(65536):
        chunks.append(chunk)
        size += len(chunk)
        if size > MOST_BYTES:
            raise _TransientError("the response is too large")
        if time.monotonic() > deadline:
            raise TimeoutError
    return b"".join(chunks)


def _answer(raw: bytes, seconds: float) -> Answer:
    try:
        told = json.loads(raw)
        choice = told["choices"][0]
        content = choice["message"].get("content")
        usage = told.get("usage") or {}
        if not isinstance(content, str | None) or not isinstance(usage, dict):
            raise TypeError
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise _TransientError("the response is no chat completion, or was cut off") from None
    reason = choice.get("finish_reason")
    return Answer(
        content or "",
        reason if isinstance(reason, str) else None,
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        seconds,
    )


def _count(value: object) -> int | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40
    return value if good and isinstance(value, int) else None


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as a date."""
    if not value:
        return None
    try:
        seconds = float(value)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - (now or datetime.now(UTC))).total_seconds(), 0.0)

"""A client of chat endpoints in the form that OpenAI, vLLM, Ollama and llama.cpp share.

The key goes to the host that was named and nowhere else: redirects are refused, it is in no
message, and over plain http only a local host gets it.
"""

from __future__ import annotations

import email.utils
import json
import math
import os
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import recsae
from recsae.errors import JudgeError, UsageError
from recsae.judge.response import Answer, NoAnswerError, Told, error_body, read_answer
from recsae.judge.wire import TooLargeError, Wire, is_local
from recsae.judge.words import one_line

MOST_WAIT = 600.0
"""Seconds that a server may ask us to wait; a longer wait ends the command."""

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
AGAIN = (408, 409, 425, 429)
"""Statuses beside 5xx after which the same request may succeed."""

REFUSED = (400, 413, 422)
"""Statuses that speak about this one request, such as a prompt that is too long."""

QUIET_SECONDS = 5.0
"""Least time between two words about what is waited for."""

LONGEST_TIMEOUT = 86_400.0

ADDRESS_HINT = "--base-url may be the whole address, as http://host/api/chat/completions"

_NO_SYSTEM = re.compile(
    r"system[ _-]?(?:role|message|prompt|instruction)s?\b.{0,60}(?:not|n't|unsupported|only)"
    r"|(?:not|n't|unsupported).{0,60}system[ _-]?(?:role|message|prompt|instruction)"
    r"|developer instruction is not enabled|roles must alternate|only user and assistant roles",
    re.IGNORECASE,
)
"""How servers say that a model's template has no place for a system message."""

_PASSING = re.compile(
    r"overload|rate.?limit|too many|time.?out|timed out|unavailable|try again|temporar|\bbusy\b"
    r"|loading|server_error|internal.?(?:server.?)?error|capacity",
    re.IGNORECASE,
)
"""Errors without a status after which the same request may succeed."""

_MISPLACED = re.compile(r"unexpected endpoint", re.IGNORECASE)
"""What LM Studio says, with status 200, to an address that it does not have."""


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
    other: str | None = None
    """Where to look when nothing is at ``url``; on the same host."""


class RefusedError(Exception):
    """The server refused this one prompt."""


class StoppedError(Exception):
    """The command ends while a request waits."""


class _TransientError(Exception):
    """The same request may succeed later; ``of_prompt`` if it may also be the prompt's fault."""

    def __init__(
        self,
        text: str,
        wait: float | None = None,
        *,
        of_prompt: bool = False,
        hint: str | None = None,
    ) -> None:
        super().__init__(text)
        self.wait = wait
        self.of_prompt = of_prompt
        self.hint = hint


class _MisplacedError(Exception):
    """There is nothing at this address; another may be right."""

    def __init__(self, told: JudgeError) -> None:
        super().__init__(told.message)
        self.told = told


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
    if parts.scheme not in ("http", "https") or not host or not _may_be_sent(base_url):
        raise UsageError(
            f"--base-url {base_url!r} is not an address", "as http://localhost:8000/v1"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            "--base-url may hold no name, password, query or fragment",
            f"a key comes from the environment variable {key_env}",
        )
    if not 0 < timeout <= LONGEST_TIMEOUT:
        raise UsageError(
            f"--timeout is {timeout:g}, but it must be a number of seconds up to a day"
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
    url, other = _addresses(parts.scheme, parts.netloc, parts.path)
    return Endpoint(url, model, key, timeout, retries, other)


def _may_be_sent(address: str) -> bool:
    return address.isprintable() and " " not in address and urlsplit(address).netloc.isascii()


def _addresses(scheme: str, netloc: str, path: str) -> tuple[str, str | None]:
    """Where chat completions are, and where they may be if they are not there.

    A path that names them is taken as it is. Without a version in the path, most servers have
    them under /v1, some (Open WebUI, Perplexity) without.
    """
    path = quote(path, safe="/%:@!$&'()*+,;=~")
    steps = [step for step in path.split("/") if step]
    ends = ["chat", "completions"]
    if steps[-2:] == ends and len(steps) > 2:
        return _joined(scheme, netloc, steps), None
    if steps[-2:] == ends:
        steps = steps[:-2]
    if any(step[0] == "v" and step[1:2].isdigit() for step in steps):
        return _joined(scheme, netloc, [*steps, *ends]), None
    other = _joined(scheme, netloc, [*steps, *ends])
    return _joined(scheme, netloc, [*steps, "v1", *ends]), other


def _joined(scheme: str, netloc: str, steps: list[str]) -> str:
    return urlunsplit((scheme, netloc, "/" + "/".join(steps), "", ""))


class Client:
    """Sends requests, from several threads at once; a server's wish to wait holds for all."""

    def __init__(
        self, to: Endpoint, stop: threading.Event | None = None, *, pause: float = FIRST_PAUSE
    ) -> None:
        self.to = to
        self.stop = stop or threading.Event()
        self.n_retried = 0
        self.say: Callable[[str], None] = lambda text: None
        """Told what is being waited for; called from any thread."""
        self.worked = threading.Event()
        """Set once the model has answered anything."""
        self._pause = pause
        self._not_before = 0.0
        self._reached = False
        self._found = False  # an answer came to this client, so the address is right
        self._said = -QUIET_SECONDS
        self._url = to.url
        self._misplaced: JudgeError | None = None
        self._folds = False
        self._wire = Wire(to.url)

    def complete(self, body: Mapping[str, Any]) -> Answer:
        """The answer to one request.

        Repeats after 408, 409, 425, 429, 5xx, timeouts and responses that are cut off, with
        growing pauses or those that the server names. RefusedError: the server does not take this
        prompt. JudgeError: it does not answer at all. StoppedError: ``stop`` was set meanwhile.
        """
        attempt = 0
        while True:
            self._wait_turn()
            url, folds = self._url, self._folds
            try:
                answer = self._once(url, _data(body, folds))
            except _MisplacedError as error:
                self._try_elsewhere(url, error)
            except (RefusedError, _TransientError) as error:
                if not folds and _NO_SYSTEM.search(str(error)):
                    self._fold()
                    continue
                if isinstance(error, RefusedError):
                    raise
                if attempt == self.to.retries:
                    raise self._given_up(attempt + 1, error) from None
                self._delay(attempt, error)
                attempt += 1
            else:
                self._found = True
                self.worked.set()
                return answer

    def _wait_turn(self) -> None:
        while (left := self._not_before - time.monotonic()) > 0 and not self.stop.is_set():
            self.stop.wait(left)
        if self.stop.is_set():
            raise StoppedError

    def _fold(self) -> None:
        """Put the instructions before the question from now on: some models take no others."""
        if not self._folds:
            self._folds = True
            self.say(f"{self.to.model} takes no system message; it is sent before the question")

    def _try_elsewhere(self, url: str, error: _MisplacedError) -> None:
        """Go on at the address without /v1, once; the first error counts if that fails, too."""
        if url != self._url:
            return
        if self.to.other is None or url == self.to.other or self._found:
            raise self._misplaced or error.told from None
        self._misplaced, self._url = error.told, self.to.other
        self.say(f"{error.told.message}; trying {self.to.other}")

    def _given_up(self, n: int, error: _TransientError) -> Exception:
        if error.of_prompt and self.worked.is_set():
            return RefusedError(str(error))
        return JudgeError(
            f"no answer from {self._url}{self._via} after {n} {'try' if n == 1 else 'tries'}: "
            f"{error}",
            self._proxy_hint() or error.hint or "the same command goes on where it stopped",
        )

    def _delay(self, attempt: int, error: _TransientError) -> None:
        self.n_retried += 1
        if error.wait is not None:
            if error.wait > MOST_WAIT:
                raise JudgeError(
                    f"{self._url} asks to wait {error.wait:,.0f} s: {error}",
                    "repeat the command then; it goes on where it stopped",
                )
            now = time.monotonic()
            until = now + error.wait
            longer = until > max(self._not_before, now) + 1
            self._not_before = max(self._not_before, until)
            self._tell(attempt, error, error.wait, always=longer)
            return
        pause = min(self._pause * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1.0)
        self._tell(attempt, error, pause)
        self.stop.wait(pause)

    def _tell(
        self, attempt: int, error: _TransientError, pause: float, *, always: bool = False
    ) -> None:
        """Say what is waited for; not by every thread and not all the time."""
        now = time.monotonic()
        if now - self._said < QUIET_SECONDS and not always:
            return
        self._said = now
        self.say(
            f"{self._url}{self._via}: {error}; asking again in {pause:,.0f} s "
            f"(repeat {attempt + 1} of {self.to.retries})"
        )

    def _once(self, url: str, data: bytes) -> Answer:
        started = time.monotonic()
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"recsae/{recsae.__version__}",
        }
        if self.to.key:
            headers["Authorization"] = f"Bearer {self.to.key}"
        try:
            response = self._wire.post(url, data, headers, self.to.timeout)
        except TooLargeError as error:
            raise _TransientError(str(error)) from None
        except (OSError, HTTPException) as error:
            raise self._connection_error(url, error) from None
        self._reached = True
        if not 200 <= response.status < 300:
            after = retry_after(response.headers.get("Retry-After"))
            told = error_body(response.body)
            raise self._status_error(url, response.status, told, after)
        try:
            return read_answer(response.body, time.monotonic() - started)
        except NoAnswerError as error:
            raise self._no_answer(url, error) from None

    def _no_answer(self, url: str, error: NoAnswerError) -> Exception:
        """What a response without an answer means, though its status is 200."""
        if error.told is not None:
            return self._told_error(url, error.told)
        text = self._clean(str(error))
        if error.kind == "page" and not self._found:
            return JudgeError(
                f"{url}{self._via} answered {text}",
                self._proxy_hint() or f"a login page or another program? {ADDRESS_HINT}",
            )
        return _TransientError(text, of_prompt=error.kind == "empty")

    def _told_error(self, url: str, told: Told) -> Exception:
        """An error in a response with status 200."""
        status = told.status
        if status is None and _MISPLACED.search(told.text):
            status = 404
        if status is not None:
            return self._status_error(url, status, told, None, in_body=True)
        text = f"an error with status 200: {self._clean(told.text)}"
        if "insufficient_quota" in told.code:
            return JudgeError(f"{url} answered {text}")
        if _PASSING.search(f"{told.code} {told.text}"):
            return _TransientError(text)
        return RefusedError(text)

    def _status_error(
        self, url: str, status: int, told: Told, after: float | None, *, in_body: bool = False
    ) -> Exception:
        text = f"{status} {self._clean(told.text)}".rstrip()
        text += " (in a response with status 200)" if in_body else ""
        if status in REFUSED:
            return RefusedError(text)
        if (status in AGAIN or status >= 500) and "insufficient_quota" not in told.code:
            return _TransientError(text, after)
        hints = {
            401: "set the key in the variable that --api-key-env names",
            403: "the key may not use this model",
            404: f"check --model; {ADDRESS_HINT}",
            405: ADDRESS_HINT,
        }
        if 300 <= status < 400:
            text = f"{status}: it points elsewhere, which is not followed"
        hint = (self._proxy_hint() if status in (403, 407) else None) or hints.get(status)
        error = JudgeError(f"{url}{self._via} answered {text}", hint)
        if status in (404, 405) and not re.search(r"\bmodel\b", told.text, re.IGNORECASE):
            return _MisplacedError(error)
        return error

    def _clean(self, text: str) -> str:
        """What a server said; on one line, without the key."""
        if self.to.key:
            text = text.replace(self.to.key, "***")
        return one_line(text)

    @property
    def _via(self) -> str:
        return f" (through the proxy {self._wire.proxy.shown})" if self._wire.proxy else ""

    def _proxy_hint(self) -> str | None:
        if self._wire.proxy is None:
            return None
        host = urlsplit(self.to.url).hostname
        return (
            f"if the server is in your own network, add {host} to no_proxy; "
            f"{self._wire.proxy.variable} names the proxy"
        )

    def _connection_error(self, url: str, error: Exception) -> Exception:
        if isinstance(error, TimeoutError):
            return _TransientError(
                f"no whole answer within {self.to.timeout:g} s",
                hint="--timeout gives it more time; the same command goes on where it stopped",
            )
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        text = self._clean(text)
        if isinstance(error, HTTPException) and not isinstance(error, OSError):
            text = f"the answer is no HTTP: {text}"
        if self._reached:
            return _TransientError(text)
        if self._wire.proxy:
            shown = self._wire.proxy.shown
            return JudgeError(
                f"the proxy {shown} does not lead to {url}: {text}", self._proxy_hint()
            )
        hint = "does the server run there?"
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "SSL_CERT_FILE names a file with the certificate of your own authority"
        elif isinstance(error, ssl.SSLError):
            hint = "does the server speak https there, or plain http?"
        return JudgeError(f"cannot reach {url}: {text}", hint)


def _data(body: Mapping[str, Any], folds: bool) -> bytes:
    sent = dict(body)
    messages = list(body["messages"])
    if folds and len(messages) > 1 and messages[0]["role"] == "system":
        text = f"{messages[0]['content']}\n\n{messages[1]['content']}"
        sent["messages"] = [{**messages[1], "content": text}, *messages[2:]]
    return json.dumps(sent, ensure_ascii=True).encode()


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

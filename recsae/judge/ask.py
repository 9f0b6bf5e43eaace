"""Ask many prompts at once; every reply is on disk before the next thing happens."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from recsae.errors import JudgeError
from recsae.judge.client import Client, RefusedError, StoppedError
from recsae.judge.prompts import Prompt
from recsae.judge.replies import Replies, Reply

GRACE = 2.0
"""Seconds in which replies that are on their way are still taken after an interruption."""

_TICK = 0.2

FIRST_SILENCE = 10.0
"""Seconds without a reply after which it is said that a server is waited for."""


@dataclass(frozen=True)
class _Note:
    """What a worker says about what it waits for."""

    text: str


@dataclass
class Spent:
    """What the prompts of a call took; prices are per million tokens."""

    price_in: float | None = None
    price_out: float | None = None
    n_asked: int = 0
    n_refused: int = 0
    n_untold: int = 0
    """Replies for which the server told no tokens."""
    tokens_in: int = 0
    tokens_out: int = 0

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        self.n_asked += 1
        self.n_refused += reply.text is None
        self.n_untold += reply.text is not None and reply.tokens_in is None
        self.tokens_in += reply.tokens_in or 0
        self.tokens_out += reply.tokens_out or 0

    @property
    def cost(self) -> float | None:
        """Money, in the currency of the prices; None without prices."""
        if self.price_in is None and self.price_out is None:
            return None
        paid = self.tokens_in * (self.price_in or 0) + self.tokens_out * (self.price_out or 0)
        return paid / 1e6

    def __str__(self) -> str:
        text = f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out"
        if self.cost is not None:
            text += f", cost {self.cost:,.4f}"
        if self.n_untold:
            text += f" ({self.n_untold:,} replies without a count)"
        return text


def missing(
    prompts: Sequence[Prompt], model: str, params: Mapping[str, Any], known: Mapping[str, Reply]
) -> list[tuple[str, Prompt]]:
    """Prompts without a reply, with their ids; equal ones once."""
    found = {prompt.reply_id(model, params): prompt for prompt in prompts}
    return [(reply_id, prompt) for reply_id, prompt in found.items() if reply_id not in known]


def ask(
    todo: Sequence[tuple[str, Prompt]],
    client: Client,
    params: Mapping[str, Any],
    replies: Replies,
    *,
    concurrency: int,
    spent: Spent,
    step: Callable[[int, str], None],
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Ask every prompt of ``todo`` and add the replies to ``replies``.

    JudgeError when the server fails; what came before, and what arrives within ``GRACE`` seconds,
    is kept then, as it is after control-C. Threads that still wait for a server end with the
    process. ``say`` is told what is waited for.
    """
    waiting: queue.SimpleQueue[tuple[str, Prompt]] = queue.SimpleQueue()
    for one in todo:
        waiting.put(one)
    results: queue.SimpleQueue[Reply | Exception | _Note | None] = queue.SimpleQueue()
    if any(r.model == client.to.model and r.text is not None for r in replies.known.values()):
        client.worked.set()
    client.say = lambda text: results.put(_Note(text))
    given = (waiting, client, params, results)
    threads = [
        threading.Thread(target=_work, args=given, daemon=True)
        for _ in range(min(concurrency, len(todo)))
    ]
    running = _Running(client, replies, spent, step, say, results, len(threads))
    try:
        for thread in threads:
            thread.start()
        while running.n_workers:
            running.take(_TICK)
    except BaseException:
        client.stop.set()
        running.drain()
        raise


@dataclass
class _Running:
    """The side that writes: the one thread that started the others."""

    client: Client
    replies: Replies
    spent: Spent
    step: Callable[[int, str], None]
    say: Callable[[str], None]
    results: queue.SimpleQueue[Reply | Exception | _Note | None]
    n_workers: int
    heard: float = field(default_factory=time.monotonic)
    """When something came last, or was said last."""
    silence: float = field(default_factory=lambda: FIRST_SILENCE)

    def take(self, timeout: float) -> None:
        """Store the next result; raises what a worker raised."""
        try:
            result = self.results.get(timeout=timeout)
        except queue.Empty:
            self._break_silence()
            return
        self.heard = time.monotonic()
        if isinstance(result, _Note):
            self.say(result.text)
        elif result is None:
            self.n_workers -= 1
        elif isinstance(result, Exception):
            raise result
        else:
            self._keep(result)

    def _break_silence(self) -> None:
        """Say now and then, ever more rarely, that a server is waited for."""
        if time.monotonic() - self.heard > self.silence:
            self.say(f"still waiting for {self.client.to.url}; --timeout limits each request")
            self.heard, self.silence = time.monotonic(), self.silence * 2

    def _keep(self, reply: Reply) -> None:
        self.replies.add(reply)
        self.spent.add(reply)
        self.step(1, str(self.spent))

    def drain(self) -> None:
        """Keep the replies that are still on their way."""
        deadline = time.monotonic() + GRACE
        while self.n_workers and (left := deadline - time.monotonic()) > 0:
            try:
                result = self.results.get(timeout=left)
            except queue.Empty:
                return
            if result is None:
                self.n_workers -= 1
            elif isinstance(result, Reply) and result.text is not None:
                self.replies.add(result)
                self.spent.add(result)


def _work(
    waiting: queue.SimpleQueue[tuple[str, Prompt]],
    client: Client,
    params: Mapping[str, Any],
    results: queue.SimpleQueue[Reply | Exception | _Note | None],
) -> None:
    try:
        while not client.stop.is_set():
            try:
                reply_id, prompt = waiting.get_nowait()
            except queue.Empty:
                break
            results.put(_ask_one(client, reply_id, prompt, params))
    except StoppedError:
        pass
    except Exception as error:
        results.put(error)
    finally:
        results.put(None)


def _ask_one(
    client: Client,
    reply_id: str,
    prompt: Prompt,
    params: Mapping[str, Any],
) -> Reply:
    model = client.to.model
    asked = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    body = {"model": model, "messages": prompt.messages(), **params}
    try:
        answer = client.complete(body)
    except RefusedError as error:
        if not client.worked.is_set():
            # nothing has worked yet, so it is not this prompt that the server objects to
            raise JudgeError(
                f"{client.to.url} refused the first prompt: {error}",
                "check --base-url, --model and --extra; some models take no temperature or other "
                "names",
            ) from None
        return Reply(reply_id, prompt.task, model, None, asked=asked, error=str(error))
    declined = None if answer.refusal is None else f"the model declined: {answer.refusal}"
    return Reply(
        reply_id,
        prompt.task,
        model,
        answer.text if declined is None else None,
        answer.finish_reason,
        answer.tokens_in,
        answer.tokens_out,
        round(answer.seconds, 3),
        asked,
        declined,
    )

"""Asking many prompts: what is kept, counted, repeated, and what a kill or control-C leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from judge.fake_server import Asked, Behaviour, FakeServer, Response, failed, said

from recsae.errors import JudgeError
from recsae.interpret.judge import drawn
from recsae.judge.ask import Spent, ask, missing
from recsae.judge.client import Client, endpoint
from recsae.judge.prompts import Prompt
from recsae.judge.replies import Replies, Reply

PROMPTS = [Prompt("describe", latent, None, "s", f"u{latent}") for latent in range(8)]


def ask_all(server: FakeServer, path: Path, n: int = 8, **options: Any) -> Spent:
    """Ask what has no reply yet, as the stages do."""
    params = options.pop("params", {"temperature": 0})
    given = {"concurrency": 1, "spent": Spent(), "step": lambda n, info: None, **options}
    with Replies.open(path) as replies:
        todo = missing(PROMPTS[:n], "m", params, replies.known)
        ask(todo, Client(endpoint(server.url, "m"), pause=0.001), params, replies, **given)
    spent = given["spent"]
    assert isinstance(spent, Spent)
    return spent


def test_every_prompt_is_asked_once(tmp_path: Path) -> None:
    said_so: list[tuple[int, str]] = []
    with FakeServer.run(lambda asked: said(f"to {asked.user}")) as server:
        spent = ask_all(server, tmp_path / "r", 5, step=lambda n, info: said_so.append((n, info)))
        assert ask_all(server, tmp_path / "r", 5).n_asked == 0
        assert ask_all(server, tmp_path / "r", 8).n_asked == 3
        assert ask_all(server, tmp_path / "r", 8, params={"temperature": 1}).n_asked == 8
    assert (spent.n_asked, spent.tokens_in, spent.tokens_out) == (5, 500, 25)
    assert sorted(asked.user for asked in server.asked[:8]) == [p.user for p in PROMPTS]
    assert len(said_so) == 5
    assert said_so[-1] == (1, "500 tokens in, 25 out")
    for prompt in PROMPTS:
        for temperature in (0, 1):
            reply_id = prompt.reply_id("m", {"temperature": temperature})
            assert Replies.read(tmp_path / "r").known[reply_id].text == f"to {prompt.user}"


def test_equal_prompts_are_one_question() -> None:
    twins = [Prompt("predict", 1, 2, "s", "u"), Prompt("predict", 5, 6, "s", "u")]
    assert len(missing(twins, "m", {}, {})) == 1


def test_money() -> None:
    spent = Spent(10.0, 20.0)
    spent.add(Reply("a", "describe", "m", "x", tokens_in=1000, tokens_out=100))
    spent.add(Reply("b", "describe", "m", "x"))
    spent.add(Reply("c", "describe", "m", None, error="no"))
    assert spent.cost == pytest.approx(0.012)
    assert str(spent) == "1,000 tokens in, 100 out, cost 0.0120 (1 replies without a count)"
    assert (spent.n_asked, spent.n_refused, Spent().cost) == (3, 1, None)
    assert Spent(price_out=1e6, tokens_out=3).cost == 3


def test_requests_run_at_once_up_to_the_limit(tmp_path: Path) -> None:
    three = threading.Barrier(3, timeout=60)

    def together(asked: Asked) -> Response:
        three.wait()
        return said("x")

    with FakeServer.run(together) as server:
        ask_all(server, tmp_path / "r", 6, concurrency=3)
    assert server.most_at_once == 3


def scripted(*responses: Response) -> Behaviour:
    """One response after the other; the last one stays."""
    return lambda asked: responses[min(asked.number, len(responses) - 1)]


def test_a_server_that_stumbles(tmp_path: Path) -> None:
    behave = scripted(
        failed(500),
        said("0"),
        failed(429, Retry_After="0.05"),
        Response(body=b"garbage"),
        said("1"),
        failed(422, "this one never"),
        said("3"),
    )
    with FakeServer.run(behave) as server:
        spent = ask_all(server, tmp_path / "r", 4)
        assert (spent.n_asked, spent.n_refused) == (4, 1)
        assert ask_all(server, tmp_path / "r", 4).n_asked == 0
    replies = Replies.read(tmp_path / "r").known.values()
    assert [reply.text for reply in replies] == ["0", "1", None, "3"]
    assert [reply.error for reply in replies] == [None, None, "422 this one never", None]


def test_the_first_prompt_refused_ends_it(tmp_path: Path) -> None:
    with FakeServer.run(lambda asked: failed(400, "no temperature")) as server:
        with pytest.raises(JudgeError, match="refused the first prompt: 400 no temperature"):
            ask_all(server, tmp_path / "r")
        assert len(server.asked) == 1
        assert Replies.read(tmp_path / "r").known == {}
        server.behave = lambda asked: said("x")
        ask_all(server, tmp_path / "r", 2)
        server.behave = lambda asked: failed(400, "too long")
        assert ask_all(server, tmp_path / "r", 3).n_refused == 1


def test_what_came_before_a_failure_is_kept(tmp_path: Path) -> None:
    with FakeServer.run(scripted(said("0"), said("1"), failed(401, "out"))) as server:
        with pytest.raises(JudgeError, match="answered 401 out"):
            ask_all(server, tmp_path / "r")
        assert [r.text for r in Replies.read(tmp_path / "r").known.values()] == ["0", "1"]
        server.behave = lambda asked: said("later")
        assert ask_all(server, tmp_path / "r").n_asked == 6


SCRIPT = """
import sys
from pathlib import Path
from judge.fake_server import FakeServer
from judge.test_ask import ask_all
class Far:
    url = sys.argv[1]
ask_all(Far, Path(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_call_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    def slow(asked: Asked) -> Response:
        if asked.number >= 3:
            time.sleep(20)
        return said("x")

    path = tmp_path / "r"
    with FakeServer.run(slow) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, server.url, str(path)],
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        while process.poll() is None and (
            len(server.asked) < 4 or len(Replies.read(path).known) < 3
        ):
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == -number, err.decode()
        known = Replies.read(path).known
        assert len(known) == 3
        server.behave = lambda asked: said("y")
        assert ask_all(server, path).n_asked == 5
    assert set(known) < set(Replies.read(path).known)


def test_a_long_silence_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(asked: Asked) -> Response:
        time.sleep(1.0)
        return said("x")

    heard: list[str] = []
    monkeypatch.setattr("recsae.judge.ask._TICK", 0.05)
    monkeypatch.setattr("recsae.judge.ask.FIRST_SILENCE", 0.1)
    with FakeServer.run(slow) as server:
        ask_all(server, tmp_path / "r", 1, say=heard.append)
    assert 1 <= len(heard) <= 4  # ever more rarely
    assert heard[0].startswith(f"still waiting for {server.url}/v1/chat/completions; --timeout")


def test_a_wait_that_the_server_names_is_said(tmp_path: Path) -> None:
    heard: list[str] = []
    behave = scripted(failed(500), failed(429, "slowly", Retry_After="0.1"), said("x"))
    with FakeServer.run(behave) as server:
        ask_all(server, tmp_path / "r", 1, say=heard.append)
    assert "500 no; asking again" in heard[0]
    assert len(heard) == 1  # so short a wait is not worth a second line within five seconds
    behave = scripted(failed(500), failed(429, "slowly", Retry_After="1.5"), said("x"))
    with FakeServer.run(behave) as server:
        ask_all(server, tmp_path / "r2", 1, say=heard.append)
    assert "429 slowly; asking again in 2 s" in heard[-1]


def test_draws_grow() -> None:
    latents = list(range(100))
    few, many = drawn(latents, 3, 10), drawn(latents, 3, 40)
    assert set(few) < set(many)
    assert few == sorted(few) != drawn(latents, 4, 10)
    assert drawn(latents, 3, None) == latents
    assert len(drawn(latents, 3, 1000)) == 100

"""``describe`` and ``judge`` against servers as they are: one row of a table for each kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from judge.fake_server import Asked, FakeServer, Response, failed, said

from recsae.warehouse import Warehouse

if TYPE_CHECKING:
    from conftest import Result
    from stages.finished import Finished

    Cli = Callable[..., Result]

SENTENCE = "Looks for items of one concept."
THOUGHT = "Okay, the user wants me to look. Level 3 fits.\nSo it is probably 7."


@pytest.fixture
def at(own: Finished, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """A finished warehouse of the test's own, where commands look by themselves."""
    monkeypatch.setenv("RECSAE_WAREHOUSE", str(own.root))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return own


def told(**values: Any) -> Response:
    """A response with status 200 and any JSON."""
    return Response(body=json.dumps(values).encode())


def message(content: Any, finish: str | None = "stop", **more: Any) -> Response:
    choice = {"message": {"content": content, **more}, "finish_reason": finish}
    return told(choices=[choice])


def final(asked: Asked) -> str:
    return SENTENCE if "The latent looks for:" in asked.body["messages"][-1]["content"] else "2"


def form(text: str) -> Callable[[Asked], Response]:
    """A reply with the answer in a certain form."""
    return lambda asked: said(text.replace("ANSWER", final(asked)).replace("THOUGHT", THOUGHT))


def both(describe: str, predict: str, finish: str = "stop") -> Callable[[Asked], Response]:
    return lambda asked: said(describe if final(asked) == SENTENCE else predict, finish=finish)


def stream(asked: Asked) -> Response:
    parts = [{"choices": [{"delta": {"content": letter}}]} for letter in final(asked)]
    body = "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + "data: [DONE]\n\n"
    return Response(body=body.encode(), headers={"Content-Type": "text/event-stream"})


def only_at(path: str, status: int) -> Callable[[Asked], Response]:
    def behave(asked: Asked) -> Response:
        if asked.path == path:
            return said(final(asked))
        return Response(status, json.dumps({"detail": "Not Found"}).encode())

    return behave


def no_system(asked: Asked) -> Response:
    if any(one["role"] == "system" for one in asked.body["messages"]):
        return failed(400, "System role not supported")
    assert "Every item is one line" in asked.body["messages"][0]["content"] or final(asked) == "2"
    return said(final(asked))


GOOD: dict[str, Callable[[Asked], Response]] = {
    "plain": form("ANSWER"),
    "think": form("<think>\nTHOUGHT\n</think>\n\nANSWER"),
    "closing mark alone": form("THOUGHT\n</think>\n\nANSWER"),
    "number first": form("7\nhmm, or rather\n</think>\n\nANSWER"),
    "magistral": form("[THINK]THOUGHT[/THINK]ANSWER"),
    "harmony": form(
        "<|channel|>analysis<|message|>THOUGHT<|end|>"
        "<|start|>assistant<|channel|>final<|message|>ANSWER"
    ),
    "thought": form("<thought>THOUGHT</thought>\nANSWER"),
    "thinking": form("<thinking>THOUGHT</thinking>\nANSWER"),
    "kimi": form("◁think▷THOUGHT◁/think▷ANSWER"),
    "fence": form("```\nANSWER\n```"),
    "preamble": form("Sure! Here is the answer:\n\nANSWER"),
    "bold": form("**ANSWER**"),
    "json": both(json.dumps({"description": SENTENCE}), json.dumps({"level": 2})),
    "fenced json": both(f"```\n{SENTENCE}\n```", '```json\n{"level": 2}\n```'),
    "labelled": both(f"**Description:** {SENTENCE}", "**Level:** 2"),
    "out of ten": both(SENTENCE, "2 out of 10"),
    "full width": both(SENTENCE, "２"),
    "line ends": both(f"\r\n{SENTENCE}\r\n", "\r\n2\r\n"),
    "parts": lambda asked: message([{"type": "text", "text": final(asked)}]),
    "thinking parts": lambda asked: message(
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
            {"type": "text", "text": final(asked)},
        ]
    ),
    "reasoning field": lambda asked: message(final(asked), reasoning_content=THOUGHT),
    "stream": stream,
    "no usage": lambda asked: said(final(asked), usage=False),
    "usage null": lambda asked: told(choices=[{"message": {"content": final(asked)}}], usage=None),
    "usage in floats": lambda asked: told(
        choices=[{"message": {"content": final(asked)}}],
        usage={"prompt_tokens": 200.0, "completion_tokens": 5.0},
    ),
    "no system message": no_system,
    "no version in the path": only_at("/chat/completions", 404),
    "method not allowed": only_at("/chat/completions", 405),
}


@pytest.mark.parametrize("behave", GOOD.values(), ids=GOOD)
def test_servers_whose_answers_are_read(
    behave: Callable[[Asked], Response], cli: Cli, at: Finished
) -> None:
    with FakeServer.run(behave) as server:
        given = ["--base-url", server.url, "--model", "m", "--max-latents", 1, "--json"]
        given += ["--max-tokens", 500]
        described = cli("describe", "latest", *given)
        judged = cli("judge", "latest", "--judge", "openai", *given)
    assert (described.code, judged.code) == (0, 0), described.err + judged.err
    (row,) = json.loads(described.out)["descriptions"]
    assert row["description"] == SENTENCE
    (latent,) = json.loads(judged.out)["latents"]
    assert set(latent["predicted_levels"]) == {2}
    assert "0 without a readable level" in judged.err


@dataclass
class Bad:
    """A server without an answer: what the error says, and how often it was asked."""

    behave: Callable[[Asked], Response]
    says: str
    hint: str
    n_asked: int


BAD = {
    "LM Studio": Bad(
        lambda asked: told(error=f"Unexpected endpoint or method. (POST {asked.path})"),
        "Unexpected endpoint or method. (POST /v1/chat/completions)",
        "--base-url",
        2,  # also without /v1
    ),
    "an error for good": Bad(
        lambda asked: told(error={"message": "No such thing", "type": "invalid_request_error"}),
        "No such thing",
        "--model",
        1,
    ),
    "a key under status 200": Bad(
        lambda asked: told(error={"message": "bad key", "code": 401}), "bad key", "key", 1
    ),
    "a quota under status 200": Bad(
        lambda asked: told(error={"message": "pay", "code": "insufficient_quota"}), "pay", "", 1
    ),
    "overloaded": Bad(
        lambda asked: told(error={"message": "Model is overloaded", "code": 502}),
        "502 Model is overloaded",
        "goes on where it stopped",
        2,
    ),
    "loading": Bad(lambda asked: told(error="Model is loading"), "Model is loading", "goes on", 2),
    "no choices": Bad(lambda asked: told(choices=[]), "no choices", "goes on", 2),
    "a login page": Bad(
        lambda asked: Response(body=b"<html><body>Sign in to your network</body></html>"),
        "'Sign in to your network'",
        "--base-url",
        1,
    ),
    "no such model": Bad(
        lambda asked: failed(404, 'model "m" not found, try pulling it first'),
        'model "m" not found, try pulling it first',
        "--model",
        1,
    ),
    "nothing there": Bad(
        lambda asked: Response(405, b'{"detail": "Method Not Allowed"}'),
        "405 Method Not Allowed",
        "--base-url",
        2,
    ),
    "thoughts that were cut": Bad(
        lambda asked: message(None, "length", reasoning=THOUGHT),
        "1 of 1 replies of m hold no sentence, 1 of them cut off at --max-tokens 100; one is empty",
        "--ask-again",
        1,
    ),
    "thoughts in the text that were cut": Bad(
        lambda asked: said(f"\x1b[31m{THOUGHT}\x00", finish="length"),
        "one of them: 'Okay, the user wants me to look.",
        "--max-tokens 100",
        1,
    ),
    "declined": Bad(
        lambda asked: message(None, refusal="I cannot"), "the model declined: I cannot", "", 1
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_servers_without_an_answer(bad: Bad, cli: Cli, at: Finished) -> None:
    with FakeServer.run(bad.behave) as server:
        given = ["--base-url", server.url, "--model", "m", "--max-latents", 1, "--retries", 1]
        result = cli("describe", "latest", *given)
        assert len(server.asked) == bad.n_asked
    assert (result.code, result.out) == (4, "")
    error = result.err[result.err.index("recsae: error: ") :]
    assert bad.says in error
    assert bad.hint in error
    assert len(error.splitlines()) <= 2
    assert "\x1b" not in error
    assert "Traceback" not in result.err


def test_what_is_waited_for_is_said(cli: Cli, at: Finished) -> None:
    def behave(asked: Asked) -> Response:
        return said(final(asked)) if asked.number else failed(503, "warming up")

    with FakeServer.run(behave) as server:
        given = ["--base-url", server.url, "--model", "m", "--max-latents", 1]
        result = cli("describe", "latest", *given)
    assert result.code == 0
    assert "503 warming up; asking again in" in result.err
    assert "repeat 1 of 6" in result.err


def test_a_server_that_is_mended_is_asked_again(cli: Cli, at: Finished) -> None:
    with FakeServer.run(lambda asked: message(None, "length")) as server:
        given = ["--base-url", server.url, "--model", "m", "--max-latents", 2]
        assert cli("describe", "latest", *given).code == 4
        server.behave = lambda asked: said(final(asked))
        again = cli("describe", "latest", *given)
        assert again.code == 4
        assert "hint: " in again.err
        assert "--ask-again" in again.err
        judged = cli("judge", "latest", "--judge", "openai", *given)
        assert judged.code == 3
        assert "--ask-again" in judged.err
        assert cli("describe", "latest", *given, "--ask-again").code == 0
        assert cli("judge", "latest", "--judge", "openai", *given).code == 0


def test_levels_that_are_cut_are_counted(cli: Cli, at: Finished) -> None:
    with FakeServer.run(lambda asked: said(final(asked))) as server:
        given = ["--base-url", server.url, "--model", "m", "--max-latents", 2]
        assert cli("describe", "latest", *given).code == 0
        server.behave = lambda asked: said("7\n\nBecause the", finish="length")
        result = cli("judge", "latest", "--judge", "openai", *given)
        assert result.code == 0
        assert "0 without a readable level" in result.err
        assert "cut off at --max-tokens" in result.err
        server.behave = lambda asked: said("1", finish="length")
        result = cli("judge", "latest", "--judge", "openai", *given, "--ask-again")
        assert result.code == 4
        assert "cut off at --max-tokens 10; one of them: '1'" in result.err


TEXTS = {
    "half an emoji": "Fans of comedy \ud83d",
    "nul": "Fans\x00 of comedy",
    "controls": "Fans of\x07\x1b[2J comedy\x9f",
    "directions": "Fans \u202e of comedy \u2066",
    "huge": "Fans of comedy " * 50_000,
    "noncharacter": "Fans \uffff of comedy \U0010ffff",
    "sql": "Fans'); drop table raw.replies; -- $run_id {}",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_is_stored_shown_and_resumed(text: str, cli: Cli, at: Finished) -> None:
    def behave(asked: Asked) -> Response:
        return message(text if final(asked) == SENTENCE else f"2\n{text}", f"stop{text[:30]}")

    with FakeServer.run(behave) as server:
        given = ["--base-url", server.url, "--model", "m", "--max-latents", 1]
        judge = ["judge", "latest", "--judge", "openai", *given]
        results = [cli("describe", "latest", *given), cli(*judge)]
        results += [cli("describe", "latest", *given, "--force"), cli(*judge, "--force")]
        results += [cli("describe", "latest", *given, "--json"), cli(*judge, "--json")]
        n = len(server.asked)
        results.append(cli("describe", "latest", *given, "--max-latents", 2))
        assert len(server.asked) == n + 1
    assert [result.code for result in results] == [0] * 7, results[0].err
    assert {"\x1b", "\x00", "\u202e"}.isdisjoint("".join(r.out + r.err for r in results))
    with Warehouse.open(at.root, read_only=True) as warehouse:
        kept = warehouse.sql("select text from raw.replies where task = 'describe'")["text"]
    assert set(kept) == {text.replace("\ud83d", "\ufffd")}


def test_replies_of_an_older_version_do_not_stop_later_calls(cli: Cli, at: Finished) -> None:
    """They hold half a pair as it came, and were never stored in the warehouse."""
    with FakeServer.run(lambda asked: said(final(asked))) as server:
        given = ["--base-url", server.url, "--model", "m", "--max-latents", 2]
        asked = json.loads(cli("describe", "latest", *given, "--dry-run", "--json").out)
        file = Path(at.root) / "runs" / at.sae / "judge" / "replies.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        old = {
            "reply_id": asked[0]["reply_id"],
            "task": "describe",
            "model": "m",
            "text": "Fans of comedy \ud83d",
            "finish_reason": None,
        }
        file.write_text(json.dumps(old) + "\n")
        result = cli("describe", "latest", *given, "--json")
        assert result.code == 0, result.err
        assert len(server.asked) == 1
        found = {row["description"] for row in json.loads(result.out)["descriptions"]}
        assert found == {"Fans of comedy \ufffd", SENTENCE}


def test_sentences_that_another_version_read_are_not_judged(cli: Cli, at: Finished) -> None:
    with FakeServer.run(lambda asked: said(final(asked))) as server:
        given = ["--base-url", server.url, "--model", "m", "--max-latents", 1]
        assert cli("describe", "latest", *given).code == 0
        with Warehouse.open(at.root) as warehouse:
            warehouse.execute(
                "update raw.judgements set input_hash = 'old', "
                "params = json_merge_patch(params, '{\"reading\": null}')"
            )
        judged = cli("judge", "latest", "--judge", "openai", *given)
        assert judged.code == 3
        assert "read from its replies by another version" in judged.err
        n = len(server.asked)
        assert cli("describe", "latest", *given).code == 0
        assert len(server.asked) == n
        assert cli("judge", "latest", "--judge", "openai", *given).code == 0


@pytest.mark.parametrize(
    ("option", "value"), [("--model", "a\udcff"), ("--extra", '{"stop": "\\ud83d"}')]
)
def test_options_that_are_no_text(option: str, value: str, cli: Cli, at: Finished) -> None:
    given = ["--base-url", "http://127.0.0.1:9", "--model", "m", option, value]
    result = cli("describe", "latest", *given)
    assert (result.code, result.out) == (2, "")
    assert f"{option} holds a character that is none" in result.err


@pytest.mark.parametrize("value", ['{"x": NaN}', '{"x": ' * 100_000])
def test_extra_that_is_no_json(value: str, cli: Cli, at: Finished) -> None:
    given = ["--base-url", "http://127.0.0.1:9", "--model", "m", "--extra", value]
    result = cli("describe", "latest", *given)
    assert (result.code, result.out) == (2, "")
    assert "--extra is not JSON" in result.err

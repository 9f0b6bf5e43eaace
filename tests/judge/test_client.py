"""The client against a server on this machine that is good, slow, busy, broken or hostile."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from judge.fake_server import Asked, FakeServer, Response, failed, good, said

from recsae.errors import JudgeError, UsageError
from recsae.judge.client import (
    Client,
    Endpoint,
    RefusedError,
    StoppedError,
    endpoint,
    is_local,
    retry_after,
)

KEY = "sk-very-secret"
BODY = {
    "model": "m",
    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "é"}],
}


def client(server: FakeServer, **options: object) -> Client:
    to = endpoint(server.url, "m", **options)  # type: ignore[arg-type]
    return Client(to, pause=0.001)


def first(behaviour: Callable[[Asked], Response], n: int = 1) -> Callable[[Asked], Response]:
    """A behaviour for the first requests; the later ones go well."""
    return lambda asked: behaviour(asked) if asked.number < n else said("8")


# -- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1/chat/completions"),
        ("http://localhost:8000/", "http://localhost:8000/v1/chat/completions"),
        ("http://localhost:8000/v1", "http://localhost:8000/v1/chat/completions"),
        ("https://h/v1/", "https://h/v1/chat/completions"),
        ("https://h/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/api", "https://h/api/v1/chat/completions"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai/chat/completions"),
        ("http://[::1]:8000", "http://[::1]:8000/v1/chat/completions"),
    ],
)
def test_addresses(base: str, url: str) -> None:
    assert endpoint(base, "m", key_env="NONE").url == url


@pytest.mark.parametrize(
    "base",
    [
        "",
        "localhost:8000",
        "ftp://h",
        "http://",
        "file:///etc/passwd",
        "http://h:99999",
        "http://[x",
    ],
)
def test_no_address(base: str) -> None:
    with pytest.raises(UsageError) as caught:
        endpoint(base, "m")
    assert "--base-url" in caught.value.message


@pytest.mark.parametrize("base", ["https://me:pw@h", "https://h?key=x", "https://h/#x"])
def test_an_address_may_hold_no_secret(base: str) -> None:
    with pytest.raises(UsageError) as caught:
        endpoint(base, "m")
    assert "pw" not in caught.value.message


@pytest.mark.parametrize("model", ["", " ", "builtin"])
def test_names_that_no_model_may_have(model: str) -> None:
    with pytest.raises(UsageError):
        endpoint("http://localhost", model)


def test_the_key_goes_unencrypted_only_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with pytest.raises(UsageError) as caught:
        endpoint("http://example.org", "m", key_env="MY_KEY")
    assert "example.org unencrypted" in caught.value.message
    assert KEY not in caught.value.message
    for base in ("https://example.org", "http://localhost:1", "http://127.0.0.1", "http://[::1]"):
        assert endpoint(base, "m", key_env="MY_KEY").key == KEY
    assert endpoint("http://example.org", "m", key_env="MY_KEY", allow_http=True).key == KEY
    assert endpoint("http://example.org", "m", key_env="OTHER").key is None
    assert KEY not in repr(endpoint("https://example.org", "m", key_env="MY_KEY"))


@pytest.mark.parametrize("key", ["a b", "a\nHost: x", "ключ"])
def test_a_key_that_no_header_can_hold(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(UsageError) as caught:
        endpoint("https://h", "m", key_env="MY_KEY")
    assert key not in caught.value.message


def test_local_names() -> None:
    assert all(map(is_local, ("localhost", "LOCALHOST.", "a.localhost", "127.9.9.9", "::1")))
    assert not any(
        map(is_local, ("127.0.0.1.example.org", "localhost.example.org", "10.0.0.1", ""))
    )


# -- answers --------------------------------------------------------------------------------------


def test_a_good_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with FakeServer.run(lambda asked: said("8")) as server:
        answer = client(server, key_env="MY_KEY").complete(BODY)
    asked = server.asked[0]
    assert (answer.text, answer.finish_reason) == ("8", "stop")
    assert (answer.tokens_in, answer.tokens_out) == (100, 5)
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.body == BODY


def test_no_key_no_header() -> None:
    with FakeServer.run(good) as server:
        client(server, key_env="NONE").complete(BODY)
    assert "Authorization" not in server.asked[0].headers


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with FakeServer.run(good) as server:
        assert client(server).complete(BODY).text == "1"


def test_usage_may_be_missing_or_nonsense() -> None:
    strange = {"choices": [{"message": {"content": None}}], "usage": {"prompt_tokens": "many"}}
    with FakeServer.run(lambda asked: Response(body=json.dumps(strange).encode())) as server:
        answer = client(server).complete(BODY)
    assert (answer.text, answer.tokens_in, answer.tokens_out) == ("", None, None)


# -- repeats --------------------------------------------------------------------------------------

GARBAGE = [
    b"",
    b"[]",
    b"null",
    b"{}",
    b'{"choices": []}',
    b'{"choices": [{"message": {"content": 3}}]}',
    b'{"choices": [{"message": null}]}',
    b"\xff\xfe\x00",
    b"1" * 5_000_000,
]


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
def test_statuses_that_pass(status: int) -> None:
    with FakeServer.run(first(lambda asked: failed(status), 2)) as server:
        own = client(server)
        assert own.complete(BODY).text == "8"
    assert (len(server.asked), own.n_retried) == (3, 2)


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_asked_again(body: bytes) -> None:
    with FakeServer.run(first(lambda asked: Response(body=body))) as server:
        assert client(server).complete(BODY).text == "8"
    assert len(server.asked) == 2


def test_a_response_that_breaks_off_is_asked_again() -> None:
    whole = said("8").body
    with FakeServer.run(
        first(lambda asked: Response(body=whole[:-9], length=len(whole)))
    ) as server:
        assert client(server).complete(BODY).text == "8"
    assert len(server.asked) == 2


def test_a_slow_server_is_asked_again() -> None:
    def slow(asked: Asked) -> Response:
        time.sleep(0.6)
        return said("too late")

    with FakeServer.run(first(slow)) as server:
        assert client(server, timeout=0.2).complete(BODY).text == "8"
    assert len(server.asked) >= 2


def test_it_gives_up_in_the_end() -> None:
    with (
        FakeServer.run(lambda asked: failed(500, "out of order")) as server,
        pytest.raises(JudgeError) as caught,
    ):
        client(server, retries=3).complete(BODY)
    assert len(server.asked) == 4
    assert "after 4 tries: 500 out of order" in caught.value.message


def test_a_wait_that_the_server_names_holds_for_all_threads() -> None:
    ended: list[str] = []

    def call(own: Client) -> None:
        try:
            ended.append(own.complete(BODY).text)
        except StoppedError:
            ended.append("stopped")

    with FakeServer.run(first(lambda asked: failed(429, Retry_After="300"))) as server:
        own = client(server)
        threads = [threading.Thread(target=call, args=(own,)) for _ in range(2)]
        threads[0].start()
        while not own._not_before:
            time.sleep(0.01)
        threads[1].start()
        threads[1].join(0.2)
        own.stop.set()
        for thread in threads:
            thread.join()
    assert ended == ["stopped", "stopped"]
    assert len(server.asked) == 1


def test_after_the_wait_it_goes_on() -> None:
    with FakeServer.run(first(lambda asked: failed(429, Retry_After="0.1"))) as server:
        assert client(server).complete(BODY).text == "8"
    assert len(server.asked) == 2


def test_a_wait_that_is_too_long_ends_the_command() -> None:
    with (
        FakeServer.run(lambda asked: failed(429, Retry_After="86400")) as server,
        pytest.raises(JudgeError) as caught,
    ):
        client(server).complete(BODY)
    assert "asks to wait 86,400 s" in caught.value.message
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("Thu, 01 Jan 2026 00:00:10 GMT", 10.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, datetime(2026, 1, 1, tzinfo=UTC)) == seconds


# -- what is not repeated -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_prompt_may_be_refused(status: int) -> None:
    with (
        FakeServer.run(lambda asked: failed(status, "too long")) as server,
        pytest.raises(RefusedError, match=f"{status} too long"),
    ):
        client(server).complete(BODY)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405])
def test_statuses_that_stay(status: int) -> None:
    with (
        FakeServer.run(lambda asked: failed(status, "never")) as server,
        pytest.raises(JudgeError, match=f"answered {status} never"),
    ):
        Client(endpoint(f"{server.url}/v1", "m")).complete(BODY)
    assert len(server.asked) == 1


def test_a_used_up_quota_is_not_waited_for() -> None:
    body = json.dumps({"error": {"message": "pay", "code": "insufficient_quota"}}).encode()
    with (
        FakeServer.run(lambda asked: Response(429, body)) as server,
        pytest.raises(JudgeError, match="429 pay"),
    ):
        client(server).complete(BODY)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with FakeServer.run(good) as other:
        away = {"Location": f"{other.url}/v1/chat/completions"}
        with (
            FakeServer.run(lambda asked: Response(status, headers=away)) as server,
            pytest.raises(JudgeError, match="points elsewhere"),
        ):
            client(server, key_env="MY_KEY").complete(BODY)
    assert other.asked == []


@pytest.mark.parametrize("form", [f"bad key {KEY}", json.dumps({"error": f"{KEY} is\n\nbad"})])
def test_no_message_holds_the_key(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with (
        FakeServer.run(lambda asked: Response(401, form.encode())) as server,
        pytest.raises(JudgeError) as caught,
    ):
        client(server, key_env="MY_KEY").complete(BODY)
    assert "***" in caught.value.message
    assert KEY not in caught.value.message
    assert "\n" not in caught.value.message


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(JudgeError, match="cannot reach") as caught:
        Client(endpoint(f"http://127.0.0.1:{port}", "m")).complete(BODY)
    assert caught.value.hint == "does the server run there?"


def test_a_wait_ends_when_the_command_does() -> None:
    with FakeServer.run(lambda asked: failed(429, Retry_After="300")) as server:
        stop = threading.Event()
        own = Client(Endpoint(f"{server.url}/v1/chat/completions", "m"), stop)
        threading.Timer(0.1, stop.set).start()
        with pytest.raises(StoppedError):
            own.complete(BODY)

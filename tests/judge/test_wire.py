"""Requests to servers that drip, flood or lead elsewhere, and the proxies of the environment."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from judge.fake_server import FakeServer, said

from recsae.errors import JudgeError, UsageError
from recsae.judge.client import Client, RefusedError, endpoint
from recsae.judge.wire import Proxy, TooLargeError, Wire, is_local, proxy_of

BODY = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextmanager
def raw_server(first: bytes, drip: bytes = b"", pause: float = 0.05) -> Iterator[str]:
    """Sends ``first`` to whoever asks, then ``drip`` again and again."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        try:
            # whoever closes with something unread resets the connection
            end = b"}" if connection.recv(7, socket.MSG_PEEK).startswith(b"POST") else b"\r\n\r\n"
            while not connection.recv(65536).endswith(end):
                pass
            connection.sendall(first)
            while drip and not ended.wait(pause):
                connection.sendall(drip)
        except OSError:
            pass
        connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def ask(url: str, **options: object) -> object:
    given = {"retries": 0, "timeout": 0.5, "key_env": "NONE", **options}
    return Client(endpoint(f"{url}/v1", "m", **given), pause=0.001).complete(BODY)  # type: ignore[arg-type]


# -- time and size --------------------------------------------------------------------------------

DRIPS = {
    "status": (b"HTTP/1.1 2", b"0"),
    "headers": (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "more headers": (b"HTTP/1.1 200 OK\r\n", b"X: a\r\n"),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" "),
    "body until the end": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "length of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "stream": (b"HTTP/1.1 200 OK\r\n\r\n", b": ping\n\n"),
}


@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS)
def test_the_time_of_a_request_holds(drip: tuple[bytes, bytes]) -> None:
    with raw_server(*drip) as url:
        started = time.monotonic()
        with pytest.raises(JudgeError, match=r"no whole answer within 0\.5 s"):
            ask(url)
        assert 0.4 < time.monotonic() - started < 5


@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_error_that_drips_is_its_status(status: int) -> None:
    head = f"HTTP/1.1 {status} no\r\nContent-Length: 9999\r\n\r\nout of ord".encode()
    with raw_server(head, b"e") as url:
        started = time.monotonic()
        with pytest.raises((JudgeError, RefusedError), match=f"{status} out of ord"):
            ask(url)
        assert time.monotonic() - started < 5


def test_a_stream_ends_with_its_last_event() -> None:
    told = b'data: {"choices": [{"delta": {"content": "7"}}]}\n\ndata: [DONE]\n\n'
    with raw_server(b"HTTP/1.1 200 OK\r\n\r\n" + told, b": ping\n\n", pause=60) as url:
        assert ask(url, timeout=30).text == "7"  # type: ignore[attr-defined]


def packed(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} x\r\nContent-Encoding: gzip\r\nContent-Length: "
    told = gzip.compress(body)
    return f"{head}{len(told)}\r\n\r\n".encode() + told


def test_a_body_that_is_compressed_unasked() -> None:
    with raw_server(packed(200, said("7").body)) as url:
        assert ask(url, timeout=30).text == "7"  # type: ignore[attr-defined]
    for status, body, part in ((401, b"no key", "401 no key"), (200, b" " * 5_000_000, "4 MB")):
        with raw_server(packed(status, body)) as url, pytest.raises(JudgeError, match=part):
            ask(url, timeout=30)


def test_a_handshake_that_drips() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")
            while not ended.wait(0.05):
                connection.sendall(b"\x02")
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    started = time.monotonic()
    with pytest.raises(JudgeError):
        ask(f"https://127.0.0.1:{listener.getsockname()[1]}")
    assert time.monotonic() - started < 5
    ended.set()
    listener.close()


def test_a_body_has_its_limit() -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 500_000, pause=0.001) as url:
        with pytest.raises(TooLargeError):
            Wire(url).post(url, b"{}", {}, 60)
        with pytest.raises(JudgeError, match="larger than 4 MB"):
            ask(url, timeout=60)


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"choices":' * 100_000])
def test_a_body_that_is_nested_too_deeply(body: bytes) -> None:
    with (
        raw_server(b"HTTP/1.1 200 OK\r\n\r\n" + body) as url,
        pytest.raises(JudgeError, match="nested too deeply"),
    ):
        ask(url, timeout=30)


def test_something_that_is_no_web_server() -> None:
    with (
        raw_server(b"SSH-2.0-OpenSSH_9\r\n") as url,
        pytest.raises(JudgeError, match=r"no HTTP: SSH-2\.0"),
    ):
        ask(url)


def test_tls_where_there_is_none() -> None:
    with FakeServer.run(lambda asked: said("1")) as server, pytest.raises(JudgeError) as caught:
        ask(server.url.replace("http:", "https:"), timeout=10)
    assert caught.value.hint == "does the server speak https there, or plain http?"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_none(seconds: float) -> None:
    with pytest.raises(UsageError, match="--timeout"):
        endpoint("http://localhost", "m", timeout=seconds)


# -- proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "a.localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "0",
        "::1",
        "::",
        "::ffff:127.0.0.1",
    ],
)
def test_this_machine_is_never_sent_to_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", NOWHERE)
    assert is_local(host)
    assert proxy_of("http", host) is None


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.2", "fe80::1", "a.b", "cafe", "dead.beef"])
def test_other_machines(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_local(host)
    assert proxy_of("http", host) is None
    monkeypatch.setenv("http_proxy", "http://me:secret@proxy:3128")
    proxy = proxy_of("http", host)
    assert proxy == Proxy("http://me:secret@proxy:3128", "http_proxy")
    assert proxy.shown == "http://proxy:3128"
    assert proxy_of("https", host) is None
    monkeypatch.setenv("no_proxy", f"x.org,{host}")
    assert proxy_of("http", host) is None


def test_networks_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", NOWHERE)
    monkeypatch.setenv("no_proxy", "x.org, 10.0.0.0/8")
    assert proxy_of("http", "10.1.2.3") is None
    assert proxy_of("http", "11.1.2.3") is not None
    assert proxy_of("http", "example.org") is not None


def test_0_0_0_0_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", NOWHERE)
    with FakeServer.run(lambda asked: said("1")) as server:
        url = server.url.replace("127.0.0.1", "0.0.0.0")
        assert ask(url, timeout=10).text == "1"  # type: ignore[attr-defined]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", "http://me:secret@127.0.0.1:9")
    with pytest.raises(JudgeError) as caught:
        ask(f"{scheme}://192.0.2.1:8000", timeout=10)
    told = f"{caught.value.message} {caught.value.hint}"
    assert "the proxy http://127.0.0.1:9 does not lead to" in told
    assert "add 192.0.2.1 to no_proxy" in told
    assert f"{scheme}_proxy names the proxy" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("answer", "scheme", "part"),
    [
        (b"HTTP/1.1 503 no\r\n\r\n", "http", "503"),
        (b"HTTP/1.1 407 who\r\n\r\n", "http", "407"),
        (b"HTTP/1.1 403 no\r\n\r\n<html><title>Blocked</title>", "http", "403 Blocked"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html><title>Log in</title>", "http", "Log in"),
        (b"HTTP/1.1 403 no\r\n\r\n", "https", "Tunnel connection failed: 403"),
    ],
)
def test_what_a_proxy_answers(
    answer: bytes, scheme: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw_server(answer) as proxy:
        monkeypatch.setenv(f"{scheme}_proxy", proxy)
        with pytest.raises(JudgeError) as caught:
            ask(f"{scheme}://192.0.2.1:8000", timeout=10)
    assert f"proxy {proxy}" in caught.value.message
    assert part in caught.value.message
    assert "add 192.0.2.1 to no_proxy" in str(caught.value.hint)


def test_a_proxy_that_never_ends_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\nX: ", b"a") as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        started = time.monotonic()
        with pytest.raises(JudgeError, match=r"within 0\.5 s"):
            ask("https://192.0.2.1:8000")
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1080", "http://", "http://h:x", "ftp://h"])
def test_a_proxy_that_is_no_http_proxy(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", address)
    with pytest.raises(UsageError, match="http_proxy"):
        ask("http://192.0.2.1:8000")

"""One HTTP request whose time and size are limited as a whole, and the proxy that it goes through.

``urllib`` limits the time of a single read only, so a server that sends a byte now and then would
hold a request for ever.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from recsae.errors import UsageError

MOST_BYTES = 4_000_000
"""Of a response; more is no chat completion."""

MOST_ERROR_BYTES = 65_536
"""Of the body of an error, of which the rest is not read."""


class TooLargeError(Exception):
    """The response is larger than ``MOST_BYTES``."""


@dataclass(frozen=True)
class Response:
    """What came back, whatever its status."""

    status: int
    headers: Message
    body: bytes
    """Of an error as much as came in time."""


@dataclass(frozen=True)
class Proxy:
    """Where the environment sends requests first."""

    address: str
    """As the environment has it; it may hold a password."""
    variable: str
    """The variable that names it."""

    @property
    def shown(self) -> str:
        """The address without a name or a password."""
        parts = urlsplit(self.address if "//" in self.address else f"//{self.address}")
        return f"{parts.scheme or 'http'}://{parts.netloc.rpartition('@')[2]}"


def is_local(host: str) -> bool:
    """Whether a host name means this machine, in any spelling that the system takes."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    if address is None:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        pass
    if not name or not set(name) <= set("0123456789abcdefx."):
        return None
    try:  # 127.1 and 0x7f000001 are addresses to the system, too
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except (OSError, ValueError):
        return None


def proxy_of(scheme: str, host: str) -> Proxy | None:
    """The proxy that the environment names for a host; never one for this machine.

    UsageError for a proxy that speaks something else than HTTP.
    """
    address = urllib.request.getproxies().get(scheme)
    if not address or is_local(host) or urllib.request.proxy_bypass(host) or _in_network(host):
        return None
    proxy = Proxy(address, f"{scheme}_proxy")
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        fine = parts.scheme in ("", "http", "https") and bool(parts.hostname)
        fine = fine and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine:
        raise UsageError(
            f"the proxy that {proxy.variable} names is no http proxy",
            f"add {host} to no_proxy, or set {proxy.variable} as http://proxy:3128",
        )
    return proxy


def _in_network(host: str) -> bool:
    """Whether no_proxy has a network such as 10.0.0.0/8 that holds the host's address."""
    address = _address(host)
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for name in listed.split(",") if address is not None else ():
        try:
            network = ipaddress.ip_network(name.strip(), strict=False)
        except ValueError:
            continue
        if "/" in name and address in network:
            return True
    return False


class Wire:
    """Sends requests to one host; safe to use from several threads."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        self.proxy = proxy_of(parts.scheme, host)
        proxies = {parts.scheme: self.proxy.address} if self.proxy else {}
        handlers: list[urllib.request.BaseHandler] = [_Http(), _NoRedirect()]
        if parts.scheme == "https" or (self.proxy and self.proxy.shown.startswith("https")):
            handlers.append(_Https(_context()))
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies), *handlers)

    def post(self, url: str, data: bytes, headers: Mapping[str, str], timeout: float) -> Response:
        """The response to a request.

        TimeoutError when it is not there after ``timeout`` seconds, though some of it may have
        come. TooLargeError. OSError and HTTPException for a connection that fails.
        """
        request = _Request(url, data, dict(headers))
        request.deadline = time.monotonic() + timeout
        try:
            with self._opener.open(request, timeout=timeout) as response:
                body = _unpacked(_read(response, MOST_BYTES), response.headers)
                return Response(response.status, response.headers, body)
        except urllib.error.HTTPError as error:
            with error:
                body = _unpacked(_read_error(error), error.headers)
                return Response(error.code, error.headers, body)
        except urllib.error.URLError as error:
            raise error.reason if isinstance(error.reason, OSError) else error from None


class _Request(urllib.request.Request):
    deadline = 0.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: Any) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req, deadline=req.deadline)  # type: ignore[arg-type]


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._own = context

    def https_open(self, req: Any) -> http.client.HTTPResponse:
        given: dict[str, Any] = {"deadline": req.deadline, "context": self._own}
        return self.do_open(_SecureConnection, req, **given)  # type: ignore[arg-type]


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = _SecureSocket
    return context


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Limited:
    """A socket that waits for the next bytes no longer than until its deadline."""

    deadline: float

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left(self.deadline))  # type: ignore[attr-defined]
        return super().recv_into(*args, **kwargs)  # type: ignore[misc]

    def send(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left(self.deadline))  # type: ignore[attr-defined]
        return super().send(*args, **kwargs)  # type: ignore[misc]


class _Socket(_Limited, socket.socket):
    pass


class _SecureSocket(_Limited, ssl.SSLSocket):
    pass


def _connected(address: tuple[str, int], deadline: float) -> _Socket:
    """A connection to the first address of a host that takes one, all tries within the deadline."""
    failed: OSError = OSError("the host has no address")
    for family, kind, proto, _, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        try:
            made = _Socket(family, kind, proto)
        except OSError as error:  # such as no IPv6 here
            failed = error
            continue
        made.deadline = deadline
        try:
            made.settimeout(_left(deadline))
            made.connect(place)
            made.settimeout(_left(deadline))
            return made
        except OSError as error:
            made.close()
            failed = error
    raise failed


class _Connection(http.client.HTTPConnection):
    def __init__(self, host: str, *, deadline: float, **kwargs: Any) -> None:
        super().__init__(host, **kwargs)
        # the one place where the answer of a proxy to CONNECT is limited as well
        self._create_connection = lambda address, *rest: _connected(address, deadline)


class _SecureConnection(http.client.HTTPSConnection):
    def __init__(self, host: str, *, deadline: float, **kwargs: Any) -> None:
        super().__init__(host, **kwargs)
        self._deadline = deadline
        self._create_connection = lambda address, *rest: _connected(address, deadline)

    def connect(self) -> None:
        super().connect()  # the handshake as a whole has the time that is left
        self.sock.deadline = self._deadline  # type: ignore[union-attr]


def _read(response: http.client.HTTPResponse, most: int) -> bytes:
    """A whole body; an event stream ends with its last event, even if the connection stays."""
    chunks: list[bytes] = []
    size, end = 0, b""
    while chunk := response.read1(65536):
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            raise TooLargeError(f"the response is larger than {most / 1e6:g} MB")
        end = (end + chunk)[-16:].rstrip()
        if end.endswith(b"data: [DONE]") and is_stream(chunks[0]):
            break
    return b"".join(chunks)


def _unpacked(body: bytes, headers: Message) -> bytes:
    """A body that came compressed, which some gateways do unasked; limited as it is unpacked."""
    if headers.get("Content-Encoding", "").strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        plain = zlib.decompressobj(wbits=47).decompress(body, MOST_BYTES + 1)
    except zlib.error:
        return body
    if len(plain) > MOST_BYTES:
        raise TooLargeError(f"the response is larger than {MOST_BYTES / 1e6:g} MB")
    return plain


def is_stream(body: bytes) -> bool:
    """Whether a body is of server-sent events."""
    return body.lstrip()[:6].startswith((b"data:", b"event:", b":", b"id:", b"retry:"))


def _some(error: urllib.error.HTTPError) -> bytes:
    response: Any = error.fp
    return bytes(response.read1(8192))


def _read_error(error: urllib.error.HTTPError) -> bytes:
    """What an error says; the status counts even if the rest never comes."""
    chunks: list[bytes] = []
    size = 0
    try:
        while size < MOST_ERROR_BYTES and (chunk := _some(error)):
            chunks.append(chunk)
            size += len(chunk)
    except (OSError, http.client.HTTPException, ValueError):
        pass
    return b"".join(chunks)

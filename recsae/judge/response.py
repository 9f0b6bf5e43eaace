"""What the body of a response says: an answer, in any form that servers give it, or why not.

A status of 200 is no promise: gateways and some servers put errors, streams and pages under it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from recsae.judge.wire import is_stream
from recsae.judge.words import one_line


@dataclass(frozen=True)
class Answer:
    """What came back."""

    text: str
    finish_reason: str | None
    tokens_in: int | None
    tokens_out: int | None
    seconds: float
    refusal: str | None = None
    """What the model said instead of an answer, where the server tells it apart."""


@dataclass(frozen=True)
class Told:
    """An error as a server tells it."""

    text: str
    code: str = ""
    """Code and type, as words."""
    status: int | None = None
    """The status that the error should have come with."""


class NoAnswerError(Exception):
    """A response with status 200 that holds no answer."""

    def __init__(
        self, kind: Literal["error", "page", "empty", "broken"], text: str, told: Told | None = None
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.told = told


def read_answer(raw: bytes, seconds: float) -> Answer:
    """The answer in a response; NoAnswerError with what is there instead."""
    if is_stream(raw):
        return _streamed(raw, seconds)
    if _is_page(raw):
        words = page_words(raw.decode("utf-8", "replace"))
        raise NoAnswerError("page", f"a web page instead of a chat completion: {words!r}")
    told = loads(raw)
    if isinstance(told, list) and len(told) == 1:
        told = told[0]  # as Google wraps its errors
    if not isinstance(told, dict):
        raise NoAnswerError("broken", f"the response is no chat completion: {_start(raw)!r}")
    if (error := error_in(told)) is not None:
        raise NoAnswerError("error", error.text, error)
    return _answer(told, raw, seconds)


def loads(raw: bytes) -> Any:
    """JSON, read as kindly as can be; NoAnswerError when it is none."""
    try:
        try:
            return json.loads(raw, strict=False)
        except UnicodeDecodeError:
            return json.loads(raw.decode("utf-8", "replace"), strict=False)
    except RecursionError:
        raise NoAnswerError("broken", "the response is JSON nested too deeply to be read") from None
    except ValueError:
        if not raw.strip():
            raise NoAnswerError("broken", "the response is empty") from None
        text = f"the response is no chat completion, or was cut off: {_start(raw)!r}"
        raise NoAnswerError("broken", text) from None


def _start(raw: bytes) -> str:
    return one_line(raw[:400].decode("utf-8", "replace"), 80)


# -- answers --------------------------------------------------------------------------------------


def _answer(told: Mapping[str, Any], raw: bytes, seconds: float) -> Answer:
    choice = _choice(told)
    if choice is None:
        empty = "choices" in told
        text = "the response has no choices" if empty else "the response is no chat completion"
        raise NoAnswerError("empty" if empty else "broken", f"{text}: {_start(raw)!r}")
    if (error := error_in(choice)) is not None:
        raise NoAnswerError("error", error.text, error)
    message = choice.get("message", choice.get("delta"))
    if message is None and isinstance(choice.get("text"), str):
        message = {"content": choice["text"]}
    if not isinstance(message, dict):
        raise NoAnswerError("broken", f"the response holds no message: {_start(raw)!r}")
    said, refusal = _text(message.get("content")), message.get("refusal")
    if said is None:
        raise NoAnswerError("broken", f"the message holds no text: {_start(raw)!r}")
    declined = refusal if isinstance(refusal, str) and refusal and not said.strip() else None
    usage, reason = told.get("usage"), choice.get("finish_reason")
    counts = usage if isinstance(usage, dict) else {}
    return Answer(
        said,
        reason if isinstance(reason, str) else None,
        _count(counts.get("prompt_tokens")),
        _count(counts.get("completion_tokens")),
        seconds,
        declined,
    )


def _choice(told: Mapping[str, Any]) -> dict[str, Any] | None:
    choices = told.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return None


def _text(content: Any) -> str | None:
    """The text of a message, which may come in parts, those of thoughts among them."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return None
    return "".join(_part(part) for part in content)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type") not in (None, "text", "output_text"):
        return ""
    text = part.get("text")
    if isinstance(text, dict):
        text = text.get("value")
    return text if isinstance(text, str) else ""


def _count(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40
    return value if good and isinstance(value, int) else None


def _streamed(raw: bytes, seconds: float) -> Answer:
    """The answer in a stream of events, from a server that streams without being asked to."""
    texts: list[str] = []
    last: dict[str, Any] = {}
    usage: Any = None
    ended = False
    for data in _events(raw):
        if data == b"[DONE]":
            ended = True
            break
        told = loads(data)
        if not isinstance(told, dict):
            continue
        if (error := error_in(told)) is not None:
            raise NoAnswerError("error", error.text, error)
        usage = told.get("usage") or usage
        choice = _choice(told)
        if choice is None:
            continue
        if (error := error_in(choice)) is not None:
            raise NoAnswerError("error", error.text, error)
        message = choice.get("delta") or choice.get("message") or {}
        texts.append((_text(message.get("content")) or "") if isinstance(message, dict) else "")
        last = choice if choice.get("finish_reason") or not last.get("finish_reason") else last
    if not texts:
        raise NoAnswerError("broken", f"a stream of events without an answer: {_start(raw)!r}")
    if not ended and not last.get("finish_reason"):
        raise NoAnswerError("broken", "a stream of events that was cut off")
    whole = {"message": {"content": "".join(texts)}, "finish_reason": last.get("finish_reason")}
    return _answer({"choices": [whole], "usage": usage}, raw, seconds)


def _events(raw: bytes) -> Iterator[bytes]:
    for line in re.split(rb"\r\n|\n|\r", raw):
        name, _, data = line.strip().partition(b":")
        if name == b"data":
            yield data.strip()


# -- errors ---------------------------------------------------------------------------------------


def error_in(told: Mapping[str, Any]) -> Told | None:
    """The error in an object as OpenAI, OpenRouter, vLLM, LM Studio or FastAPI word it."""
    error = told.get("error")
    if error:
        return _told(error, told)
    if told.get("object") == "error" or "choices" not in told:
        for name in ("message", "detail", "errors", "error_message", "msg"):
            if told.get(name) and not _is_message(told[name]):
                return _told(told[name], told)
    if told.get("finish_reason") == "error":
        return Told("the model ended with an error", "server_error")
    return None


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and "content" in value


def _told(error: Any, around: Mapping[str, Any]) -> Told:
    if not isinstance(error, dict):
        return Told(_words(error), _code(around), _status(around))
    text = error.get("message") or error.get("detail") or error.get("error") or error
    words = _words(text)
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if raw:  # what the provider behind a gateway said
        words = f"{words} ({_words(raw)})"
    return Told(words, _code(error), _status(error))


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)[:1000]


def _code(error: Mapping[str, Any]) -> str:
    found = (error.get(name) for name in ("code", "type", "status"))
    return " ".join(str(value)[:100] for value in found if isinstance(value, str | int))


def _status(error: Mapping[str, Any]) -> int | None:
    for name in ("code", "status", "status_code", "statusCode"):
        value = error.get(name)
        if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600:
            return value
    return None


def error_body(raw: bytes) -> Told:
    """What the body of an error says: JSON in any of the known forms, a web page, or plain text."""
    text = raw.decode("utf-8", "replace")
    if _is_page(raw):
        return Told(page_words(text))
    try:
        told = loads(raw)
    except NoAnswerError:
        return Told(text[:4000])
    if isinstance(told, list) and len(told) == 1:
        told = told[0]
    if not isinstance(told, dict):
        return Told(_words(told))
    return error_in(told) or Told(_words(told))


# -- pages ----------------------------------------------------------------------------------------


def _is_page(raw: bytes) -> bool:
    head = raw.lstrip()[:200].lower()
    return head.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--"))


def page_words(text: str) -> str:
    """What a web page says, shortly: its title, or its first words without the markup."""
    head = text[:20_000]
    if titled := re.search(r"<title[^<>]{0,200}>([^<]*)</title", head, re.IGNORECASE):
        title = one_line(titled[1], 100)
        if title:
            return title
    for name in ("script", "style"):
        head = re.sub(rf"<{name}\b[^<]*(?:<(?!/{name})[^<]*)*</{name}>", " ", head, flags=re.I)
    return one_line(re.sub(r"<[^<>]*>", " ", head), 100)

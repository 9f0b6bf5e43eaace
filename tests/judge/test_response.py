"""Bodies of responses: answers in every form that servers give them, and errors in words."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsae.judge.response import NoAnswerError, error_body, page_words, read_answer


def message(content: Any, **more: Any) -> bytes:
    choice = {"message": {"role": "assistant", "content": content, **more}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice]}).encode()


def events(*told: Any, end: bool = True) -> bytes:
    lines = [f"data: {json.dumps(one)}\n\n" for one in told]
    return "".join([*lines, "data: [DONE]\n\n" if end else ""]).encode()


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "3 or 4"}]}
ANSWERS = {
    "text": message("7"),
    "a part": message([{"type": "text", "text": "7"}]),
    "thinking and text": message([THINKING, {"type": "text", "text": "7"}]),
    "reasoning and text": message(
        [{"type": "reasoning", "text": "3"}, {"type": "output_text", "text": "7"}]
    ),
    "strings": message(["7"]),
    "one part, no list": message({"type": "text", "text": "7"}),
    "a part with a value": message([{"type": "text", "text": {"value": "7"}}]),
    "a picture beside": message([{"type": "image_url", "image_url": {}}, {"text": "7"}]),
    "reasoning beside": message("7", reasoning_content="3 or 4", reasoning="3 or 4"),
    "a completion": json.dumps({"choices": [{"text": "7"}]}).encode(),
    "a mark of the byte order": b"\xef\xbb\xbf" + message("7"),
    "blank lines before": b"\n\n \n" + message("7"),
    "in a list": b"[" + message("7") + b"]",
    "a stream": events(chunk("7", "stop")),
    "a stream without an end": events(chunk("7", "stop"), end=False),
    "a stream without a reason": events(chunk("7")),
    "a stream with comments": b": ping\r\n\r\nevent: message\r\n" + events(chunk("7", "stop")),
}


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS)
def test_answers(body: bytes) -> None:
    assert read_answer(body, 1.0).text == "7"


def test_a_stream_is_put_together() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    answer = read_answer(events(chunk("films "), chunk("about trains", "length"), usage), 1.0)
    assert answer.text == "films about trains"
    assert (answer.finish_reason, answer.tokens_in, answer.tokens_out) == ("length", 9, 2)


def test_text_that_is_no_text() -> None:
    assert (
        read_answer(b'{"choices": [{"message": {"content": "a\x00b\x1b"}}]}', 1).text == "a\0b\x1b"
    )
    half = b'{"choices": [{"message": {"content": "a\\ud83d"}}]}'
    assert read_answer(half, 1).text == "a\ud83d"
    assert read_answer(half.replace(b"\\ud83d", b"\xed\xa0\xbd"), 1).text.startswith("a")
    assert read_answer(half.replace(b"\\ud83d", b"\xe9"), 1).text == "a\ufffd"


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, (None, None)),
        ({"prompt_tokens": 200.0, "completion_tokens": 5.0}, (200, 5)),
        ({"prompt_tokens": 200.5, "completion_tokens": -1}, (None, None)),
        ({"prompt_tokens": True, "completion_tokens": "5"}, (None, None)),
        ({"prompt_tokens": 10**30, "completion_tokens": None}, (None, None)),
        ([1], (None, None)),
    ],
)
def test_usage(usage: Any, counts: tuple[int | None, int | None]) -> None:
    told = json.loads(message("7"))
    answer = read_answer(json.dumps({**told, "usage": usage}).encode(), 1)
    assert (answer.tokens_in, answer.tokens_out) == counts


def test_a_refusal_of_the_model() -> None:
    assert read_answer(message(None, refusal="I cannot"), 1).refusal == "I cannot"
    assert read_answer(message("7", refusal=None), 1).refusal is None
    assert read_answer(message("7", refusal="I cannot"), 1).refusal is None


ERRORS = [
    ({"error": {"message": "overloaded", "code": 502}}, "overloaded", 502),
    ({"error": {"message": "bad", "code": "429"}}, "bad", 429),
    ({"error": "Unexpected endpoint"}, "Unexpected endpoint", None),
    ({"error": "no", "status": 503}, "no", 503),
    ({"error": {"code": 404}}, '{"code": 404}', 404),
    (
        {"error": {"message": "Provider returned error", "metadata": {"raw": "GPU is gone"}}},
        "Provider returned error (GPU is gone)",
        None,
    ),
    ({"object": "error", "message": "no such model", "code": 404}, "no such model", 404),
    ({"detail": "Not Found"}, "Not Found", None),
    ({"detail": [{"msg": "field required"}]}, '[{"msg": "field required"}]', None),
    ([{"error": {"message": "API key not valid", "code": 400}}], "API key not valid", 400),
    ({"choices": [{"error": {"message": "gone", "code": 502}}]}, "gone", 502),
]


@pytest.mark.parametrize(("told", "text", "status"), ERRORS)
def test_errors_under_status_200(told: Any, text: str, status: int | None) -> None:
    with pytest.raises(NoAnswerError) as caught:
        read_answer(json.dumps(told).encode(), 1)
    assert caught.value.kind == "error"
    assert caught.value.told is not None
    assert (caught.value.told.text, caught.value.told.status) == (text, status)


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"", "broken", "empty"),
        (b"[" * 200_000, "broken", "nested too deeply"),
        (b'{"a":' * 200_000, "broken", "nested too deeply"),
        (b'{"choices": [{"mess', "broken", 'cut off: \'{"choices": [{"mess\''),
        (b'{"choices": []}', "empty", "no choices"),
        (b'{"choices": null}', "empty", "no choices"),
        (b'{"id": 3}', "broken", '{"id": 3}'),
        (b"7", "broken", "'7'"),
        (b"1" * 5000, "broken", "1111"),
        (message(3), "broken", "no text"),
        (b"<!DOCTYPE html><html><head><title>Sign in</title>", "page", "'Sign in'"),
        (b"<html><body>Sign in to your network</body></html>", "page", "Sign in to your network"),
        (events(chunk("7"), end=False), "broken", "cut off"),
        (b"data: [DONE]\n\n", "broken", "without an answer"),
        (events({"error": {"message": "gone"}}), "error", "gone"),
    ],
    ids=range(15),
)
def test_no_answers(body: bytes, kind: str, text: str) -> None:
    with pytest.raises(NoAnswerError) as caught:
        read_answer(body, 1)
    assert caught.value.kind == kind
    assert text in str(caught.value)


@given(st.binary() | st.text().map(str.encode) | st.builds(message, st.text()))
def test_any_body_is_an_answer_or_not(body: bytes) -> None:
    with suppress(NoAnswerError):
        assert isinstance(read_answer(body, 1).text, str)
    assert isinstance(error_body(body).text, str)


def test_words_of_pages() -> None:
    assert page_words("<html><title>\n502 Bad\tGateway </title><body>x") == "502 Bad Gateway"
    assert page_words("<html><style>p {}</style><script>let a</script><p>Down</p>") == "Down"
    assert len(page_words("<" * 20_000)) <= 100


def test_bodies_of_errors() -> None:
    assert error_body(b'{"error": {"message": "no"}}').text == "no"
    assert error_body(b"upstream is gone").text == "upstream is gone"
    assert error_body(b"<html><title>502 Bad Gateway</title>").text == "502 Bad Gateway"
    assert error_body(b"[" * 100_000).text.startswith("[[[")

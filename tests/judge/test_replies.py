"""The file of replies: appended to, read back, and mended after a writer that died."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsae.judge.replies import Replies, Reply

ONE = Reply(
    "a", "describe", "m", "tr\x85ain\u2028s\n \ud800", "stop", 3, 4, 0.5, "2026-01-01T00:00:00"
)
TWO = Reply("b", "predict", "m", None, error="no")


def test_what_is_added_is_there_for_others_at_once(tmp_path: Path) -> None:
    path = tmp_path / "judge" / "replies.jsonl"
    with Replies.open(path) as replies:
        replies.add(ONE)
        assert Replies.read(path).known == {"a": ONE}
        replies.add(TWO)
    assert Replies.read(path).known == {"a": ONE, "b": TWO}
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_the_last_reply_counts(tmp_path: Path) -> None:
    path = tmp_path / "r"
    later = Reply("a", "describe", "m", "later")
    for reply in (ONE, later):
        with Replies.open(path) as replies:
            replies.add(reply)
    assert Replies.read(path).known == {"a": later}
    assert len(path.read_bytes().splitlines()) == 2


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r"
    with Replies.open(path) as replies:
        replies.add(TWO)
        replies.add(ONE)
    path.write_bytes(path.read_bytes()[:-cut])
    assert Replies.read(path).known == {"b": TWO}
    with Replies.open(path) as replies:
        replies.add(ONE)
    assert Replies.read(path).known == {"a": ONE, "b": TWO}


@pytest.mark.parametrize(
    "line", [b"[]", b"3", b"\xff\xfe", b"{}", b'{"reply_id": 3}', b"", b"null"]
)
def test_lines_that_are_no_reply(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "r"
    path.write_bytes(line + b"\n")
    with Replies.open(path) as replies:
        replies.add(ONE)
    assert Replies.read(path).known == {"a": ONE}


def test_no_file(tmp_path: Path) -> None:
    assert Replies.read(tmp_path / "none").known == {}
    assert not (tmp_path / "none").exists()

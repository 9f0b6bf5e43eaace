"""What a model answered, without what it thought before: the marks of the models and servers.

A server with the right parser sends thoughts in a field of their own. Without it they are in the
text, between marks that every family of models spells otherwise, of which special tokens (a whole
mark, or only the opening one) may have been left out on the way.
"""

from __future__ import annotations

import re

_NAMES = (
    r"(?:[a-z]{1,12}:)?(?:think|thinking|thoughts?|reason|reasoning|reflection|analysis|scratchpad"
    r"|chain[_ ]of[_ ]thought|(?:inner|internal)[_ ]monologue|cot)"
)
_LEFT, _RIGHT = r"(?:<|&lt;|\\<)\s?", r"\s?(?:>|&gt;)"
_BAR = r"[|｜]"
_OPEN = "|".join(
    (
        rf"{_LEFT}{_NAMES}(?:\s[^<>\[\]]{{0,200}})?{_RIGHT}",
        rf"\[(?:start[_ ])?{_NAMES}\]",
        rf"◁{_NAMES}▷",
        rf"<{_BAR}(?:start|begin|begin_of)?[_ ▁]?{_NAMES}{_BAR}>",
        r"<\|inner_prefix\|>",
        r"<\|channel>(?:thought|analysis)?",
        r'<details\s[^<>]{0,200}type="reasoning"[^<>]{0,200}>',
    )
)
_CLOSE = "|".join(
    (
        rf"{_LEFT}\\?/\s?{_NAMES}{_RIGHT}",
        rf"\[(?:/|end[_ ]){_NAMES}\]",
        rf"◁/{_NAMES}▷",
        rf"<{_BAR}(?:/|end|end_of)[_ ▁]?{_NAMES}{_BAR}>",
        r"<\|inner_suffix\|>",
        r"<channel\|>",
        r"</details>",
        r"\.\.\.done thinking\.",
    )
)
_MARK = re.compile(rf"(?P<close>{_CLOSE})|(?P<open>{_OPEN})", re.IGNORECASE)
_EMPTY = re.compile(rf"<\s?{_NAMES}\s?/>", re.IGNORECASE)

_CHANNEL = re.compile(
    r"<\|channel\|>\s*(?P<name>\w*)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"|(?P<end><\|(?:end|return|start|call|channel)\|>)"
)
"""The head of a part of a gpt-oss reply, or where the part ends."""

_BARE_THOUGHT = re.compile(r"(?:assistant)?(?:analysis|commentary)(?=[A-Z])|thought\s*\n")
"""How a reply starts whose special tokens were left out, and with them the marks."""

_GRANITE = re.compile(r"\s*here(?: is|'s|’s) my thought process:", re.IGNORECASE)
_GRANITE_ANSWER = re.compile(r"here(?: is|'s|’s) my response:", re.IGNORECASE)

_ANSWER_NAMES = (
    r"(?:final[_ ]?answer|answer|response|solution|output|result|final|level|description|sentence)"
)
_ANSWER = re.compile(
    rf"(?P<close></{_ANSWER_NAMES}>|<\|(?:end_of|end)_(?:solution|response|box)\|>)"
    rf"|(?P<open><{_ANSWER_NAMES}>|<\|(?:begin_of|start)_(?:solution|response|box)\|>)",
    re.IGNORECASE,
)
_TURN = re.compile(
    rf"<{_BAR}(?:im_end|eot_id|eom_id|end|endoftext|return|end[_▁]of[_▁](?:text|sentence|turn)"
    rf"|END_OF_TURN_TOKEN|im_start|start_header_id|start){_BAR}>"
    r"|</?s>|<(?:eos|bos|pad|end_of_turn|start_of_turn)>|\[/?INST\]",
    re.IGNORECASE,
)
_TOKEN = re.compile(rf"<{_BAR}[^|｜<>\s]{{1,40}}{_BAR}>|<unused\d{{1,4}}>")
_ROLE = re.compile(r"\s*(?:assistant|model)\s*[:\n]\s*", re.IGNORECASE)


def answer(text: str | None) -> str:
    """The part of a reply that answers; empty when it holds thoughts only, or was cut in them."""
    said = _EMPTY.sub("", text or "")
    said = _outside(_final_channel(said))
    if _GRANITE.match(said):
        said = [*_GRANITE_ANSWER.split(said, maxsplit=1), ""][1]
    said = _first_turn(_inside_answer(said))
    return _ROLE.sub("", _TOKEN.sub("", said), count=1).strip()


def _final_channel(text: str) -> str:
    """The final channel of a gpt-oss reply; other texts as they are."""
    if "assistantfinal" in text:
        return text.rpartition("assistantfinal")[2]
    if _BARE_THOUGHT.match(text.lstrip()):
        # Gemma's closing mark may be there where its opening one is not
        return text if "<channel|>" in text else ""
    if "<|message|>" not in text and "<|channel|>" not in text:
        return text
    final, inside, start = "", False, 0
    for mark in _CHANNEL.finditer(text):
        if inside:
            final = text[start : mark.start()]
        inside, start = mark["name"] == "final", mark.end()
    return text[start:] if inside else final


def _outside(text: str) -> str:
    """What is not between marks of thoughts, nor before a closing one or after an opening one."""
    kept: list[str] = []
    start: int | None = 0
    for mark in _MARK.finditer(text):
        if mark["open"] is not None:
            if start is not None:
                kept.append(text[start : mark.start()])
            start = None
            continue
        if start is not None:  # a closing mark alone: all before it was a thought
            kept.clear()
        start = mark.end()
    if start is not None:
        kept.append(text[start:])
    return "\n".join(kept)


def _inside_answer(text: str) -> str:
    """What stands between marks of an answer, or all of a text without any."""
    kept: list[str] = []
    loose: list[str] = []
    start, inside, found = 0, False, False
    for mark in _ANSWER.finditer(text):
        (kept if inside else loose).append(text[start : mark.start()])
        inside, start = mark["open"] is not None, mark.end()
        found = found or inside
    (kept if inside else loose).append(text[start:])
    return "\n".join(kept if found else loose)


def _first_turn(text: str) -> str:
    """The first turn that says anything: some servers let a model go on with the next one."""
    return next((part for part in _TURN.split(text) if part.strip()), "")

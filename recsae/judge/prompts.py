"""Prompts out of the texts in ``templates/``; whatever comes from a data set is one quoted line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template
from typing import Any, Literal

Task = Literal["describe", "predict"]
TASKS: tuple[Task, ...] = ("describe", "predict")

LONGEST = 200
"""Characters of an item line, of which no more is sent."""

LONGEST_DESCRIPTION = 400
"""Characters of a description, of which no more is kept."""

_ESCAPED = re.compile(r"[<>\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What JSON leaves as it is and a prompt must not have: angle brackets, controls, directions."""


@dataclass(frozen=True)
class Item:
    """An item as a judge sees it."""

    title: str | None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moment:
    """A case as a judge sees it: history, oldest first, and the recommended item."""

    history: tuple[Item, ...]
    recommended: Item | None
    level: int | None = None
    """How active the latent is; None keeps it from the judge."""


@dataclass(frozen=True)
class Prompt:
    """One question to a model."""

    task: Task
    latent_id: int
    case_id: int | None
    """The verifying case; None when a latent is described."""
    system: str
    user: str

    def messages(self) -> list[dict[str, str]]:
        """As a chat endpoint takes them."""
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": self.user},
        ]

    def reply_id(self, model: str, params: Mapping[str, Any]) -> str:
        """SHA-256 of everything that decides the reply; equal means no need to ask again."""
        asked = [self.messages(), model, dict(params)]
        text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def describe_prompt(latent_id: int, moments: Sequence[Moment]) -> Prompt:
    """Ask for a sentence about what moments with known levels have in common."""
    shown = "\n".join(_moment(moment) for moment in moments)
    return _prompt("describe", latent_id, None, {"moments": shown})


def predict_prompt(latent_id: int, case_id: int, description: str, moment: Moment) -> Prompt:
    """Ask for the level of a moment; ``description`` is as untrusted as any title."""
    values = {
        "description": quoted(description, LONGEST_DESCRIPTION),
        "moment": _moment(moment),
    }
    return _prompt("predict", latent_id, case_id, values)


def _prompt(task: Task, latent_id: int, case_id: int | None, values: Mapping[str, str]) -> Prompt:
    # Template puts values in once and never looks into them, so a dollar in a title is a dollar
    user = Template(template(f"{task}.user")).substitute(values)
    return Prompt(task, latent_id, case_id, template(f"{task}.system"), user)


def _moment(moment: Moment) -> str:
    head = "<moment>" if moment.level is None else f'<moment level="{moment.level}">'
    lines = [head, "history:"]
    lines += [item_line(item) for item in moment.history] or ["(none)"]
    lines += ["recommended:", "(none)" if moment.recommended is None else ""]
    if moment.recommended is not None:
        lines[-1] = item_line(moment.recommended)
    return "\n".join([*lines, "</moment>"])


def item_line(item: Item) -> str:
    """``"Carrie (1976) [Horror]"`` with its quotes."""
    title = "untitled item" if item.title is None else item.title
    tags = f" [{', '.join(item.tags)}]" if item.tags else ""
    return quoted(title[:LONGEST] + tags)


def quoted(text: str, longest: int = LONGEST) -> str:
    """Text as one line in double quotes that holds no quote, line end or delimiter of its own."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    line = json.dumps(cut, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


@cache
def template(name: str) -> str:
    """The text of ``templates/NAME.txt`` without the line end of its last line."""
    text = resources.files("recsae.judge").joinpath("templates", f"{name}.txt").read_text("utf-8")
    return text.rstrip("\n")


def templates(task: Task) -> list[str]:
    """Both texts of a task, for the digest of what was asked."""
    return [template(f"{task}.system"), template(f"{task}.user")]

"""``describe``: the describing cases of a latent -> one sentence by a language model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from recsae.config import digest
from recsae.interpret import judge as protocol
from recsae.judge.parse import READING, parse_description
from recsae.judge.prompts import Moment, Prompt, describe_prompt, templates
from recsae.judge.replies import Reply
from recsae.progress import Reporter
from recsae.stages import judging
from recsae.stages.judging import AskConfig, Manner, Setting, Shown
from recsae.warehouse import run_lock
from recsae.warehouse.workspace import Workspace

RELATION = "raw.descriptions"


def describe(
    root: Path, ref: str, config: AskConfig, manner: Manner, *, force: bool, reporter: Reporter
) -> str:
    """Describe the latents of an SAE run (id, prefix, ``latest``, or its recommender's id).

    The descriptions of this model are replaced by those of the latents that are asked about.
    """
    started = time.monotonic()
    of = judging.setting(root, ref, config.seed)
    run_id = of.run.run_id
    identity = digest("describe", of.cases_hash, config.to_json(), templates("describe"), READING)
    with run_lock(root, run_id):
        done = judging.is_done(root, run_id, "describe", config.model, identity, RELATION)
        if done and not force and not manner.ask_again:
            reporter.note(f"describe {run_id}: already done")
            return run_id
        with judging.workspace_of(root, of) as workspace:
            asked = _prompts(workspace, of, config, reporter)
        prompts = [prompt for prompt, _ in asked]
        replies = judging.ask_all(root, of.run, prompts, config, manner, reporter)
        rows = [_row(of, config, prompt, n, replies) for prompt, n in asked]
        read = judging.read_count(root, of.run, config, replies, rows, "description")
        record = judging.judgement_row(of, "describe", config.model, config, identity, started)
        record["n_latents"] = len(rows)
        record["n_unparsed"] = read.n_unread
        frame = judging.rows_frame(RELATION, rows)
        judging.store(root, run_id, [config.model], {RELATION: frame}, [record], replies)
        reporter.note(
            f"describe {run_id}: {len(rows):,} latents, "
            f"{read.n_unread:,} without a readable sentence{read.cut}"
        )
    return run_id


def describe_prompts(root: Path, ref: str, config: AskConfig, reporter: Reporter) -> list[Prompt]:
    """The prompts that ``describe`` would ask, in order."""
    of = judging.setting(root, ref, config.seed)
    with judging.workspace_of(root, of) as workspace:
        return [prompt for prompt, _ in _prompts(workspace, of, config, reporter)]


def _prompts(
    workspace: Workspace, of: Setting, config: AskConfig, reporter: Reporter
) -> list[tuple[Prompt, int]]:
    """Prompts with the number of cases in each."""
    shown = judging.shown_cases(workspace, of, config, reporter)
    latents = protocol.drawn(shown.latents(), of.seed, config.max_latents)
    return [
        (describe_prompt(latent, [_leveled(shown, case) for case in cases]), len(cases))
        for latent, cases in shown.of(latents, "describe")
    ]


def _leveled(shown: Shown, case: Mapping[str, Any]) -> Moment:
    return replace(shown.moments[case["case_id"]], level=case["level"])


def _row(
    of: Setting, config: AskConfig, prompt: Prompt, n_cases: int, replies: Mapping[str, Reply]
) -> dict[str, Any]:
    reply_id = prompt.reply_id(config.model, config.request())
    reply = replies[reply_id]
    return {
        "run_id": of.run.run_id,
        "model": config.model,
        "latent_id": prompt.latent_id,
        "description": parse_description(reply.text),
        "n_cases": n_cases,
        "was_cut": reply.was_cut,
        "reply_id": reply_id,
    }

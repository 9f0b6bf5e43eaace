"""``judge``: descriptions (or tags) and verifying cases -> predicted levels and their scores."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from recsae.config import digest
from recsae.errors import DataError, MissingStageError
from recsae.interpret import judge as protocol
from recsae.judge.parse import READING, parse_level
from recsae.judge.prompts import Prompt, predict_prompt, templates
from recsae.judge.replies import Reply
from recsae.progress import Reporter
from recsae.stages import judging
from recsae.stages.judging import BUILTIN, AskConfig, Manner, Setting
from recsae.warehouse import Warehouse, load, run_lock, statements
from recsae.warehouse.workspace import Workspace

SCORES = "confidence.judge_scores"


def judge(
    root: Path,
    ref: str,
    config: AskConfig,
    manner: Manner | None,
    *,
    force: bool,
    reporter: Reporter,
) -> str:
    """Judge the latents of an SAE run (id, prefix, ``latest``, or its recommender's id).

    ``manner`` None is the built-in judge, which is asked beside a model as well. A model judges the
    latents that have a description. The scores of other models stay if they are of the same cases.
    """
    started = time.monotonic()
    config = judging.with_default_descriptions(config)
    of = judging.setting(root, ref, config.seed)
    run_id = of.run.run_id
    sentences = {} if manner is None else descriptions(root, of, config)
    identity = _identity(of, config, sentences)
    with run_lock(root, run_id):
        done = judging.is_done(root, run_id, "predict", config.model, identity, SCORES)
        if done and not force and not (manner and manner.ask_again):
            reporter.note(f"judge {run_id}: already done")
            return run_id
        judges = [BUILTIN] if manner is None else [BUILTIN, config.model]
        with judging.workspace_of(root, of) as workspace:
            prompts = _prompts(workspace, of, config, sentences, reporter)
            replies: Mapping[str, Reply] | None = None
            predictions = judging.rows_frame("raw.predictions", [])
            if manner is not None:
                replies = judging.ask_all(root, of.run, prompts, config, manner, reporter)
                rows = [_row(of, config, prompt, replies) for prompt in prompts]
                read = judging.read_count(root, of.run, config, replies, rows, "predicted_level")
                said = f"{read.n:,} cases, {read.n_unread:,} without a readable level{read.cut}"
                predictions = judging.rows_frame("raw.predictions", rows)
            results = _results(workspace, of, judges, predictions, reporter)
        if manner is not None:
            results["raw.predictions"] = predictions
        alone = AskConfig(seed=config.seed)
        identities = {BUILTIN: (alone, _identity(of, alone, {})), config.model: (config, identity)}
        records = []
        for name in judges:
            own = results[SCORES].filter(pl.col("judge") == name)
            record = judging.judgement_row(of, "predict", name, *identities[name], started)
            record["n_latents"], record["n_unparsed"] = len(own), int(own["n_unparsed"].sum())
            records.append(record)
        judging.store(root, run_id, judges, results, records, replies)
        if manner is not None:
            reporter.note(f"judge {run_id}: {said}")
    return run_id


def judge_prompts(root: Path, ref: str, config: AskConfig, reporter: Reporter) -> list[Prompt]:
    """The prompts that ``judge`` would ask, in order."""
    config = judging.with_default_descriptions(config)
    of = judging.setting(root, ref, config.seed)
    sentences = descriptions(root, of, config)
    with judging.workspace_of(root, of) as workspace:
        return _prompts(workspace, of, config, sentences, reporter)


def descriptions(root: Path, of: Setting, config: AskConfig) -> dict[int, str]:
    """Sentence of every described latent (of those drawn, if a number is given).

    MissingStageError without any, or when another version read them from the replies. DataError
    when they were written from other cases: what describes must never verify.
    """
    run_id, model = of.run.run_id, str(config.descriptions)
    hint = f"recsae describe {run_id} --model {model} --base-url ADDRESS"
    known = judging.judgement(root, run_id, "describe", model)
    if known is None:
        again = _hint_again(root, run_id, model, hint)
        raise MissingStageError(f"model {model!r} has not described run {run_id!r}", again)
    if json.loads(known["params"]).get("reading") != READING:
        raise MissingStageError(
            f"the sentences by {model!r} were read from its replies by another version",
            f"{hint} reads them anew; what has a reply is not asked again",
        )
    if known["cases_hash"] != of.cases_hash:
        raise DataError(
            f"the descriptions by {model!r} were written from other cases than are judged now",
            hint if config.seed is None else f"{hint} --seed {config.seed}",
        )
    with Warehouse.open(root, read_only=True) as warehouse:
        found = warehouse.sql(
            "select latent_id, description from raw.descriptions "
            "where run_id = $run_id and model = $model and description is not null "
            "order by latent_id",
            {"run_id": run_id, "model": model},
        )
    if found.is_empty():
        again = f"{hint} --ask-again"
        raise MissingStageError(f"model {model!r} has described no latent readably", again)
    sentences = dict(found.iter_rows())
    return {
        one: sentences[one] for one in protocol.drawn([*sentences], of.seed, config.max_latents)
    }


def _hint_again(root: Path, run_id: str, model: str, hint: str) -> str:
    """With --ask-again when there are replies, which then were of no use."""
    with Warehouse.open(root, read_only=True) as warehouse:
        told = (
            warehouse.exists("raw.replies")
            and not warehouse.sql(
                "select 1 from raw.replies "
                "where run_id = $run_id and model = $model and task = 'describe' limit 1",
                {"run_id": run_id, "model": model},
            ).is_empty()
        )
    return f"{hint} --ask-again" if told else hint


def _identity(of: Setting, config: AskConfig, sentences: Mapping[int, str]) -> str:
    sql = [load(relation).text for relation in (*protocol.BUILTIN, *protocol.RESULTS)]
    asked = sorted(sentences.items())
    return digest(
        "judge", of.cases_hash, config.to_json(), templates("predict"), asked, sql, READING
    )


def _prompts(
    workspace: Workspace,
    of: Setting,
    config: AskConfig,
    sentences: Mapping[int, str],
    reporter: Reporter,
) -> list[Prompt]:
    if not sentences:
        return []
    shown = judging.shown_cases(workspace, of, config, reporter)
    return [
        predict_prompt(latent, case["case_id"], sentences[latent], shown.moments[case["case_id"]])
        for latent, cases in shown.of([*sentences], "verify")
        for case in cases
    ]


def _row(
    of: Setting, config: AskConfig, prompt: Prompt, replies: Mapping[str, Reply]
) -> dict[str, Any]:
    reply_id = prompt.reply_id(config.model, config.request())
    reply = replies[reply_id]
    return {
        "run_id": of.run.run_id,
        "judge": config.model,
        "latent_id": prompt.latent_id,
        "case_id": prompt.case_id,
        "predicted_level": parse_level(reply.text, was_cut=reply.was_cut),
        "reply_id": reply_id,
    }


def _results(
    workspace: Workspace,
    of: Setting,
    judges: list[str],
    predictions: pl.DataFrame,
    reporter: Reporter,
) -> dict[str, pl.DataFrame]:
    """Predictions and scores of the judges, computed in SQL."""
    relations = protocol.BUILTIN
    if not _is_built(workspace):
        relations = (*protocol.CASES, *relations)
    workspace.execute(statements.create_table(load("raw.predictions")))
    workspace.insert("raw.predictions", predictions)
    with reporter.task("judge", len(relations) + len(judges) + 1, "relations") as step:
        for relation in protocol.build(workspace, relations, of.params):
            step(1, relation)
        for place, name in enumerate(judges):
            given = {**of.params, "judge": name}
            workspace.build(protocol.RESULTS[0], given, append=place > 0)
            step(1, name)
        workspace.build(protocol.RESULTS[1], of.params)
        step(1, protocol.RESULTS[1])
    return {relation: workspace.frame(relation) for relation in protocol.RESULTS}


def _is_built(workspace: Workspace) -> bool:
    return workspace.exists("confidence.reference_cases")

"""What ``describe`` and ``judge`` share: the cases of a run, the asking, and the storing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import polars as pl

from recsae.config import ConceptsConfig, ConfidenceConfig, StageConfig, digest, require
from recsae.errors import JudgeError, UsageError
from recsae.interpret import judge as protocol
from recsae.interpret.concepts import parameters
from recsae.judge.ask import Spent, ask, missing
from recsae.judge.client import Client, Endpoint
from recsae.judge.parse import READING
from recsae.judge.prompts import Moment, Prompt, Task
from recsae.judge.replies import Replies, Reply
from recsae.judge.words import one_line, whole
from recsae.progress import Reporter
from recsae.stages.stored import require_cases
from recsae.warehouse import Run, Warehouse, load, run_folder
from recsae.warehouse.workspace import Workspace

BUILTIN = "builtin"
"""Name of the judge that needs no model."""

TOKEN_LETTERS = 4
"""Characters of a token, for a guess before anything is asked."""


@dataclass(frozen=True)
class AskConfig(StageConfig):
    """What decides the prompts and the replies; the same for the same results."""

    model: str = BUILTIN
    """Name of the model as the server knows it."""
    descriptions: str | None = None
    """Model whose descriptions are judged; None takes ``model``."""
    temperature: float = 0.0
    """Of the sampling; 0 takes the likeliest word."""
    max_tokens: int = 100
    """Most tokens of a reply."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request; None leaves a field out."""
    history: int = 9
    """Last items of the history that are shown."""
    shown_tags: int = 3
    """Most tags shown behind a title."""
    max_latents: int | None = None
    """Latents that are asked about, drawn by hash; None takes all."""
    seed: int | None = None
    """Seed of the draws; None takes that of the run."""

    def __post_init__(self) -> None:
        require(0 <= self.temperature < inf, "--temperature", self.temperature, "zero or positive")
        require(self.max_tokens >= 1, "--max-tokens", self.max_tokens, "at least 1")
        require(self.history >= 0, "--history", self.history, "zero or more")
        require(self.shown_tags >= 0, "--item-tags", self.shown_tags, "zero or more")
        n, seed = self.max_latents, self.seed
        require(n is None or n >= 1, "--max-latents", n, "at least 1")
        require(seed is None or 0 <= seed < 2**63, "--seed", seed, "zero or positive")
        if taken := {"model", "messages", "stream", "n"} & set(self.extra):
            raise UsageError(f"--extra may not set {min(taken)}", "it has an option or is fixed")
        _require_text("--model", self.model)
        _require_text("--descriptions", self.descriptions or "")
        _require_text("--extra", json.dumps(self.extra, ensure_ascii=False))

    def request(self) -> dict[str, Any]:
        """Fields of a request beside model and messages."""
        sent = {"temperature": self.temperature, "max_tokens": self.max_tokens, **self.extra}
        return {key: value for key, value in sent.items() if value is not None}


def _require_text(option: str, text: str) -> None:
    """Half a surrogate pair, as bytes that are no UTF-8 become, can be neither sent nor stored."""
    if whole(text) != text:
        raise UsageError(f"{option} holds a character that is none", f"write {option} as UTF-8")


@dataclass(frozen=True)
class Manner:
    """How prompts are asked; without effect on the replies."""

    endpoint: Endpoint
    concurrency: int = 4
    price_in: float | None = None
    """Per million tokens of the prompts."""
    price_out: float | None = None
    """Per million tokens of the replies."""
    ask_again: bool = False
    """Ask also what has a reply."""
    pause: float = 1.0
    """Seconds before the first repeat of a failed request."""


@dataclass(frozen=True)
class Setting:
    """A run and what its earlier stages were done with."""

    run: Run
    params: dict[str, object]
    """Of the SQL files."""
    seed: int
    cases_hash: str
    """Digest of what decides which cases describe and which verify."""


@dataclass(frozen=True)
class Shown:
    """The cases of the protocol."""

    cases: pl.DataFrame
    """latent_id, case_id, role, is_active, level."""
    moments: dict[int, Moment]

    def of(self, latents: Sequence[int], role: str) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Latents that have cases of a role, with these, strongest first."""
        wanted = self.cases.filter(pl.col("role") == role, pl.col("latent_id").is_in(latents))
        ordered = wanted.sort("latent_id", "level", "case_id", descending=[False, True, False])
        for (latent,), rows in ordered.group_by("latent_id", maintain_order=True):
            yield int(str(latent)), rows.to_dicts()

    def latents(self) -> list[int]:
        """All that have a describing case."""
        found = self.cases.filter(pl.col("role") == "describe")["latent_id"].unique()
        return sorted(found.to_list())


def setting(root: Path, ref: str, seed: int | None) -> Setting:
    """The SAE run of a reference; MissingStageError when its concepts are not verified."""
    with Warehouse.open(root) as warehouse:
        run = warehouse.find_run(ref, "sae")
        require_cases(warehouse, run)
        described = warehouse.require_stage(run.run_id, "concepts", f"recsae concepts {run.run_id}")
        verified = warehouse.require_stage(
            run.run_id, "confidence", f"recsae confidence {run.run_id}"
        )
    used = run.seed if seed is None else seed
    concepts = ConceptsConfig.from_json(described.params)
    confidence = ConfidenceConfig.from_json(verified.params)
    params = {**parameters(run.run_id, used, concepts), **confidence.to_json()}
    sql = [load(relation).text for relation in protocol.CASES]
    return Setting(run, params, used, digest("cases", verified.input_hash, used, sql))


@contextmanager
def workspace_of(root: Path, of: Setting) -> Iterator[Workspace]:
    """A workspace in which the relations of the protocol can be built."""
    with Workspace.open(root, of.run, ["staging.user_sides"]) as workspace:
        yield workspace


def shown_cases(workspace: Workspace, of: Setting, config: AskConfig, reporter: Reporter) -> Shown:
    """Build the cases and what a judge is shown of them."""
    params = {**of.params, "history": config.history, "shown_tags": config.shown_tags}
    relations = (*protocol.CASES, protocol.ITEMS)
    with reporter.task("cases", len(relations), "relations") as step:
        for relation in protocol.build(workspace, relations, params):
            step(1, relation)
    items = workspace.frame(protocol.ITEMS)
    if len(items) and not (items["title"].is_not_null() | (items["tags"].list.len() > 0)).any():
        raise UsageError(
            f"the items of {of.run.dataset} have neither titles nor tags to show",
            "use --item-tags, or another data set",
        )
    return Shown(workspace.frame("confidence.reference_cases"), protocol.moments(items))


def ask_all(
    root: Path,
    run: Run,
    prompts: Sequence[Prompt],
    config: AskConfig,
    manner: Manner,
    reporter: Reporter,
) -> dict[str, Reply]:
    """Replies by id, asked for or from earlier calls; an interruption keeps what came."""
    params = config.request()
    spent = Spent(manner.price_in, manner.price_out)
    task = prompts[0].task if prompts else "describe"
    with Replies.open(replies_path(root, run.run_id)) as replies:
        known: Mapping[str, Reply] = {} if manner.ask_again else replies.known
        todo = missing(prompts, config.model, params, known)
        reporter.note(_intention(task, prompts, todo, spent))
        if not todo:
            return dict(replies.known)
        client = Client(manner.endpoint, pause=manner.pause)
        try:
            with reporter.task(task, len(todo), "prompts") as step:
                ask(
                    todo,
                    client,
                    params,
                    replies,
                    concurrency=manner.concurrency,
                    spent=spent,
                    step=step,
                    say=lambda text: reporter.note(f"{task}: {text}"),
                )
        finally:
            repeated = f", {client.n_retried:,} repeats" if client.n_retried else ""
            refused = f", {spent.n_refused:,} refused" if spent.n_refused else ""
            reporter.note(f"{task}: {spent.n_asked:,} replies kept{refused}{repeated}; {spent}")
        return dict(replies.known)


@dataclass(frozen=True)
class Read:
    """How many replies could be read as what was asked for."""

    n: int
    n_unread: int
    n_cut: int
    """Replies that reached their limit of tokens, read or not."""

    @property
    def cut(self) -> str:
        """What to say of those; empty without any."""
        return f", {self.n_cut:,} cut off at --max-tokens" if self.n_cut else ""


def read_count(
    root: Path,
    run: Run,
    config: AskConfig,
    replies: Mapping[str, Reply],
    rows: Sequence[Mapping[str, Any]],
    column: str,
) -> Read:
    """Count the replies behind rows; ``column`` is NULL in a row whose reply could not be read.

    JudgeError when that is more than half of them: nothing could be said about the latents then.
    The replies are stored before, so that they can be looked at.
    """
    given = [replies[row["reply_id"]] for row in rows]
    unread = [reply for reply, row in zip(given, rows, strict=True) if row[column] is None]
    read = Read(len(rows), len(unread), sum(reply.was_cut for reply in given))
    if 2 * read.n_unread > read.n:
        _store_replies(root, run.run_id, replies)
        raise JudgeError(_unreadable(config, column, read, unread), _remedy(config, read, unread))
    return read


def _unreadable(config: AskConfig, column: str, read: Read, unread: Sequence[Reply]) -> str:
    what = "sentence" if column == "description" else "level from 0 to 10"
    text = f"{read.n_unread:,} of {read.n:,} replies of {one_line(config.model)} hold no {what}"
    n_cut = sum(reply.was_cut for reply in unread)
    text += f", {n_cut:,} of them cut off at --max-tokens {config.max_tokens}" if n_cut else ""
    refused = [reply for reply in unread if reply.text is None]
    if 2 * len(refused) > len(unread):
        reason = one_line(refused[0].error or "")
        return f"{text}; the server refused {len(refused):,}: {reason}"
    said = next(reply.text for reply in unread if reply.text is not None)
    return f"{text}; one of them: {one_line(said)!r}" if said.strip() else f"{text}; one is empty"


def _remedy(config: AskConfig, read: Read, unread: Sequence[Reply]) -> str:
    again = "--ask-again asks anew what has a reply, once the server is mended"
    if any(reply.was_cut for reply in unread):
        return f"give more than --max-tokens {config.max_tokens}, also for thoughts; {again}"
    return again


def _store_replies(root: Path, run_id: str, replies: Mapping[str, Reply]) -> None:
    with Warehouse.open(root) as warehouse, warehouse.transaction():
        warehouse.replace_rows("raw.replies", run_id, reply_rows(run_id, replies))


def _intention(
    task: Task, prompts: Sequence[Prompt], todo: Sequence[tuple[str, Prompt]], spent: Spent
) -> str:
    letters = sum(len(prompt.system) + len(prompt.user) for _, prompt in todo)
    guess = Spent(spent.price_in, spent.price_out, tokens_in=letters // TOKEN_LETTERS)
    text = f"{task}: {len(prompts):,} prompts, {len(todo):,} to ask"
    if todo:
        text += f", about {guess.tokens_in:,} tokens in"
        text += "" if guess.cost is None else f", cost {guess.cost:,.4f} without the replies"
    return text


def replies_path(root: Path, run_id: str) -> Path:
    """File of the replies of a run."""
    return run_folder(root, run_id) / "judge" / "replies.jsonl"


# -- what is stored ---------------------------------------------------------------------------


def judgement(root: Path, run_id: str, task: Task, judge: str) -> dict[str, Any] | None:
    """The row of raw.judgements; None when this judge was never asked."""
    with Warehouse.open(root, read_only=True) as warehouse:
        if not warehouse.exists("raw.judgements"):
            return None
        rows = warehouse.sql(
            "select * from raw.judgements "
            "where run_id = $run_id and task = $task and judge = $judge",
            {"run_id": run_id, "task": task, "judge": judge},
        ).to_dicts()
    return rows[0] if rows else None


def is_done(
    root: Path, run_id: str, task: Task, judge: str, input_hash: str, relation: str
) -> bool:
    """Whether a judge's results for this input are there; ``relation`` holds rows of them."""
    known = judgement(root, run_id, task, judge)
    if known is None or known["input_hash"] != input_hash:
        return False
    column = _owner(relation)
    with Warehouse.open(root, read_only=True) as warehouse:
        return warehouse.exists(relation) and bool(
            warehouse.sql(
                f"select 1 from {relation} where run_id = $run_id and {column} = $judge limit 1",
                {"run_id": run_id, "judge": judge},
            ).height
        )


def _owner(relation: str) -> str:
    return "model" if relation == "raw.descriptions" else "judge"


def store(
    root: Path,
    run_id: str,
    judges: Sequence[str],
    results: Mapping[str, pl.DataFrame],
    records: Sequence[Mapping[str, Any]],
    replies: Mapping[str, Reply] | None,
) -> None:
    """Replace the rows of some judges in one transaction.

    Those of others stay, unless they judged other cases and cannot be compared with these.
    """
    rows = rows_frame("raw.judgements", records)
    task, cases_hash = records[0]["task"], records[0]["cases_hash"]
    with Warehouse.open(root) as warehouse, warehouse.transaction():
        known = warehouse.sql(
            "select * from raw.judgements where run_id = $run_id", {"run_id": run_id}
        ).cast(rows.schema)
        is_old = (pl.col("task") == task) & (
            (pl.col("cases_hash") != cases_hash) | pl.col("judge").is_in(rows["judge"].to_list())
        )
        gone = {*judges, *known.filter(is_old)["judge"]}
        for relation, frame in results.items():
            others = _others(warehouse, relation, run_id, sorted(gone), frame)
            warehouse.replace_rows(relation, run_id, pl.concat([others, frame]))
        warehouse.replace_rows("raw.judgements", run_id, pl.concat([known.filter(~is_old), rows]))
        if replies is not None:
            warehouse.replace_rows("raw.replies", run_id, reply_rows(run_id, replies))


def _others(
    warehouse: Warehouse, relation: str, run_id: str, judges: Sequence[str], like: pl.DataFrame
) -> pl.DataFrame:
    """Rows of the other judges; none when the table is of another version."""
    columns = {column.name: column.type for column in load(relation).yields}
    if not warehouse.exists(relation) or warehouse.columns(relation) != columns:
        return like.clear()
    frame = warehouse.sql(
        f"select * from {relation} where run_id = $run_id "
        f"and not list_contains($judges, {_owner(relation)})",
        {"run_id": run_id, "judges": list(judges)},
    )
    return frame.select(like.columns).cast(like.schema)


def judgement_row(
    of: Setting, task: Task, judge: str, config: AskConfig, input_hash: str, started: float
) -> dict[str, Any]:
    """A row of raw.judgements without its counts."""
    return {
        "run_id": of.run.run_id,
        "task": task,
        "judge": judge,
        "params": json.dumps(
            {**config.to_json(), "reading": READING}, sort_keys=True, ensure_ascii=False
        ),
        "input_hash": input_hash,
        "cases_hash": of.cases_hash,
        "finished": datetime.now(UTC).replace(tzinfo=None),
        "seconds": time.monotonic() - started,
    }


def with_default_descriptions(config: AskConfig) -> AskConfig:
    """The configuration with the model whose descriptions are judged spelled out."""
    if config.model == BUILTIN or config.descriptions:
        return config
    return replace(config, descriptions=config.model)


def reply_rows(run_id: str, replies: Mapping[str, Reply]) -> pl.DataFrame:
    """Replies as rows of raw.replies."""
    rows = [
        {
            "run_id": run_id,
            **{name: _storable(getattr(reply, name)) for name in _REPLY},
            "asked": datetime.fromisoformat(reply.asked) if reply.asked else None,
        }
        for reply in replies.values()
    ]
    return pl.DataFrame(rows, schema=_schema("raw.replies"))


def _storable(value: Any) -> Any:
    return whole(value) if isinstance(value, str) else value


_REPLY = (
    "reply_id",
    "task",
    "model",
    "text",
    "finish_reason",
    "tokens_in",
    "tokens_out",
    "seconds",
    "error",
)
_TYPES: dict[str, Any] = {
    "VARCHAR": pl.String,
    "JSON": pl.String,
    "INTEGER": pl.Int32,
    "BIGINT": pl.Int64,
    "DOUBLE": pl.Float64,
    "BOOLEAN": pl.Boolean,
    "TIMESTAMP": pl.Datetime("us"),
}


def _schema(relation: str) -> dict[str, Any]:
    return {column.name: _TYPES[column.type] for column in load(relation).yields}


def rows_frame(relation: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows of a raw relation as a frame of its types."""
    return pl.DataFrame([dict(row) for row in rows], schema=_schema(relation))

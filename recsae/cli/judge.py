"""``recsae describe`` and ``recsae judge``: the paper's protocol by a language model or by tags."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsae.cli.files import refuse_output
from recsae.cli.options import ForceOption, JsonOption, SaeRun, WarehouseOption
from recsae.errors import UsageError

if TYPE_CHECKING:
    from recsae.judge.prompts import Prompt
    from recsae.stages.judging import AskConfig, Manner

TOP = 12
"""Latents listed by default."""

MODEL = "Language model"
SENT = "What is sent"


class Judge(StrEnum):
    """Who predicts the levels."""

    builtin = "builtin"
    openai = "openai"


BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="ADDRESS",
        help="Of an OpenAI-compatible server, with or without /v1.",
        rich_help_panel=MODEL,
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="Name of the model on that server.", rich_help_panel=MODEL),
]
KeyEnv = Annotated[
    str,
    typer.Option(
        "--api-key-env",
        metavar="NAME",
        help="Environment variable with the key; a local server needs none.",
        rich_help_panel=MODEL,
    ),
]
AllowHttp = Annotated[
    bool,
    typer.Option(
        "--allow-http", help="Send the key over http to another machine.", rich_help_panel=MODEL
    ),
]
Temperature = Annotated[
    float, typer.Option("--temperature", help="Of the sampling.", rich_help_panel=MODEL)
]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", help="Most tokens of a reply.", rich_help_panel=MODEL)
]
Extra = Annotated[
    str | None,
    typer.Option(
        "--extra",
        metavar="JSON",
        help="Further fields of the request; null leaves one out.",
        rich_help_panel=MODEL,
    ),
]
Concurrency = Annotated[
    int,
    typer.Option("--concurrency", min=1, max=256, help="At once.", rich_help_panel=MODEL),
]
Retries = Annotated[
    int,
    typer.Option(
        "--retries", min=0, max=20, help="Repeats of a failed request.", rich_help_panel=MODEL
    ),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", min=0.1, help="Seconds for a request.", rich_help_panel=MODEL),
]
PriceIn = Annotated[
    float | None,
    typer.Option(
        "--price-in", min=0, help="Per million tokens of the prompts.", rich_help_panel=MODEL
    ),
]
PriceOut = Annotated[
    float | None,
    typer.Option(
        "--price-out", min=0, help="Per million tokens of the replies.", rich_help_panel=MODEL
    ),
]
AskAgain = Annotated[
    bool,
    typer.Option(
        "--ask-again", help="Ask also what has been answered before.", rich_help_panel=MODEL
    ),
]
History = Annotated[
    int, typer.Option("--history", help="Last items of a history.", rich_help_panel=SENT)
]
ItemTags = Annotated[
    int, typer.Option("--item-tags", help="Most tags behind a title.", rich_help_panel=SENT)
]
MaxLatents = Annotated[
    int | None,
    typer.Option("--max-latents", help="Only so many, drawn by hash.", rich_help_panel=SENT),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Of the draws; that of the run if none.", rich_help_panel=SENT),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the prompts and ask nothing.", rich_help_panel=SENT),
]
Top = Annotated[int, typer.Option("--top", min=0, help="Latents listed; 0 lists all.")]


def describe(
    run: SaeRun = "latest",
    base_url: BaseUrl = None,
    model: Model = None,
    api_key_env: KeyEnv = "OPENAI_API_KEY",
    allow_http: AllowHttp = False,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 100,
    extra: Extra = None,
    concurrency: Concurrency = 4,
    retries: Retries = 6,
    timeout: Timeout = 120.0,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    ask_again: AskAgain = False,
    history: History = 9,
    item_tags: ItemTags = 3,
    max_latents: MaxLatents = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    top: Top = TOP,
    force: ForceOption = False,
    as_json: JsonOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Let a language model write a sentence per latent from its describing cases.

    Titles leave this machine unless the server is on it; docs/judge.md says what is sent and kept.

    \b
    Example:
      recsae describe latest --max-latents 3 --dry-run
      recsae describe latest --base-url http://localhost:11434 --model llama3.1
    """
    from recsae.progress import reporter
    from recsae.stages.describe import describe as stage
    from recsae.stages.describe import describe_prompts
    from recsae.stages.judging import AskConfig

    config = AskConfig(
        model=model or "",
        temperature=temperature,
        max_tokens=max_tokens,
        extra=_extra(extra),
        history=history,
        shown_tags=item_tags,
        max_latents=max_latents,
        seed=seed,
    )
    if dry_run:
        _print_prompts(describe_prompts(warehouse, run, config, reporter()), config, as_json)
        return
    manner = _manner(
        base_url,
        model,
        api_key_env,
        allow_http,
        timeout,
        retries,
        concurrency=concurrency,
        price_in=price_in,
        price_out=price_out,
        ask_again=ask_again,
    )
    run_id = stage(warehouse, run, config, manner, force=force, reporter=reporter())
    _print_descriptions(warehouse, run_id, config.model, top, as_json)


def judge(
    run: SaeRun = "latest",
    by: Annotated[
        Judge, typer.Option("--judge", help="The built-in judge, or a language model.")
    ] = Judge.builtin,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the histograms: .png or .svg."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Scores with the reference's column names: .csv, .json or .parquet.",
        ),
    ] = None,
    base_url: BaseUrl = None,
    model: Model = None,
    descriptions: Annotated[
        str | None,
        typer.Option(
            "--descriptions",
            metavar="MODEL",
            help="Whose sentences are judged; the judge's own if none.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    api_key_env: KeyEnv = "OPENAI_API_KEY",
    allow_http: AllowHttp = False,
    temperature: Temperature = 0.0,
    max_tokens: MaxTokens = 10,
    extra: Extra = None,
    concurrency: Concurrency = 4,
    retries: Retries = 6,
    timeout: Timeout = 120.0,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    ask_again: AskAgain = False,
    history: History = 9,
    item_tags: ItemTags = 3,
    max_latents: MaxLatents = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    top: Top = TOP,
    force: ForceOption = False,
    as_json: JsonOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Score latents as the paper does: predict the level of cases from the concept alone.

    The built-in judge goes by tags. A language model judges the sentences of recsae describe.

    \b
    Example:
      recsae judge latest --output scores.csv
      recsae judge latest --judge openai --base-url http://localhost:11434 --model llama3.1
    """
    from recsae.progress import reporter
    from recsae.report.plots import check_format
    from recsae.stages.judge import judge as stage
    from recsae.stages.judge import judge_prompts
    from recsae.stages.judging import AskConfig

    form = check_format(plot.suffix) if plot else None
    if output and output.suffix not in SUFFIXES:
        raise UsageError(f"--output {output}: no such format", "end it in .csv, .json or .parquet")
    refuse_output("--output", output, warehouse)
    refuse_output("--plot", plot, warehouse)
    if by is Judge.builtin:
        _no_model(base_url, model, descriptions, max_latents, dry_run)
        config, manner = AskConfig(seed=seed), None
    else:
        config = AskConfig(
            model=model or "",
            descriptions=descriptions,
            temperature=temperature,
            max_tokens=max_tokens,
            extra=_extra(extra),
            history=history,
            shown_tags=item_tags,
            max_latents=max_latents,
            seed=seed,
        )
        if not (model or (dry_run and descriptions)):
            raise UsageError("--judge openai needs --model", "name the model as the server does")
        if dry_run:
            _print_prompts(judge_prompts(warehouse, run, config, reporter()), config, as_json)
            return
        manner = _manner(
            base_url,
            model,
            api_key_env,
            allow_http,
            timeout,
            retries,
            concurrency=concurrency,
            price_in=price_in,
            price_out=price_out,
            ask_again=ask_again,
        )
    run_id = stage(warehouse, run, config, manner, force=force, reporter=reporter())
    _print_judged(warehouse, run_id, config.model, top, as_json, output, plot, form)


SUFFIXES = (".csv", ".json", ".parquet")


def _no_model(*given: object) -> None:
    """The built-in judge takes no option of a model."""
    names = ("--base-url", "--model", "--descriptions", "--max-latents", "--dry-run")
    for name, value in zip(names, given, strict=True):
        if value not in (None, False):
            raise UsageError(f"{name} is for a language model", "say --judge openai")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number there")


def _extra(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--extra is not JSON: {error}", """as '{"top_p": 0.9}'""") from None
    if not isinstance(value, dict):
        raise UsageError("--extra is not a JSON object", """as '{"top_p": 0.9}'""")
    return value


def _manner(
    base_url: str | None,
    model: str | None,
    key_env: str,
    allow_http: bool,
    timeout: float,
    retries: int,
    **how: Any,
) -> Manner:
    from recsae.judge.client import endpoint
    from recsae.stages.judging import Manner

    if not base_url:
        raise UsageError(
            "a language model needs --base-url", "as http://localhost:11434 for Ollama"
        )
    if not model:
        raise UsageError("a language model needs --model", "name it as the server does")
    to = endpoint(
        base_url,
        model,
        key_env=key_env,
        allow_http=allow_http,
        timeout=timeout,
        retries=retries,
    )
    return Manner(to, **how)


def _print_prompts(prompts: list[Prompt], config: AskConfig, as_json: bool) -> None:
    """The prompts as they would be sent."""
    from recsae.cli.report import write_json

    if as_json:
        write_json([_as_sent(prompt, config) for prompt in prompts])
        return
    for prompt in prompts:
        case = "" if prompt.case_id is None else f", case {prompt.case_id}"
        print(f"==== {prompt.task} latent {prompt.latent_id}{case}")
        print(f"---- system\n{prompt.system}\n---- user\n{prompt.user}\n")


def _as_sent(prompt: Prompt, config: AskConfig) -> dict[str, Any]:
    return {
        "task": prompt.task,
        "latent_id": prompt.latent_id,
        "case_id": prompt.case_id,
        "reply_id": prompt.reply_id(config.model, config.request()) if config.model else None,
        "messages": prompt.messages(),
        **config.request(),
    }


def _print_descriptions(root: Path, run_id: str, model: str, top: int, as_json: bool) -> None:
    from recsae.cli.report import write, write_json
    from recsae.report.judged import descriptions
    from recsae.warehouse import Warehouse

    with Warehouse.open(root, read_only=True) as store:
        rows = store.sql(
            "select latent_id, description, n_cases, was_cut, reply_id from raw.descriptions "
            "where run_id = $run_id and model = $model order by latent_id",
            {"run_id": run_id, "model": model},
        ).to_dicts()
    shown = rows[:top] if top else rows
    if as_json:
        write_json({"run_id": run_id, "model": model, "descriptions": rows})
    else:
        write(descriptions(run_id, model, shown, len(rows) - len(shown)))


def _print_judged(
    root: Path,
    run_id: str,
    judge: str,
    top: int,
    as_json: bool,
    output: Path | None,
    plot: Path | None,
    form: str | None,
) -> None:
    from recsae.cli.files import write_whole
    from recsae.cli.output import Format, write_frame
    from recsae.cli.report import write, write_json
    from recsae.report.judged import judged
    from recsae.report.plots import judge_histograms
    from recsae.warehouse import Warehouse

    key = {"run_id": run_id, "judge": judge}
    with Warehouse.open(root, read_only=True) as store:
        overview = store.query("report.judge_overview", key).to_dicts()
        histogram = store.query("report.judge_histogram", key).to_dicts()
        latents = store.query("report.judged_latents", key).to_dicts()
        scores = store.query("report.judge_reference", key)
    if not overview:
        raise UsageError(f"run {run_id!r} has no latent with cases to judge")
    if output:
        write_frame(scores, Format(output.suffix[1:]), output)
    if plot and form:
        write_whole(plot, judge_histograms(f"{run_id}, judged by {judge}", histogram, form))
    shown = latents[:top] if top else latents
    if as_json:
        page = {"run_id": run_id, "judges": overview, "histogram": histogram, "latents": latents}
        write_json(page)
    else:
        write(judged(run_id, overview, histogram, shown, len(latents) - len(shown)))

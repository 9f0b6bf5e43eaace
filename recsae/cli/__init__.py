"""The ``recsae`` command: mounts one thin module per command and turns errors into exit codes.

Modules mounted here import nothing heavy at the top, so ``recsae --help`` answers at once; torch,
polars and duckdb are imported inside the commands that need them.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from recsae import __version__
from recsae.cli import (
    compare,
    data,
    import_,
    interpret,
    judge,
    maintain,
    query,
    report,
    run,
    runs,
    sae,
    schema,
    streams,
    sweep,
    train,
)
from recsae.cli.output import note
from recsae.errors import ExitCode, RecsaeError
from recsae.limits import memory_error, watch
from recsae.progress import telling

if "OMP_WAIT_POLICY" not in os.environ:
    # torch's threads wait for each other in a loop, for hundreds of thousands of rounds unless told
    # otherwise: an epoch of SASRec then takes several times as long when another program keeps a
    # core busy. It is read when torch is loaded, which no module above does.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

UNWRITABLE = (errno.EBADF, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What happens to a stdout that is closed, or on a full disk."""

INTERRUPTED = 130
"""Exit status after control-C, as shells have it."""

app = typer.Typer(
    name="recsae",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Open up recommender models with sparse autoencoders, and query what is found.",
)
app.command("run")(run.run)
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.command("evaluate")(train.evaluate)
app.add_typer(import_.app, name="import")
app.add_typer(sae.app, name="sae")
app.add_typer(sweep.app, name="sweep")
app.command("concepts")(interpret.concepts)
app.command("confidence")(interpret.confidence)
app.command("describe")(judge.describe)
app.command("judge")(judge.judge)
app.command("report")(report.report)
app.command("latent")(report.latent)
app.command("compare")(compare.compare)
app.command("runs")(runs.runs)
app.command("schema")(schema.schema)
app.command("check")(maintain.check)
app.command("repair")(maintain.repair)
app.command("gc")(maintain.gc)
app.command("query", cls=query.QueryCommand)(query.query)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"recsae {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options before any command."""


def main() -> None:
    """Entry point of the installed script."""
    streams.prepare()
    sys.exit(invoke())


def invoke(args: Sequence[str] | None = None) -> int:
    """Run a command line (default: this process's own) and return its exit status."""
    words = list(sys.argv[1:] if args is None else args)
    watch()
    try:
        with telling(tell):
            result = app(args=words, prog_name="recsae", standalone_mode=False)
        sys.stdout.flush()
        if result == INTERRUPTED:  # typer's own answer to control-C
            raise KeyboardInterrupt
        return result if isinstance(result, int) else ExitCode.OK
    except BrokenPipeError:
        streams.give_up_stdout()  # the reader had enough
        return ExitCode.OK
    except (KeyboardInterrupt, typer.Abort):
        print("recsae: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        known = explain(error)
        if isinstance(error, OSError) and error.filename is None:
            streams.give_up_stdout()  # which may be what cannot be written
        if known is None:
            raise
        if os.environ.get("RECSAE_TRACEBACK"):
            traceback.print_exc()
        return fail(*known)
    except BaseException as error:
        # polars panics with an exception of this kind
        memory = memory_error(error) if type(error).__name__ == "PanicException" else None
        if memory is None:
            raise
        return fail(ExitCode.DATA, *memory)


def tell(text: str) -> None:
    """Narrate what may quote a data set."""
    from recsae.report.text import printable

    note(printable(text))


def fail(code: int, message: str, hint: str | None) -> int:
    """Print an error and its hint on stderr; no message, nothing to print.

    Either may quote values of a data set, so what could steer a terminal is escaped.
    """
    from recsae.report.text import printable

    for head, text in (("recsae: error", message), ("hint", hint)):
        if text:
            print(f"{head}: " + "\n".join(map(printable, text.split("\n"))), file=sys.stderr)
    return code


def explain(error: Exception) -> tuple[int, str, str | None] | None:
    """Exit status, message and hint of an error that a user may cause; None for a bug."""
    if isinstance(error, RecsaeError):
        return error.exit_code, error.message, error.hint
    if memory := memory_error(error):
        return ExitCode.DATA, *memory
    if callable(message := getattr(error, "format_message", None)):
        context = getattr(error, "ctx", None)
        text = str(message())
        hint = f"{context.command_path} --help" if context and text else None
        return ExitCode.USAGE, text, hint
    if isinstance(error, OSError):
        file = f"{error.filename}: " if error.filename else ""
        if not file and error.errno in UNWRITABLE:
            file = "cannot write the output: "
        return ExitCode.DATA, f"{file}{error.strerror or error}", None
    duckdb = sys.modules.get("duckdb")
    if duckdb and isinstance(error, duckdb.Error):
        lines = [line for line in str(error).strip().splitlines() if line]
        hints = [line for line in lines[1:] if line.startswith(("Candidate", "Did you mean"))]
        return ExitCode.DATA, lines[0], hints[0] if hints else None
    return None

"""``recsae check``, ``repair`` and ``gc``: what is damaged, mend it, delete what is not needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsae.cli.options import LATEST, DataOption, JsonOption, WarehouseOption
from recsae.cli.output import cell, json_line, note
from recsae.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from recsae.warehouse.check import Problem
    from recsae.warehouse.gc import Garbage

RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]", help=f"Run: id, the start of one, or latest ({LATEST}). Default: all."
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def check(
    run: RunArgument = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare sizes; do not read files and tables in full.")
    ] = False,
    as_json: JsonOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> int:
    """Look for files and tables that are missing or damaged; nothing is changed.

    A line per problem: run, file or relation, what is wrong, and the command that mends it.
    The exit status is 0 when there is none, else 1.

    \b
    Example:
      recsae check
      recsae check latest --quick
    """
    from recsae.warehouse.check import check as look

    found = look(warehouse, run, quick=quick)
    for text in found.notes:
        note(f"note: {text}")
    if as_json:
        records = [{**p._asdict(), "command": mended_by(p)} for p in found.problems]
        counts = {"runs": found.runs, "files": found.n_files, "bytes": found.n_bytes}
        sys.stdout.write(json_line({**counts, "notes": found.notes, "problems": records}) + "\n")
    else:
        sys.stdout.writelines(f"{line(problem)}\n" for problem in found.problems)
    note(
        f"{len(found.runs)} runs, {found.n_files} files with checksums "
        f"({megabytes(found.n_bytes)}): {len(found.problems) or 'no'} problems"
    )
    return ExitCode.DATA if found.problems else ExitCode.OK


def line(problem: Problem) -> str:
    """A problem for people."""
    owner = f"{problem.run_id}: " if problem.run_id else ""
    return f"{cell(f'{owner}{problem.place} {problem.what}')}; {mended_by(problem)}"


def mended_by(problem: Problem) -> str:
    """The command that mends a problem, or what has to be done by hand."""
    if problem.by_hand:
        return problem.by_hand
    return f"recsae repair {problem.run_id}" if problem.run_id else "recsae repair"


def repair(
    run: RunArgument = None,
    dry_run: DryRunOption = False,
    data: DataOption = Path("data"),
    warehouse: WarehouseOption = Path("warehouse"),
) -> int:
    """Make again what recsae check finds missing or damaged, with the recorded settings.

    A file takes its place only if it is what it was; then nothing built on it changes. What cannot
    be made again is listed with the command that replaces it, and the exit status is 1.

    \b
    Example:
      recsae repair --dry-run
      recsae repair latest
    """
    from recsae.progress import reporter
    from recsae.stages.repair import repair as mend

    result = mend(warehouse, data, run, dry_run=dry_run, reporter=reporter())
    verb = "would repair" if dry_run else "repaired"
    for kind, texts in ((verb, result.done), ("not repaired", result.left)):
        for text in texts:
            print(cell(f"{kind}: {text}"))
    if not result.done and not result.left:
        note("nothing to repair")
    return ExitCode.DATA if result.left else ExitCode.OK


def gc(
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Delete this run and all that is built on it: "
            f"id, the start of one, or latest ({LATEST}).",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a run is deleted.")] = False,
    dry_run: DryRunOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Delete leftovers, or with --run a run; says what goes and how large it is.

    Leftovers are half-written files, checkpoints of finished runs, folders without a run and
    spilled data, all older than an hour. A run that a process works on is never touched.

    \b
    Example:
      recsae gc
      recsae gc --run latest --dry-run
    """
    from recsae.warehouse import Warehouse
    from recsae.warehouse.gc import delete_leftovers, delete_runs, leftovers, run_garbage

    if run is None:
        if dry_run:
            with Warehouse.open(warehouse, read_only=True) as store:
                show(leftovers(store), dry_run=True)
        else:
            show(delete_leftovers(warehouse), dry_run=False)
        return
    with Warehouse.open(warehouse, read_only=True) as store:
        garbage = run_garbage(store, run)
    show(garbage, dry_run=True)
    if dry_run:
        return
    if not yes:
        ask(garbage)
    delete_runs(warehouse, garbage)
    note(f"deleted: {', '.join(garbage.runs)}")


def ask(garbage: Garbage) -> None:
    """Go on only when a person agrees; UsageError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise UsageError(f"{len(garbage.runs)} runs would be deleted", "add --yes")
    typer.confirm(f"delete {', '.join(garbage.runs)}?", abort=True, err=True)


def show(garbage: Garbage, *, dry_run: bool) -> None:
    """What goes: its paths on stdout, the sum on stderr."""
    for run_id in garbage.runs:
        print(cell(f"run {run_id}"))
    for path, n_bytes in garbage.paths.items():
        print(cell(f"{path}  {megabytes(n_bytes)}"))
    verb = "to delete" if dry_run else "deleted"
    note(f"{len(garbage.paths)} files and folders {verb}, {megabytes(garbage.n_bytes)}")


def megabytes(n_bytes: int) -> str:
    """A size for people."""
    return f"{n_bytes / 1e6:,.1f} MB"

"""What goes wrong for a user: one clear line, the right exit status, and afterwards it works."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from stages.finished import (
    COMMANDS,
    Finished,
    copied,
    differences,
    rows_of,
    snapshot,
    stage_row,
    until,
)
from stages.processes import COMMAND, Place, environment

from recsae.warehouse import Warehouse, store
from recsae.warehouse.connection import connect

if TYPE_CHECKING:
    from conftest import Result

    Cli = Callable[..., Result]

STAGES = list(COMMANDS)


@pytest.fixture
def base(tmp_path_factory: pytest.TempPathFactory, whole: Finished) -> Path:
    """Where the pipeline of the session is."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture
def at(own: Finished, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """A finished warehouse of the test's own, where commands look by themselves."""
    return here(own, monkeypatch)


@pytest.fixture
def before(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Finished]:
    """Makes a warehouse as it is before a stage, where commands look by themselves."""
    return lambda stage: here(copied(until(base, stage), tmp_path / "warehouse"), monkeypatch)


def here(place: Finished, monkeypatch: pytest.MonkeyPatch) -> Finished:
    monkeypatch.setenv("RECSAE_WAREHOUSE", str(place.root))
    monkeypatch.setenv("RECSAE_DATA", str(place.data))
    return place


def after(base: Path, whole: Finished, stage: str) -> Path:
    """A warehouse as it is after a stage."""
    later = STAGES[STAGES.index(stage) + 1 :]
    return until(base, later[0]).root if later else whole.root


def run_of(place: Finished, stage: str) -> str:
    return place.recommender if stage == "train" else place.sae


def status(place: Finished, stage: str) -> object:
    row = stage_row(place.root, run_of(place, stage), stage.rsplit(" ", 1)[-1])
    return row.get("status")


def told(result: Result, code: int, message: str, hint: str | None = None) -> None:
    """The command ended with this status, and stderr ends with these one or two lines."""
    lines = result.err.splitlines()
    wanted = [f"recsae: error: {message}", *([f"hint: {hint}"] if hint else [])]
    assert lines[-len(wanted) :] == wanted, result.err
    assert result.err.count("error") == " ".join(wanted).count("error")
    assert (result.code, result.out) == (code, "")


# -- an earlier stage is missing ------------------------------------------------------------------


def test_nothing_is_there(cli: Cli, tmp_path: Path) -> None:
    root = tmp_path / "none"
    for words in (["sae", "train"], ["sae", "encode"], ["concepts"], ["confidence"], ["report"]):
        result = cli(*words, "--warehouse", root)
        told(result, 3, f"there is no warehouse in {root}", "recsae run ml-100k")
    assert not root.exists()


def test_an_earlier_stage_has_not_run(cli: Cli, before: Callable[[str], Finished]) -> None:
    own = before("train")
    told(cli(*COMMANDS["sae train"]), 3, "no recommender run is done yet", "recsae run ml-100k")
    shutil.rmtree(own.root)
    own = before("sae train")
    told(cli(*COMMANDS["encode"]), 3, "no sae run is done yet", "recsae sae train")
    message = f"run '{own.recommender}' has no finished autoencoder"
    hint = f"recsae sae train {own.recommender}"
    told(cli("sae", "encode", own.recommender), 3, message, hint)
    shutil.rmtree(own.root)
    own = before("encode")
    for words in (COMMANDS["concepts"], COMMANDS["confidence"]):
        message = f"stage encode of run '{own.sae}' has not run"
        told(cli(*words), 3, message, f"recsae sae encode {own.sae}")
    assert cli(*COMMANDS["encode"]).code == 0
    message = f"stage concepts of run '{own.sae}' has not run"
    told(cli(*COMMANDS["confidence"]), 3, message, f"recsae concepts {own.sae}")
    for stage in ("concepts", "confidence"):
        assert cli(*COMMANDS[stage]).code == 0
    assert cli("report").code == 0


# -- names ----------------------------------------------------------------------------------------


def test_unknown_names(cli: Cli, at: Finished) -> None:
    both = f"there is {at.sae}, {at.recommender}"
    for words in (["sae", "train"], ["sae", "encode"], ["concepts"], ["confidence"]):
        told(cli(*words, "sasrec-plantd"), 2, "no run is called 'sasrec-plantd'", both)
    wrong = cli("train", "SASRek", "planted")
    assert wrong.code == 2
    assert wrong.err.startswith(
        "recsae: error: no model is called 'SASRek'\nhint: did you mean SAS"
    )
    message = f"data set 'plantde' is not prepared in {at.data}"
    hint = "did you mean planted? prepared are planted; recsae data list shows all that there is"
    told(cli("train", "SASRec", "plantde"), 3, message, hint)
    message = f"data set 'ml-100k' is not prepared in {at.data}"
    told(cli("train", "SASRec", "ml-100k"), 3, message, "recsae data prepare ml-100k")


def test_the_start_of_several_runs(cli: Cli, at: Finished) -> None:
    short = ("--k", "3", "--scale", "1", "--epochs", "1")
    other = cli("sae", "train", "sas", *short).out.strip()
    both = ", ".join(sorted([other, at.sae]))
    told(cli("concepts", "sae"), 2, "'sae' is the start of several runs", f"say which: {both}")
    assert cli("sae", "encode", other[:-1]).code == 0
    assert cli("sae", "train", "s", *short).out.strip() == other  # only one is a recommender


# -- values ---------------------------------------------------------------------------------------


CANNOT_BE = [
    ("sae train latest --k -1", "--k is -1, but it must be at least 1"),
    ("sae train latest --k 0", "--k is 0, but it must be at least 1"),
    ("sae train latest --k 65 --scale 2", "--k is 65, but the dictionary has 64 latents"),
    ("sae train latest --lr nan", "--lr is nan, but it must be positive and finite"),
    ("sae train latest --lr inf", "--lr is inf, but it must be positive and finite"),
    ("sae train latest --lr -1", "--lr is -1.0, but it must be positive and finite"),
    ("sae train latest --epochs 0", "--epochs is 0, but it must be at least 1"),
    ("train SASRec planted --lr nan", "--lr is nan, but it must be positive and finite"),
    ("train SASRec planted --dropout 1", "--dropout is 1.0, but it must be from 0 to below 1"),
    ("concepts latest --top-items 11", "--top-items is 11, but it must be at most 10, as many"),
    ("confidence latest --max-q nan", "--max-q is nan, but it must be from 0 to 1"),
    ("confidence latest --permutations x", "Invalid value for '--permutations': "),
]


def test_values_that_cannot_be(cli: Cli, at: Finished) -> None:
    """They are refused before anything is stored."""
    old = snapshot(at.root)
    for words, message in CANNOT_BE:
        result = cli(*words.split())
        assert (result.code, result.out) == (2, "")
        said = [line for line in result.err.splitlines() if not line.startswith("run latest: ")]
        assert said[0].startswith(f"recsae: error: {message}")
        assert len(said) == 2
    assert differences(snapshot(at.root), old) == []


@pytest.mark.parametrize(
    ("words", "good", "name"),
    [
        (
            "train BPRMF planted --epochs 2 --lr 1e30",
            "train BPRMF planted --epochs 2",
            "the loss of BPRMF",
        ),
        (
            "sae train latest --k 2 --scale 1 --epochs 2 --lr 1e30",
            "sae train latest --k 2 --scale 1 --epochs 2",
            "the loss of the SAE",
        ),
    ],
)
def test_a_rate_that_is_too_high(cli: Cli, at: Finished, words: str, good: str, name: str) -> None:
    """The run is marked failed, and another one with a good rate is a success."""
    for _ in range(2):  # also when it is repeated
        result = cli(*words.split())
        assert result.code == 1
        *_, error, hint = result.err.splitlines()
        assert error.startswith(f"recsae: error: {name} is not finite in epoch ")
        assert hint == "hint: lower --lr (it is 1e+30)"
        with Warehouse.open(at.root, read_only=True) as warehouse:
            failed = warehouse.runs().row(0, named=True)
        assert (failed["status"], failed["stages"]) == ("failed", [])
    assert "failed" in cli("runs").out
    made = cli(*good.split()).out.strip()
    with Warehouse.open(at.root, read_only=True) as warehouse:
        assert made != failed["run_id"]
        assert warehouse.run(made).status == "done"


# -- another process ------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from recsae.warehouse import Warehouse
with Warehouse.open(Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_a_warehouse_that_another_process_holds(
    cli: Cli, at: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(*words: Any, wait: float, **options: Any) -> Any:
        return connect(*words, wait=0, **options)

    monkeypatch.setattr(store, "connect", impatient)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(at.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(Place(at.root, at.data)),
    )
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == "open\n"
        for words in (*COMMANDS.values(), ("report",), ("runs",)):
            result = cli(*words)
            assert result.code == 1
            error, hint = result.err.splitlines()
            assert error.startswith(f"recsae: error: the warehouse {at.root} is in use by ")
            assert error.endswith(f"(PID {holder.pid})")
            assert hint.startswith("hint: wait until it ends, or read a copy: cp -r ")
        holder.communicate("\n")
    for words in (*COMMANDS.values(), ("report",), ("runs",)):
        assert cli(*words).code == 0


# -- damaged files --------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rebuild(stage: str, place: Finished) -> str:
    """The command of a hint that makes a stage again."""
    commands = {"train": "train SASRec planted", "sae train": f"sae train {place.recommender}"}
    return f"recsae {commands.get(stage, f'sae {stage} {place.sae}')}"


FILES = [
    ("cases/run_id={0}/part-0.parquet", "train", ("sae train", "encode", "concepts", "confidence")),
    ("recommendations/run_id={0}/part-0.parquet", "train", ("encode", "concepts", "confidence")),
    ("activations/run_id={1}/part-0.parquet", "encode", ("concepts", "confidence")),
    ("runs/{0}/vectors.npy", "train", ("sae train", "encode")),
    ("runs/{0}/items.npy", "train", ("sae train", "encode")),
    ("runs/{1}/sae/model.safetensors", "sae train", ("encode",)),
    ("runs/{1}/sae/config.json", "sae train", ("encode",)),
]
"""A file, the stage that makes it, and those that read it."""


@pytest.mark.parametrize(
    "harm", [cut, *(pytest.param(other, marks=pytest.mark.fault) for other in (empty, Path.unlink))]
)
@pytest.mark.parametrize(("file", "maker", "readers"), FILES)
def test_files_that_are_damaged_or_gone(
    cli: Cli,
    at: Finished,
    file: str,
    maker: str,
    readers: tuple[str, ...],
    harm: Callable[[Path], None],
) -> None:
    """The stage that reads one says which file it is and what makes it again, and fails."""
    harm(at.root / file.format(at.recommender, at.sae))
    for stage in reversed(readers):
        shown = rows_of(at.root, at.sae, stage)
        words = COMMANDS[stage]
        other = ("--epochs", "1") if stage == "sae train" else ("--force",)
        result = cli(*words, *other)
        *_, error, hint = result.err.splitlines()
        assert result.code in (1, 3), result.err
        lost = f"recsae: error: stage {maker.split()[-1]} of run "
        assert str(at.root) in error or (error.startswith(lost) and error.endswith("its files"))
        assert hint.removesuffix(" --force") == f"hint: {rebuild(maker, at)}"
        if result.code == 1:
            assert "damaged" in error
        if status(at, stage) == "done":
            assert rows_of(at.root, at.sae, stage) == shown


def test_the_command_of_the_hint_mends_a_damaged_file(
    cli: Cli, at: Finished, whole: Finished
) -> None:
    cut(at.root / "activations" / f"run_id={at.sae}" / "part-0.parquet")
    hint = cli("concepts", "--force").err.splitlines()[-1]
    assert cli(*hint.removeprefix("hint: recsae ").split()).code == 0
    for stage in ("concepts", "confidence"):
        assert cli(*COMMANDS[stage]).code == 0
    assert differences(snapshot(at.root), snapshot(whole.root)) == []


@pytest.mark.parametrize("harm", [cut, empty])
def test_a_damaged_database(cli: Cli, at: Finished, harm: Callable[[Path], None]) -> None:
    harm(at.root / "recsae.duckdb")
    for words in (*COMMANDS.values(), ("runs",), ("report",)):
        result = cli(*words)
        assert (result.code, result.out) == (1, "")
        error, hint = result.err.splitlines()
        assert f"the warehouse database {at.root / 'recsae.duckdb'} is damaged" in error
        assert hint.startswith("hint: recsae repair makes a new one")


# -- no room --------------------------------------------------------------------------------------


@contextmanager
def room(n_bytes: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


ROOM = {
    "train": (100_000, 0, 20_000, 400_000),
    "sae train": (20_000, 0, 8_000),
    "encode": (100_000, 0, 20_000),
    "concepts": (200_000, 0, 20_000),
    "confidence": (20_000, 0),
}
"""Bytes that a file may have while the stage runs; each stops it at another place. The first of
each stage is tried in every test run, the others with -m fault."""


@pytest.mark.parametrize(
    ("stage", "n_bytes"),
    [
        pytest.param(stage, n, marks=pytest.mark.fault if n != sizes[0] else ())
        for stage, sizes in ROOM.items()
        for n in sizes
    ],
)
def test_a_full_disk(
    cli: Cli,
    base: Path,
    whole: Finished,
    before: Callable[[str], Finished],
    stage: str,
    n_bytes: int,
) -> None:
    own = before(stage)
    with room(n_bytes):
        result = cli(*COMMANDS[stage])
    told_of_full_disk(result, own.root)
    assert status(own, stage) in (None, "failed")
    assert not any(rows_of(own.root, run_of(own, stage), stage).values())
    assert not [one for one in (own.root / "tmp").iterdir() if one.name not in ("locks", "spill")]
    assert cli(*COMMANDS[stage]).code == 0
    assert differences(snapshot(own.root), snapshot(after(base, whole, stage))) == []


def told_of_full_disk(result: Result, root: Path) -> None:
    *_, error, hint = result.err.splitlines()
    assert (result.code, result.out) == (1, ""), result.err
    assert "Traceback" not in result.err
    assert hint == "hint: free some space and repeat"
    assert error == f"recsae: error: no space left on the disk of {root}"


def test_a_full_disk_before_the_first_byte(
    cli: Cli, whole: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half of a database is left, which later calls would take for a damaged one."""
    own = here(whole._replace(root=tmp_path / "new"), monkeypatch)
    words = ("train", "BPRMF", "planted", "--epochs", "1")
    for n_bytes in (0, 5_000, 20_000):
        with room(n_bytes):
            told_of_full_disk(cli(*words), own.root)
    assert cli(*words).code == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of so many bytes, where this system lets us."""
    place = tmp_path / "disk"

    def make(n_bytes: int) -> Path:
        place.mkdir(exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(place)]
        if not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
            pytest.skip("this system lets us mount nothing")
        return place

    yield make
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full_indeed(
    cli: Cli, base: Path, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own: a memory map on a full disk ends a process without a word."""
    source = until(base, "train")
    disk = small_disk(16_000_000)
    own = here(copied(source, disk / "warehouse"), monkeypatch)
    filler = disk / "filler"
    # enough for two checkpoints, too little for the vectors beside one
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - 1_300_000))
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *COMMANDS["train"]],
        capture_output=True,
        text=True,
        env=environment(Place(own.root, own.data)),
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.endswith(
        f"recsae: error: no space left on the disk of {own.root}\n"
        "hint: free some space and repeat\n"
    )
    filler.unlink()
    again = cli(*COMMANDS["train"])
    assert again.code == 0
    assert "going on after epoch 20" in again.err


# -- no permission --------------------------------------------------------------------------------

DROP = """
import ctypes, os, sys
if os.geteuid() == 0:  # root may write anywhere, but not without its capabilities
    libc = ctypes.CDLL(None)
    nothing = (ctypes.c_uint32 * 6)()
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if not hasattr(libc, "capset") or libc.capset(header, nothing):
        sys.exit("cannot drop rights")
from recsae.cli import invoke
for line in sys.stdin.read().splitlines():
    print(invoke(line.split()), file=sys.stderr)
"""


def test_a_folder_that_may_only_be_read(at: Finished) -> None:
    """Stages say so, skipped or not; reports still come."""
    paths = [at.root, *at.root.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    lines = [" ".join(words) for words in COMMANDS.values()]
    lines += [f"{lines[-1]} --force", "runs", "report"]
    done = subprocess.run(
        [sys.executable, "-c", DROP],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        env=environment(Place(at.root, at.data)),
        check=False,
    )
    for path in paths:
        path.chmod(0o755)
    if "cannot drop rights" in done.stderr:
        pytest.skip("this system lets root write anywhere")
    refused = f"recsae: error: cannot write to {at.root}: permission denied\n"
    refused += "hint: choose --warehouse FOLDER\n1\n"
    resolved = f"run latest: {at.sae}, autoencoder of {at.recommender}\n"
    assert done.stderr == f"{refused * 6}0\n{resolved}0\n"

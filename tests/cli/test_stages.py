"""The commands that train and verify: what they print where, and that their options arrive."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import typer
from stages.finished import planted_data

from recsae import cli as commands
from recsae import stages
from recsae.config import ConceptsConfig, ConfidenceConfig, SAEConfig, TrainConfig, option
from recsae.recommenders.presets import FIELDS, FINETUNING
from recsae.warehouse import Warehouse

if TYPE_CHECKING:
    from conftest import Result

RECOMMENDER: dict[str, Any] = {
    "emb_size": 16,
    "lr": 0.002,
    "l2": 1e-05,
    "batch_size": 32,
    "epochs": 2,
    "early_stop": 1,
    "seed": 3,
    "history_max": 12,
    "position_from": "recent",
    "objective": "bpr",
    "num_heads": 2,
    "dropout": 0.1,
    "num_layers": 2,
    "n_layers": 2,
    "gamma": 0.5,
    "K": 3,
    "attn_size": 4,
    "add_pos": 0,
    "add_trm": 0,
    "temp": 0.5,
    "stage": "pretrain",
}
"""A value of every option that is not its default."""

AUTOENCODER: dict[str, Any] = {
    "k": 3,
    "scale": 2,
    "lr": 0.002,
    "revival": "auxk",
    "warm_up": 0.1,
    "decay": 0.5,
    "batch_size": 128,
    "epochs": 2,
    "aux_weight": 0.05,
    "dead_after": 0.25,
    "fold_in": 0,
    "construct_share": 0.4,
    "heldout_share": 0.3,
    "seed": 5,
}
CONCEPTS: dict[str, Any] = {
    "top_items": 5,
    "history_items": 4,
    "label_tags": 3,
    "profile_tags": 6,
    "max_cases": 50_000,
    "pool_cases": 200,
    "popularity_bins": 5,
    "n_examples": 3,
}
CONFIDENCE: dict[str, Any] = {
    "active_cap": 50,
    "permutations": 2,
    "min_active": 5,
    "min_users": 4,
    "min_confidence": 0.6,
    "max_q": 0.2,
    "n_strong": 6,
}
OPTIONS = [
    (("train",), TrainConfig, RECOMMENDER),
    (("sae", "train"), SAEConfig, AUTOENCODER),
    (("concepts",), ConceptsConfig, CONCEPTS),
    (("confidence",), ConfidenceConfig, CONFIDENCE),
]
SASREC = {name: RECOMMENDER[name] for name in FIELDS["SASRec"]}


def words(options: dict[str, Any]) -> list[str]:
    """Options as a command line has them."""
    return [word for name, value in options.items() for word in (option(name), str(value))]


FLOW = {
    "train": ["train", "sasrec", "planted", *words(SASREC)],
    "sae train": ["sae", "train", "latest", *words(AUTOENCODER)],
    "sae encode": ["sae", "encode", "latest"],
    "concepts": ["concepts", "latest", *words(CONCEPTS)],
    "confidence": ["confidence", "latest", *words(CONFIDENCE)],
}


class Done(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str


def invoked(*line: object) -> Done:
    """Run a command line where the fixtures of a single test are not at hand."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = commands.invoke([str(word) for word in line])
    return Done(code, out.getvalue(), err.getvalue())


class Flow(NamedTuple):
    """A warehouse that the commands of FLOW made, and what each of them said."""

    root: Path
    data: Path
    done: dict[str, Done]

    def places(self, command: str) -> list[object]:
        data = ["--data", self.data] if command == "train" else []
        return [*data, "--warehouse", self.root]


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Flow:
    root = tmp_path_factory.mktemp("flow") / "warehouse"
    made = Flow(root, planted_data(tmp_path_factory.getbasetemp()), {})
    for name, line in FLOW.items():
        made.done[name] = invoked(*line, *made.places(name))
    return made


# -- what is printed ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", FLOW)
def test_stdout_is_the_run_id(flow: Flow, command: str) -> None:
    done = flow.done[command]
    assert done.code == 0, done.err
    with Warehouse.open(flow.root, read_only=True) as warehouse:
        kind = "recommender" if command == "train" else "sae"
        assert done.out == f"{warehouse.find_run('latest', kind).run_id}\n"
    assert done.err.endswith("\n")
    assert "error" not in done.err


@pytest.mark.parametrize("command", FLOW)
def test_done_already(flow: Flow, command: str, cli: Callable[..., Result]) -> None:
    """``latest`` of the first line may be the autoencoder by now, so the run is named."""
    run_id = flow.done[command].out.strip()
    named = [run_id if word == "latest" else word for word in FLOW[command]]
    if command == "sae train":
        named[2] = flow.done["train"].out.strip()
    result = cli(*named, *flow.places(command))
    assert (result.code, result.out) == (0, f"{run_id}\n")
    stage = command.removeprefix("sae ")
    assert result.err == f"{stage} {run_id}: already done\n"


def test_evaluate(flow: Flow, cli: Callable[..., Result]) -> None:
    sae = flow.done["sae train"].out.strip()
    text = cli("evaluate", *flow.places("evaluate"))
    told, about = text.err.splitlines()
    assert text.code == 0
    assert told.startswith(f"run latest: {sae}, autoencoder of ")
    assert about.startswith(f"run {sae}; full ranking")
    result = cli("evaluate", "--json", *flow.places("evaluate"))
    rows = json.loads(result.out)
    assert (result.code, result.err) == (0, f"{told}\n")
    columns = [(row["split"], row["vectors"]) for row in rows]
    assert columns == [("dev", "own"), ("dev", "sae"), ("test", "own"), ("test", "sae")]
    assert {row["run_id"] for row in rows} == {sae}
    lines = {line.split()[0]: line.split()[1:] for line in text.out.splitlines()[2:]}
    assert "NDCG@10" in lines
    for metric, shown in lines.items():
        assert [float(value) for value in shown] == [round(row[metric], 4) for row in rows]


def test_evaluate_agrees_with_what_training_stored(flow: Flow, cli: Callable[..., Result]) -> None:
    run_id = flow.done["train"].out.strip()
    rows = json.loads(cli("evaluate", run_id, "--json", *flow.places("evaluate")).out)
    assert [row["vectors"] for row in rows] == ["own", "own"]
    with Warehouse.open(flow.root, read_only=True) as warehouse:
        stored = warehouse.sql(
            "select metric, value from raw.metrics "
            "where run_id = $r and split = 'test' and epoch = 0 and metric like '%@%'",
            {"r": run_id},
        )
    test = next(row for row in rows if row["split"] == "test")
    assert len(stored) == 8
    assert {metric: test[metric] for metric in stored["metric"]} == pytest.approx(
        dict(stored.iter_rows())
    )


def test_run(flow: Flow, cli: Callable[..., Result], tmp_path: Path) -> None:
    line = ("run", "planted", "--model", "bprmf", "--k", 2, "--scale", 1, "--seed", 7)
    places = ("--data", flow.data, "--warehouse", tmp_path / "warehouse")
    first = cli(*line, "--json", *places)
    assert first.code == 0, first.err
    card = json.loads(first.out)["run"]
    assert (card["model"], card["k"], card["n_users"]) == ("BPRMF", 2, 300)
    assert "data planted: already prepared" in first.err
    again = cli(*line, *places)
    assert again.out.startswith(f"{card['run_id']}\n  data        planted: 300 users")
    assert again.err.count("already") == 6
    with Warehouse.open(tmp_path / "warehouse", read_only=True) as warehouse:
        sae = warehouse.run(card["run_id"])
        assert (sae.seed, sae.params["scale"]) == (7, 1)
        assert warehouse.run(str(sae.parent_run_id)).seed == 7


def test_force_does_it_again(flow: Flow, cli: Callable[..., Result]) -> None:
    result = cli(*FLOW["confidence"], "--force", *flow.places("confidence"))
    assert (result.code, result.out) == (0, flow.done["confidence"].out)
    assert "already done" not in result.err


@pytest.mark.parametrize(
    ("line", "code", "message", "hint"),
    [
        (["train", "SASRec", "gone"], 3, "'gone' is not prepared", "prepared are planted"),
        (["run", "gone"], 2, "there is no data set 'gone'", "recsae data list shows all"),
        (["train", "SASRek", "planted"], 2, "'SASRek'", "did you mean SASRec?"),
        (["train", "SASRec", "planted", "--dropout", "1"], 2, "--dropout is 1.0", "--dropout"),
        (["sae", "train", "latest", "--k", "0"], 2, "--k is 0", "--k"),
        (["sae", "train", "gone"], 2, "no run is called 'gone'", "sasrec-planted"),
        (["concepts", "latest", "--top-items", "11"], 2, "--top-items is 11", "--top-items"),
        (["confidence", "latest", "--max-q", "2"], 2, "--max-q is 2.0", "--max-q"),
        (["sae", "encode", "gone"], 2, "no run is called 'gone'", "sasrec-planted"),
    ],
)
def test_wrong_use(
    line: list[str],
    code: int,
    message: str,
    hint: str,
    flow: Flow,
    cli: Callable[..., Result],
) -> None:
    result = cli(*line, *flow.places(line[0]))
    assert (result.code, result.out) == (code, "")
    error, then = result.err.splitlines()
    assert error.startswith("recsae: error: ")
    assert message in error
    assert then.startswith("hint: ")
    assert hint in then


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (["sae", "train"], "no recommender run is done yet", "recsae run ml-100k"),
        (["sae", "encode"], "no sae run is done yet", "recsae sae train"),
        (["concepts"], "no sae run is done yet", "recsae sae train"),
        (["confidence"], "no sae run is done yet", "recsae sae train"),
        (["evaluate"], "no finished run is done yet", "recsae run ml-100k"),
    ],
)
def test_an_earlier_stage_is_missing(
    line: list[str], message: str, hint: str, cli: Callable[..., Result], root: Path
) -> None:
    result = cli(*line, "--warehouse", root)
    assert (result.code, result.out) == (3, "")
    assert result.err == f"recsae: error: {message}\nhint: {hint}\n"


# -- options --------------------------------------------------------------------------------------


def test_every_option_of_training_reaches_the_run(flow: Flow) -> None:
    with Warehouse.open(flow.root, read_only=True) as warehouse:
        recommender = warehouse.run(flow.done["train"].out.strip())
        sae = warehouse.run(flow.done["sae train"].out.strip())
    assert SASREC.items() <= recommender.params.items()
    assert recommender.seed == SASREC["seed"]
    assert AUTOENCODER.items() <= sae.params.items()
    assert (sae.params["n_latents"], sae.seed) == (32, AUTOENCODER["seed"])


@pytest.mark.parametrize(("stage", "given"), [("concepts", CONCEPTS), ("confidence", CONFIDENCE)])
def test_every_option_reaches_the_stage(flow: Flow, stage: Any, given: dict[str, Any]) -> None:
    with Warehouse.open(flow.root, read_only=True) as warehouse:
        state = warehouse.stage_state(flow.done[stage].out.strip(), stage)
    assert state is not None
    assert state.params == given


@pytest.mark.parametrize("model", FIELDS)
def test_every_option_of_every_model_arrives(
    model: str, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainConfig] = []

    def train(
        root: Path, data: Path, model: str, dataset: str, config: TrainConfig, **_: Any
    ) -> str:
        seen.append(config)
        return "run-1"

    monkeypatch.setattr(stages, "train", train)
    every = {name: RECOMMENDER[name] for name in FIELDS[model]}
    # pretraining takes no options of the stage after it
    left_out = FINETUNING if every.get("stage") == "pretrain" else ()
    parts = [{name: value for name, value in every.items() if name not in left_out}]
    if left_out:
        parts.append({name: every[name] for name in left_out})
    for given in parts:
        result = cli("train", model, "planted", *words(given))
        assert (result.code, result.out) == (0, "run-1\n"), result.err
        assert {name: getattr(seen[-1], name) for name in given} == given
    assert {name for given in parts for name in given} == set(FIELDS[model])


@pytest.mark.parametrize(("path", "config", "values"), OPTIONS, ids=lambda x: str(x)[:20])
def test_options_are_the_fields_of_the_configuration(
    path: tuple[str, ...], config: Any, values: dict[str, Any]
) -> None:
    """None can be forgotten here: every field has an option and a value above."""
    names = {field.name for field in fields(config)}
    declared = {name for param in command(path).params for name in param.opts}
    assert {option(name) for name in names} <= declared
    assert set(values) == names
    defaults = config()
    assert not [name for name in names if getattr(defaults, name) == values[name]]


def command(path: tuple[str, ...]) -> Any:
    found: Any = typer.main.get_command(commands.app)
    for word in path:
        found = found.commands[word]
    return found


def walk(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    children = getattr(found, "commands", {})
    if not children:
        yield path
    for name, child in children.items():
        yield from walk(child, (*path, name))


EVERY = sorted(walk(command(())))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_help_says_what_everything_is(path: tuple[str, ...]) -> None:
    found = command(path)
    summary = " ".join(found.help.partition("\n\n")[0].split())
    assert summary[0].isupper()
    assert summary[-1] in ".:"
    assert len(summary) > 20
    silent = [param.name for param in found.params if not getattr(param, "help", None)]
    assert silent == []


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_an_option_that_is_nearly_right_is_refused_with_the_right_one(
    path: tuple[str, ...], cli: Callable[..., Result]
) -> None:
    longest = max((name for param in command(path).params for name in param.opts), key=len)
    mistyped = longest[:-2] + longest[-1] + longest[-2] + "x"
    result = cli(*path, mistyped, "1")
    assert (result.code, result.out) == (2, "")
    error, hint = result.err.splitlines()
    assert error.startswith(f"recsae: error: No such option: {mistyped}")
    assert longest in error.removeprefix(f"recsae: error: No such option: {mistyped}")
    assert hint == f"hint: recsae {' '.join(path)} --help"


def test_a_command_that_is_nearly_right(cli: Callable[..., Result]) -> None:
    assert "Did you mean 'confidence'?" in cli("confidense").err
    assert "Did you mean 'encode'?" in cli("sae", "encod").err

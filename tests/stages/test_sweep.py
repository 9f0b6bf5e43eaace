"""A sweep: which cells there are, what is skipped, refused, and survives a kill or a failure."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from stages.processes import Place, completed, killed

from recsae import stages
from recsae.config import ConceptsConfig, ConfidenceConfig
from recsae.errors import DataError, UsageError
from recsae.progress import Reporter
from recsae.sae.presets import PRESETS, preset
from recsae.stages import sweep as module
from recsae.stages.sweep import SweepConfig, grid, sweep
from recsae.warehouse import Warehouse

if TYPE_CHECKING:
    from stages.finished import Finished

QUICK = ConfidenceConfig(permutations=1)


class Notes(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def stages_of(root: Path) -> dict[str, list[str]]:
    """Stages that are done, by run."""
    with Warehouse.open(root, read_only=True) as warehouse:
        return dict(warehouse.runs().select("run_id", "stages").rows())


# -- the cells ------------------------------------------------------------------------------------


def test_every_combination_is_a_cell() -> None:
    cells = SweepConfig(k=(4, 8), scale=(1, 2), lr=(0.1, 0.2), seeds=2, epochs=3).cells()
    found = [(c.k, c.scale, c.lr, c.seed) for c in cells]
    assert found[:3] == [(4, 1, 0.1, 0), (4, 1, 0.1, 1), (4, 1, 0.2, 0)]
    assert len(set(found)) == len(found) == 16
    assert {c.epochs for c in cells} == {3}


def test_without_settings_each_k_and_scale_has_its_own() -> None:
    cells = SweepConfig(k=(4, 8, 16, 32), scale=(16, 32)).cells()
    assert {(c.k, c.scale): (c.lr, c.revival) for c in cells} == PRESETS
    assert len(set(PRESETS.values())) > 2


def test_settings_that_are_given_are_those_of_every_cell() -> None:
    cells = SweepConfig(k=(4, 8), lr=(1e-3,), revival="none").cells()
    assert {(c.lr, c.revival) for c in cells} == {(1e-3, "none")}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (SweepConfig(k=(8, 0)), "--k is 0"),
        (SweepConfig(scale=(-1,)), "--scale is -1"),
        (SweepConfig(lr=(0.1, float("nan"))), "--lr is nan"),
        (SweepConfig(epochs=0), "--epochs is 0"),
        (SweepConfig(revival="both"), "--revival is both"),
        (SweepConfig(seeds=0), "--seeds is 0"),
        (SweepConfig(until="train"), "--until is train"),
    ],
)
def test_bad_values_are_named(config: SweepConfig, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        config.cells()
    assert raised.value.message.startswith(words)


def test_a_grid_that_cannot_be_is_refused_before_anything_is_trained(whole: Finished) -> None:
    before = stages_of(whole.root)
    with pytest.raises(UsageError, match=r"--k 64 with --scale 1 cannot be.*32 latents"):
        sweep(whole.root, "latest", SweepConfig(k=(4, 64), scale=(1, 2)), reporter=Reporter())
    assert stages_of(whole.root) == before


# -- running it -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(whole: Finished, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A copy of the planted warehouse with a sweep of two cells, two seeds each."""
    from stages.finished import copied

    own = copied(whole, tmp_path_factory.mktemp("swept") / "warehouse")
    sweep(own.root, own.recommender, CONFIG, reporter=Reporter())
    return own


CONFIG = SweepConfig(k=(2,), scale=(1,), seeds=2, epochs=2, confidence=QUICK)


def test_cells_are_runs_like_any_other(swept: Finished) -> None:
    """The run of a cell is the one that its own commands make, so these have nothing left to do."""
    notes = Notes()
    cell = CONFIG.cells()[1]
    run_id = stages.train_sae(swept.root, swept.recommender, cell, force=False, reporter=notes)
    stages.encode(swept.root, run_id, force=False, reporter=notes)
    stages.concepts(swept.root, run_id, ConceptsConfig(), force=False, reporter=notes)
    stages.confidence(swept.root, run_id, QUICK, force=False, reporter=notes)
    assert [note.rpartition(": ")[2] for note in notes.said] == ["already done"] * 4


def test_a_second_sweep_trains_only_what_is_new(swept: Finished, tmp_path: Path) -> None:
    from stages.finished import copied

    own = copied(swept, tmp_path / "warehouse")
    before = stages_of(own.root)
    notes = Notes()
    wider = SweepConfig(k=(3, 2), scale=(1,), seeds=2, epochs=2, until="encode")
    result = sweep(own.root, own.sae, wider, reporter=notes)
    assert (result.recommender, result.failures) == (own.recommender, [])
    new = {run_id for run_id in result.run_ids if run_id not in before}
    assert ["-k3-" in run_id for run_id in result.run_ids] == [True, True, False, False]
    assert stages_of(own.root) == before | {key: ["train", "encode"] for key in new}
    assert (len(new), sum("already done" in note for note in notes.said)) == (2, 4)


def test_the_grid_is_that_of_the_runs(swept: Finished) -> None:
    with Warehouse.open(swept.root, read_only=True) as warehouse:
        run_id, frame = grid(warehouse, "latest")
        assert run_id == swept.recommender
        found = frame.filter(frame["n_runs"] == 2)
        assert found.select("k", "scale", "n_verified").rows() == [(2, 1, 2)]
        for row in found.to_dicts():
            cards = [
                warehouse.query("report.overview", {"run_id": one}).row(0, named=True)
                for one in row["run_ids"]
            ]
            for name in ("ndcg_10_kept", "fvu_heldout", "n_interpretable", "user_coverage"):
                mean = sum(card[name] for card in cards) / 2
                assert row[name] == pytest.approx(mean), name
            one, other = (card["ndcg_10_kept"] for card in cards)
            assert row["ndcg_10_kept_sd"] == pytest.approx(abs(one - other) / 2**0.5)


@pytest.mark.parametrize(("until", "done"), [("sae", 1), ("encode", 2), ("concepts", 3)])
def test_it_stops_where_it_is_told(own: Finished, until: str, done: int) -> None:
    config = SweepConfig(k=(3,), scale=(1,), epochs=1, until=until)
    result = sweep(own.root, "latest", config, reporter=Reporter())
    order = ["train", "encode", "concepts", "confidence"]
    assert stages_of(own.root)[result.run_ids[0]] == order[:done]


def test_the_grid_needs_no_concepts(
    whole: Finished, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Not even the tables of concepts, which the first concepts stage of a warehouse makes."""
    from stages.finished import copied, until

    base = until(tmp_path_factory.getbasetemp(), "sae train")
    own = copied(base, tmp_path_factory.mktemp("early") / "warehouse")
    with Warehouse.open(own.root) as warehouse:
        for relation in ("confidence.scores", "concepts.labels", "staging.level_edges"):
            warehouse.execute(f"drop table if exists {relation}")
    sweep(own.root, "latest", SweepConfig(epochs=1, scale=(1,), until="sae"), reporter=Reporter())
    with Warehouse.open(own.root, read_only=True) as warehouse:
        _, frame = grid(warehouse, "latest")
    assert frame["ndcg_10_kept"].null_count() == 0
    assert frame.select("n_runs", "n_verified", "n_interpretable").rows() == [(1, 0, None)]


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [DataError("no room"), RuntimeError("no room\nmore")])
def test_a_cell_that_fails_does_not_stop_the_others(
    own: Finished, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    config = SweepConfig(k=(2, 3, 4), scale=(1,), epochs=1, until="encode")

    def encode(root: Path, ref: str, **options: object) -> str:
        if "-k3-" in ref:
            raise error
        return stages.encode(root, ref, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "encode", encode)
    result = sweep(own.root, "latest", config, reporter=Reporter())
    assert len(result.run_ids) == 2
    [failure] = result.failures
    assert failure.startswith(f"k 3, scale 1, lr {preset(3, 1).lr:g}, seed 0: ")
    assert failure.endswith("no room")
    monkeypatch.undo()
    again = sweep(own.root, "latest", config, reporter=Reporter())
    assert (len(again.run_ids), again.failures) == (3, [])


def test_an_interruption_ends_it(own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "encode", encode)
    with pytest.raises(KeyboardInterrupt):
        sweep(own.root, "latest", SweepConfig(k=(2, 3), epochs=1, scale=(1,)), reporter=Reporter())
    assert sum("-k3-" in run_id for run_id in stages_of(own.root)) == 0


def test_a_killed_sweep_goes_on(own: Finished) -> None:
    """Killed once the second cell has begun: the first is left alone, the second goes on."""
    at = Place(own.root, own.data)
    words = ["sweep", "latest", "--k", "2,3", "--scale", "1", "--epochs", "4", "--until", "encode"]
    runs = own.root / "runs"
    after = killed(words, at, lambda _: any(runs.glob("sae-*-k3-*/checkpoint.pt")))
    assert after.code == -signal.SIGKILL
    done = {run_id: rows for run_id, rows in stages_of(own.root).items() if "-k2-" in run_id}
    assert list(done.values()) == [["train", "encode"]]
    again = completed(words, at)
    assert again.code == 0, again.err
    assert again.err.count("already done") == 2
    with Warehouse.open(own.root, read_only=True) as warehouse:
        assert set(warehouse.runs()["status"]) == {"done"}
        assert grid(warehouse, "latest")[1]["k"].to_list() == [2, 3, 4]

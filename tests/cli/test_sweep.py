"""``recsae sweep``: its two forms, what it prints and draws, and what it refuses."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len

from recsae.cli.report import write
from recsae.cli.sweep import numbers
from recsae.errors import UsageError
from recsae.report.sweep import differing, drawing, sweep_table

if TYPE_CHECKING:
    from conftest import Result
    from stages.finished import Finished

GOLDEN = Path(__file__).parents[1] / "golden" / "sweep.txt"
SVG = "{http://www.w3.org/2000/svg}"

CELL: dict[str, Any] = {
    "cell": 1,
    "k": 4,
    "scale": 16,
    "lr": 0.006,
    "settings": {"epochs": 30},
    "run_ids": ["sae-a", "sae-b", "sae-c"],
    "seeds": [0, 1, 2],
    "n_runs": 3,
    "n_verified": 3,
    "n_latents": 1024,
    "fvu_heldout": 0.0681,
    "fvu_heldout_sd": 0.00123,
    "l0": 3.98,
    "l0_sd": 0.01,
    "dead_share": 0.0091,
    "dead_share_sd": 0.001,
    "ndcg_10_kept": 0.9484,
    "ndcg_10_kept_sd": 0.0123,
    "n_interpretable": 312.4,
    "n_interpretable_sd": 20.2,
    "interpretable_share": 0.305,
    "n_concepts": 51.0,
    "user_coverage": 1.0,
    "user_coverage_sd": 0.0,
    "is_pareto": True,
}
WIDE = {
    **CELL,
    "k": 1024,
    "scale": 128,
    "lr": 0.00025,
    "n_runs": 12,
    "l0": 1023.9,
    "dead_share": 1.0,
    "ndcg_10_kept": 1.001,
    "ndcg_10_kept_sd": 0.111,
    "n_interpretable": 8123.0,
    "n_interpretable_sd": 123.0,
    "interpretable_share": 1.0,
    "is_pareto": False,
}
BARE = {
    **{name: None for name in CELL},
    "k": 8,
    "n_runs": 1,
    "n_verified": 0,
    "settings": {"epochs": 60, "aux_weight": 0.125, "sha256": "abc"},
    "is_pareto": False,
}
CELLS = [CELL, BARE, WIDE]


def shown(capsys: pytest.CaptureFixture[str], cells: list[dict[str, Any]]) -> str:
    write(sweep_table("sasrec-toy-0001", cells))
    return capsys.readouterr().out


# -- the table ------------------------------------------------------------------------------------


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, CELLS) == GOLDEN.read_text("utf-8")


def test_every_line_fits_and_every_number_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, CELLS).splitlines()
    assert max(map(cell_len, lines)) <= 80
    wide = next(line for line in lines if "1024" in line)
    numbers = ".068 .001 1,024 100% 100.1±11.1 8,123±123 (100%) 100%"
    assert wide.split() == ["1024", "128", "0.00025", "12", *numbers.split(" ")]


def test_table_without_cells(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no autoencoder is done yet" in shown(capsys, [])


def test_settings_that_differ() -> None:
    usual = {**CELL, "settings": {"epochs": 30, "batch_size": 512, "revival": "restarts"}}
    assert differing(usual) == ""
    assert differing({**usual, "k": 8}) == "revival restarts"
    assert differing(BARE) == "epochs 60, aux_weight 0.125"


# -- the drawing ----------------------------------------------------------------------------------


def circles(cells: list[dict[str, Any]]) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(drawing("r", cells)).iter(f"{SVG}circle"))


def test_a_point_per_cell_and_panel_and_the_front_is_filled() -> None:
    found = circles(CELLS)
    assert len(found) == 4, "the bare cell has nothing to draw"
    assert [one.get("fill") == "white" for one in found] == [False, True, False, True]
    assert found[0].find(f"{SVG}title").text == "k 4, scale 16, lr 0.006: 94.84"  # type: ignore[union-attr]


def test_more_is_higher_and_further_right() -> None:
    low, high = circles([CELL, {**WIDE, "is_pareto": True}])[:2]
    assert float(high.get("cx", "")) > float(low.get("cx", ""))
    assert float(high.get("cy", "")) < float(low.get("cy", ""))


@pytest.mark.parametrize("cells", [[], [BARE], [CELL]], ids=["none", "bare", "one"])
def test_few_points_can_be_drawn(cells: list[dict[str, Any]]) -> None:
    picture = ElementTree.fromstring(drawing("<&>", cells))
    width, height = (float(picture.get(name, "")) for name in ("width", "height"))
    for one in picture.iter(f"{SVG}circle"):
        assert 0 < float(one.get("cx", "")) < width
        assert 0 < float(one.get("cy", "")) < height
    assert "nan" not in drawing("r", cells)


@pytest.mark.parametrize("cells", [CELLS, [], [BARE], [CELL]], ids=["all", "none", "bare", "one"])
def test_a_picture_in_pixels(cells: list[dict[str, Any]]) -> None:
    pytest.importorskip("matplotlib")
    from recsae.report.plots import sweep_panels

    picture = sweep_panels("r_$x$", cells)
    assert picture.startswith(b"\x89PNG")
    assert sweep_panels("r_$x$", cells) == picture


# -- the commands ---------------------------------------------------------------------------------


def test_both_forms(own: Finished, cli: Callable[..., Result], tmp_path: Path) -> None:
    """Without the word run, options first, and the report of it all."""
    place = ["--warehouse", own.root]
    first = cli("sweep", "latest", "--k", "2, 3,2", "--epochs", 1, "--until", "sae", *place)
    assert first.code == 0, first.err
    assert first.err.count("cell ") == 2
    assert "(-)" in first.out
    second = cli("sweep", "--k", "2,3", "--epochs", 1, "--until", "sae", "--json", *place)
    assert second.err.count("already done") == 2
    picture = tmp_path / "grid.svg"
    report = cli("sweep", "report", "--json", "--plot", picture, *place)
    assert (report.code, report.err) == (0, f"run latest: {own.recommender}, SASRec on planted\n")
    assert report.out == second.out
    content = json.loads(report.out)
    assert content["recommender_run_id"] == own.recommender
    assert [cell["k"] for cell in content["cells"]] == [2, 3, 4]
    assert content["cells"][0]["settings"]["epochs"] == 1
    assert content["cells"][2]["run_ids"] == [own.sae]
    assert ElementTree.parse(picture).getroot().tag == f"{SVG}svg"
    assert cli("sweep", "report", own.sae, *place).out == first.out


def test_a_failed_cell_is_in_the_exit_status(
    own: Finished, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsae.errors import DataError
    from recsae.stages import sweep as module

    def train(root: Path, ref: str, config: Any, **options: Any) -> str:
        raise DataError(f"k {config.k} is broken")

    monkeypatch.setattr(module, "train_sae", train)
    done = cli("sweep", "latest", "--k", "2,3", "--warehouse", own.root)
    assert done.code == 1
    assert done.out == ""
    assert "recsae: error: 2 of 2 cells failed:" in done.err
    assert "seed 0: k 3 is broken" in done.err.partition("recsae: error")[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("latest --k 4,x", "--k has 'x', which is not a whole number"),
        ("latest --k 4,", "--k has '', which is not a whole number"),
        ("latest --scale 1.5", "--scale has '1.5', which is not a whole number"),
        ("latest --lr 1e-3,high", "--lr has 'high', which is not a number"),
        ("latest --lr inf", "--lr is inf, but it must be positive and finite"),
        (
            "latest --revival both",
            "--revival is both, but it must be auxk, auxk-half, restarts or none",
        ),
        ("latest --k 0", "--k is 0, but it must be at least 1"),
        ("latest --seeds 0", "--seeds is 0, but it must be at least 1"),
        ("latest --until x", "--until is x, but it must be one of sae, encode,"),
        ("latest --permutations 0", "--permutations is 0"),
        ("latest --k 1000 --scale 2", "--k 1000 with --scale 2 cannot be"),
        ("nothing --k 4", "no run is called 'nothing'"),
        ("report nothing", "no run is called 'nothing'"),
        ("report --plot grid.pdf", "--plot .pdf: no such picture"),
        ("report --plot grid", "--plot without an end: no such picture"),
    ],
)
def test_what_is_refused(
    whole: Finished, cli: Callable[..., Result], words: str, message: str
) -> None:
    done = cli("sweep", *words.split(), "--warehouse", whole.root)
    assert done.code == 2
    assert done.out == ""
    told = f"(run latest: {whole.recommender}, SASRec on planted\n)?"
    assert re.match(rf"{told}recsae: error: {re.escape(message)}", done.err)


def test_a_plot_in_pixels_needs_matplotlib_and_one_in_lines_does_not(
    whole: Finished, cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--warehouse", whole.root)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused = cli("sweep", "report", "--plot", tmp_path / "grid.png", *place)
    assert refused.code == 2
    assert refused.out == ""
    assert refused.err == (
        "recsae: error: --plot needs matplotlib\nhint: pip install 'recsae[plot]'\n"
    )
    assert not list(tmp_path.iterdir())
    assert cli("sweep", "report", "--plot", tmp_path / "grid.SVG", *place).code == 0
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    assert cli("sweep", "report", "--plot", tmp_path / "grid.png", *place).code == 0
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_help(cli: Callable[..., Result]) -> None:
    for words in (["sweep"], ["sweep", "--help"]):
        assert "recsae sweep RUN" in " ".join(cli(*words).out.split())
    assert "Pareto front" in cli("sweep", "report", "--help").out


def test_numbers_keep_their_order() -> None:
    assert numbers("--k", " 8,4 , 8", int) == (8, 4)
    assert numbers("--lr", "2e-3", float) == (0.002,)
    with pytest.raises(UsageError):
        numbers("--k", "", int)

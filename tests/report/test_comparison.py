"""Two runs beside one another say on top what became better or worse or cannot be told, in every format."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import Cli
from renderings import Page
from report_records import GRID, record, write_run
from rich.console import Console

from bench.escape import csv_text, plain_line
from bench.record import Record
from bench.report import COMPARED, compare, terminal_comparison, write_comparison
from bench.report.data.changes import aspects
from bench.report.tables.comparison import comparison_html, comparison_markdown

_BAD = '<script>alert("x")</script> | **b** [red]$x$\x1b[31m\u202e'


def _cell(sampler: str, fd: float, time: float = 1.0, noise: float = 0.004, **changes: Any) -> Record:
    """A cell with blocks left out that share their luck, and six rounds of timing."""
    shared, own = np.random.default_rng(1).normal(0, 0.1, 10), np.random.default_rng(int(fd * 1e6)).normal(0, noise, 10)
    seconds = [0.1 * time * (1 + 0.001 * n) for n in range(12)]
    rounds = {"timing_calls": [2] * 6, "timing_rounds": 6, "timing_watches": [{}] * 6}
    left = (fd + shared + own).tolist()
    times = {"latency_s": seconds, "network_s": [each / 2 for each in seconds]} | rounds
    return record(sampler, **({"fd_digits": fd, "fd_digits_left_out": left, "recall": 0.5} | times | changes))


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs: of what got better, worse, what cannot be told, what is the same and what is not tested of each."""
    a = [
        _cell("ddim", 3.0), _cell("heun", 2.0), _cell("ddpm", 4.0), _cell("dpm++2m", 2.5), _cell("langevin", 5.0),
        _cell("euler-maruyama", 9.0),
    ]  # fmt: skip
    b = [
        _cell("ddim", 2.8, 0.9), _cell("heun", 2.2, 1.1), _cell("ddpm", 4.001, 1.0005), _cell("dpm++2m", 2.5),
        _cell("langevin", 5.5, fd_digits_left_out=None, timing_valid=False, timing_note="others | were there"),
        _cell("unipc", 1.0),
    ]  # fmt: skip
    return [write_run(tmp_path / "old", a), write_run(tmp_path / "new", b)]


def _verdicts(frame: pd.DataFrame, name: str) -> dict[str, str]:
    return {
        row["sampler"]: row[f"{name}_verdict"] for row in frame.dropna(subset=[f"{name}_verdict"]).to_dict("records")
    }


def test_each_setting_is_better_worse_the_same_or_cannot_be_told(runs: list[Path]) -> None:
    frame = compare(*runs)
    expected = {"ddim": "better", "heun": "worse", "ddpm": "not told", "langevin": "not tested"}
    assert _verdicts(frame, "fd_digits") == expected | {"dpm++2m": "same"}
    assert _verdicts(frame, "latency") == expected | {"dpm++2m": "not told"}
    assert set(_verdicts(frame, "recall").values()) == {"same"}
    assert frame.set_index("sampler")["latency_note"]["langevin"] == "times of b do not hold up: others | were there"


def test_better_is_more_where_more_is_better(tmp_path: Path) -> None:
    seeds = [(seed, 0.01 * (seed - 1)) for seed in range(3)]
    a = write_run(tmp_path / "a", [record(seed=n, recall=0.5 + x, precision=0.5 + x) for n, x in seeds])
    b = write_run(tmp_path / "b", [record(seed=n, recall=0.9 + x, precision=0.1 + x) for n, x in seeds])
    (row,) = compare(a, b).to_dict("records")
    assert (row["recall_verdict"], row["precision_verdict"]) == ("better", "worse")
    (row,) = compare(b, a).to_dict("records")
    assert (row["recall_verdict"], row["precision_verdict"]) == ("worse", "better")


def test_verdicts_are_corrected_for_the_number_of_settings(tmp_path: Path) -> None:
    """A difference that is told apart alone is not among many that are none."""
    grids = [f"grid{n}" for n in range(30)]
    a = [_cell("ddim", 3.0 + n / 10, grid=grid) for n, grid in enumerate(["first", *grids])]
    b = [_cell("ddim", 3.0 + n / 10 + 0.001 + 0.03 * (n == 0), grid=grid) for n, grid in enumerate(["first", *grids])]
    alone = compare(write_run(tmp_path / "a1", a[:1]), write_run(tmp_path / "b1", b[:1])).iloc[0]
    among = compare(write_run(tmp_path / "a", a), write_run(tmp_path / "b", b)).iloc[0]
    assert alone["fd_digits_difference_p"] == among["fd_digits_difference_p"] <= 0.05
    assert alone["fd_digits_verdict"] == "worse"
    assert among["fd_digits_difference_p_holm"] > 0.05
    assert among["fd_digits_verdict"] == "not told"


def test_what_is_equal_to_the_last_digit_is_not_among_what_may_differ_by_chance(tmp_path: Path) -> None:
    """As where one sampler was changed, and thirty were not."""
    same = [_cell("ddim", 3.0 + n / 10, grid=f"grid{n}") for n in range(30)]
    a, b = ([*same, _cell("heun", value)] for value in (3.0, 3.1))
    row = compare(write_run(tmp_path / "a", a), write_run(tmp_path / "b", b)).iloc[-1]
    assert row["fd_digits_difference_p_holm"] == row["fd_digits_difference_p"] <= 0.05
    assert row["fd_digits_verdict"] == "worse"


def test_a_run_beside_itself_is_the_same(runs: list[Path]) -> None:
    frame = compare(runs[0], runs[0])
    assert set(frame["fd_digits_verdict"]) == {"same"}
    assert set(frame["latency_verdict"]) == {"not told"}
    assert frame["latency_ratio"].tolist() == [1.0] * len(frame)
    assert frame.attrs["differ"] == []


def test_the_top_says_what_became_of_which_setting(runs: list[Path]) -> None:
    lines = comparison_markdown(compare(*runs)).splitlines()
    told = "FD (digits), of 5 settings that both have: 1 better in b, 1 worse in b, 1 cannot be told from chance, "
    assert f"**{told}1 the same, 1 not tested.**" in lines
    assert lines[0] == "## new beside old"
    at = {heading: lines.index(f"### {heading}") for heading in ("Better", "Worse", "Cannot be told", "Only in old")}
    (better,) = (line for line in lines[at["Better"] : at["Worse"]] if "FD" in line)
    assert better.startswith("- FD (digits) ↓: ddim on trailing at 10 steps: 3.00 → 2.80, -0.200 ± 0.0")
    assert better.endswith(r"p \< 0.001")
    assert any("heun on trailing at 10 steps: 0.402 → 0.442, 1.10×" in each for each in lines[at["Worse"] :])
    assert any(each == "- FD (digits) ↓: ddpm on trailing at 10 steps" for each in lines[at["Cannot be told"] :])
    assert lines[at["Only in old"] + 2] == "- euler-maruyama on trailing at 10 steps"


def _printed(a: Path, b: Path, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        console.print(terminal_comparison(compare(a, b)))
    return captured.get()


def test_the_terminal_has_tables_of_80_columns_with_what_changed_on_top(runs: list[Path]) -> None:
    shown = _printed(runs[0], runs[1])
    assert max(map(len, shown.splitlines())) <= 80
    assert not any(each in shown for each in ("|:", "\\", "nan", "**", "latency_s"))
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "FD (digits) ↓ 1 1 1 1 1" in lines
    quality, time = (lines.index(f"{name} ↓") for name in ("FD (digits)", "ms/image"))
    order = [lines[n + 3].split()[0] for n in (quality, time)]
    verdicts = [" ".join(line.split()[-2:]) for line in lines[quality:time] if "→" in line][1:]
    assert order == ["ddim", "ddim"]
    assert verdicts[0].endswith("better")
    assert verdicts[1].endswith("worse")
    assert any("heun on trailing at 10" in each and "0.402 → 0.442" in each for each in lines[time:])
    assert "Only in old" in lines
    assert lines.index("Only in old") > time
    assert "All 7 settings, all qualities" in " ".join(lines)


def test_of_many_settings_the_terminal_has_a_page_and_says_so(tmp_path: Path) -> None:
    a, b = (
        write_run(tmp_path / name, [_cell("ddim", fd + n / 10, grid=f"grid{n}") for n in range(60)])
        for name, fd in (("a", 3.0), ("b", 3.1))
    )
    shown = _printed(a, b, 120)
    assert shown.count("The first 20 of 60 settings that both have.") == 2
    assert len(shown.splitlines()) < 80


def test_what_the_terminal_shows_of_names_is_text(tmp_path: Path) -> None:
    odd = _BAD + "[bold]x[/bold]"
    a, b = (write_run(tmp_path / name, [_cell(odd, fd)]) for name, fd in (("a", 3.0), ("b", 2.0)))
    shown = _printed(a, b, 400)
    assert "[bold]x[/bold]" in shown
    assert "\x1b" not in shown


def test_what_measured_the_runs_is_told_where_it_differs(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record("ddim"), record("heun")])
    b = write_run(tmp_path / "b", [record("ddim"), record("heun", sampler_sha256="ff" * 32, version_torch="2.12.0")])
    assert compare(a, b).attrs["differ"] == [
        "version_torch: 2.11.0 in a, 2.11.0, 2.12.0 in b",
        "sampler_sha256: of heun",
    ]


def test_settings_that_read_alike_are_told_apart(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record(images=1000), record(images=500)])
    assert compare(a, a)["setting"].tolist() == [
        f"ddim on {GRID} at 10 steps (images {images})" for images in (1000, 500)
    ]


def test_the_three_files_are_written_where_they_are_asked_for(cli: Cli, runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    shown = cli("compare", *runs, "--format", "md,csv,html", "-o", out).out
    assert [line for line in shown.splitlines() if line.startswith(str(tmp_path))] == [
        str(out / f"compare.{kind}") for kind in COMPARED
    ]
    assert (out / "compare.md").read_text() == comparison_markdown(compare(*runs))
    assert shown.startswith("new beside old\n")
    read = pd.read_csv(out / "compare.csv")
    assert read["fd_digits_difference"].tolist() == pytest.approx(compare(*runs)["fd_digits_difference"], nan_ok=True)
    assert {path.name for path in out.iterdir()} == {f"compare.{kind}" for kind in COMPARED}
    cli("compare", *runs, "--format", "html", "--out", tmp_path / "one")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["compare.html"]
    cli("compare", *runs)
    assert not (Path("results") / "compare").exists()


def test_wrong_usage_says_what_there_is_and_writes_nothing(cli: Cli, runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "unknown format 'pdf'; there is: md, csv, html" in cli("compare", *runs, "--format", "pdf", status=2).err
    assert "or one with --pairs" in cli("compare", runs[0], "--pairs", "-o", out, status=2).err
    (tmp_path / "file").write_text("")
    assert "choose another" in cli("compare", *runs, "-o", tmp_path / "file" / "x", status=2).err
    assert not out.exists()


def test_the_page_is_one_file_whose_text_is_text(tmp_path: Path) -> None:
    odd = {"sampler": _BAD, "grid": _BAD, "timing_note": _BAD, "timing_valid": False, "platform": _BAD}
    a = write_run(tmp_path / "a", [_cell("ddim", 3.0), _cell("heun", 3.0) | odd])
    b = write_run(tmp_path / "b", [_cell("ddim", 2.0), _cell("heun", 2.0) | odd | {"platform": "other"}])
    frame = compare(a, b)
    html = comparison_html(frame)
    assert not {"script", "b", "img", "link"} & set(Page(html).tags)
    assert "http:" not in html.replace("https", "http")
    assert "prefers-color-scheme: dark" in html
    assert plain_line(_BAD) in Page(html).text
    assert "\x1b" not in html + comparison_markdown(frame)
    write_comparison(frame, ["csv"], tmp_path)
    assert csv_text(_BAD) in pd.read_csv(tmp_path / "compare.csv")["sampler"].tolist()


def test_runs_that_share_nothing_say_so_in_the_files(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record("ddim")])
    b = write_run(tmp_path / "b", [record("heun", images=500)])
    empty = write_run(tmp_path / "empty", [])
    for other, said in ((b, "No cell of one run can be compared"), (empty, "No cell of one run can be compared")):
        frame = compare(a, other)
        assert aspects(frame) == []
        assert said in comparison_html(frame)
        assert said in comparison_markdown(frame)
    assert "images: 1000 in a, 500 in b" in comparison_markdown(compare(a, b))
    assert "Neither run has a result" in comparison_html(compare(empty, empty))

"""The report says what the records say, and nothing more."""

import hashlib
import io
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from rich.console import Console

from bench.record import SCHEMA, Record, RunFolder
from bench.report import FORMATS, compare, summarise, terminal_table, write_report
from bench.report.aggregate import pareto
from bench.report.display import NOTHING, columns
from bench.report.plot_images import block
from bench.report.plots import FIGURES
from bench.report.style import log_ticks, plain
from bench.report.tables import html_table, latex, latex_table, markdown, markdown_table
from models.errors import UsageError

BASELINE = ("ddpm", "trailing", 200)
GRID = "trailing"
SAMPLERS = ("ddpm", "ddim", "langevin", "euler-maruyama", "heun", "dpm++2m")
# (distance at infinitely many steps, at one step, order, network calls a step, overhead of a step in ms a batch)
_CURVES: Mapping[str, tuple[float, float, float, int, float]] = {
    "ddpm": (1.15, 900.0, 1.3, 1, 0.5),
    "ddim": (1.12, 60.0, 1.1, 1, 0.3),
    "langevin": (1.4, 700.0, 1.0, 2, 1.4),
    "euler-maruyama": (1.2, 1500.0, 1.4, 1, 0.4),
    "heun": (1.1, 500.0, 2.1, 2, 0.6),
    "dpm++2m": (1.1, 70.0, 1.9, 1, 0.8),
}


def record(sampler: str = "ddim", grid: str = GRID, steps: int = 10, seed: int = 0, **changes: Any) -> Record:
    """A record like those of the runner: 1,000 images, batch 250, four timed calls, repeatable numbers."""
    limit, scale, order, calls, extra = _CURVES.get(sampler, _CURVES["ddim"])
    random = np.random.default_rng(zlib.crc32(f"{sampler} {grid} {steps} {seed}".encode()))
    nfe = calls * steps - (sampler == "heun")
    network = [nfe * 0.011 * factor for factor in random.uniform(0.98, 1.05, 4)]
    latency = [inside + steps * extra / 1000.0 for inside in network]
    fd = (limit + scale * steps**-order) * random.normal(1.0, 0.015)
    values: Record = {
        "schema": SCHEMA, "status": "ok", "error": None, "note": None,
        "model": "digits", "model_sha256": "a1" * 32, "images": 1000, "batch": 250, "repeats": 4, "dtype": "fp32",
        "metrics": ["fd", "kid"], "device_name": "Example CPU @ 2.00GHz, 2 threads", "version_torch": "2.11.0",
        "extractor": "digits", "extractor_sha256": "b2" * 32, "reference": "digits", "reference_sha256": "c3" * 32,
        "reference_count": 1797, "quantiser": "round", "sampler": sampler, "sampler_parameters": {},
        "sampler_sha256": hashlib.sha256(sampler.encode()).hexdigest(), "grid": grid, "grid_parameters": {},
        "steps": steps, "seed": seed, "stochastic": sampler in ("ddpm", "langevin"), "device": "cpu",
        "intervals": steps, "nfe_declared": nfe, "nfe": float(nfe), "timed_batch": 250,
        "latency_s": latency, "network_s": network, "first_call_s": 1.5 * latency[0], "peak_mem_mib": None,
        "fd_digits": fd, "kid_mean": (fd - 1.0) / 900.0, "kid_std": 0.0002, "kid_subset_size": 1000,
        "inception_score": 9.4 - 0.8 * np.log10(fd), "inception_score_std": 0.08,
        "precision": 0.99 / (1 + fd / 80), "recall": 0.95 / (1 + fd / 60), "preview_count": 10,
        "python": "3.11.9", "platform": "Linux", "git_commit": "0" * 40, "git_dirty": False, "command": "run_bench.py",
    }  # fmt: skip
    values |= changes
    identity = "".join(
        f"{key}={values[key]}" for key in ("sampler", "grid", "steps", "seed", "model", "images", "device_name")
    )
    return {"id": hashlib.sha256(identity.encode()).hexdigest()[:16]} | values


def failed(sampler: str = "heun", grid: str = GRID, steps: int = 5, seed: int = 0, **changes: Any) -> Record:
    """The record of a cell that failed."""
    measured = (
        "nfe",
        "latency_s",
        "network_s",
        "fd_digits",
        "kid_mean",
        "kid_std",
        "inception_score",
        "precision",
        "recall",
    )
    nothing = dict.fromkeys((*measured, "inception_score_std", "preview_count", "first_call_s"))
    error = {"status": "failed", "error": "BadSamples: 3 of 250 images of a batch hold NaN or Inf"}
    return record(sampler, grid, steps, seed, **(nothing | error | changes))


def study(name: str = "quick", **changes: Any) -> dict[str, Any]:
    """A resolved study."""
    sampler, grid, steps = BASELINE
    block = {"samplers": list(SAMPLERS), "grids": [GRID], "steps": [5, 10, 20, 50], "seeds": None}
    values: dict[str, Any] = {
        "name": name, "title": "Quick study", "model": "digits", "images": 1000, "batch": 250, "repeats": 4,
        "seeds": [0], "device": "auto", "precision": "fp32", "metrics": ["fd", "kid"], "tolerance": 0.1,
        "baseline": {"sampler": sampler, "grid": grid, "steps": steps}, "block": [block],
    }  # fmt: skip
    return values | changes


def write_run(folder: Path, records: Sequence[Record], **changes: Any) -> Path:
    """A run folder with these records, through the code that writes real ones."""
    run = RunFolder(folder)
    run.create()
    run.write_manifest(study(folder.name, **changes), [each["id"] for each in records])
    for each in records:
        run.write(each)
    return folder


def write_preview(folder: Path, each: Record, tiles: Sequence[np.ndarray[Any, np.dtype[np.uint8]]]) -> None:
    """The first images of a cell, side by side."""
    Image.fromarray(np.concatenate(tiles, axis=1)).save(RunFolder(folder).preview(each["id"]))


QUICK = [record(*BASELINE), failed(), *(record(name, steps=n) for name in SAMPLERS for n in (10, 20))]
SMALL_N = "Small N: 1,000 images a row; FD is biased upwards, compare rows of this"


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    return write_run(tmp_path / "quick", QUICK)


def terminal(runs: Sequence[Path], width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system="standard")
    with console.capture() as captured:
        console.print(terminal_table(summarise(runs)))
    return captured.get()


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def plain_text(figure: Figure) -> str:
    return " ".join(texts(figure).split())


def row_of(run: Path, sampler: str, steps: int) -> dict[Any, Any]:
    table = summarise([run]).table
    found = table[(table["sampler"] == sampler) & (table["steps"] == steps)]
    assert len(found) == 1
    return found.iloc[0].to_dict()


def test_the_report_imports_neither_torch_nor_samplers_nor_before_a_figure_matplotlib() -> None:
    code = "import sys, bench.report; print([n for n in ('torch', 'samplers', 'matplotlib') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- from cells to rows


def test_seeds_are_averaged_and_their_raw_times_pooled(tmp_path: Path) -> None:
    values = [(1.0, [0.1, 0.2, 0.3]), (2.0, [0.4, 0.5]), (4.0, [0.6])]
    cells = [
        record(seed=n, fd_digits=fd, kid_mean=fd / 10, latency_s=times, network_s=[t / 2 for t in times], batch=50)
        for n, (fd, times) in enumerate(values)
    ]
    row = row_of(write_run(tmp_path / "run", cells), "ddim", 10)
    assert row["seeds"] == 3
    assert row["fd_digits"] == pytest.approx(7 / 3)
    assert row["fd_digits_std"] == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert row["kid_std"] == pytest.approx(np.std([0.1, 0.2, 0.4], ddof=1))
    assert row["std_over"] == "seeds"
    quartiles = [row[f"latency_s_{name}"] for name in ("q1", "median", "q3")]
    assert quartiles == pytest.approx([0.225, 0.35, 0.475])
    assert row["timed_calls"] == 6
    assert row["s_per_image_median"] == pytest.approx(0.35 / 50)
    assert row["throughput_img_per_s"] == pytest.approx(50 / 0.35)
    assert row["overhead_s_median"] == pytest.approx(0.175)
    assert row["overhead_fraction"] == pytest.approx(0.5)
    assert row["eval_ms_median"] == pytest.approx(17.5)


def test_one_seed_has_no_spread_of_the_distance_and_keeps_the_records_own_for_kid(tmp_path: Path) -> None:
    row = row_of(write_run(tmp_path / "run", [record(kid_std=0.004)]), "ddim", 10)
    assert np.isnan(row["fd_digits_std"])
    assert row["kid_std"] == 0.004
    assert row["std_over"] == "subsets, splits or jackknife of the cell"


def test_a_call_on_fewer_images_than_a_batch_is_divided_by_the_images(tmp_path: Path) -> None:
    cell = record(images=100, batch=250, timed_batch=100, latency_s=[2.0], network_s=[1.0])
    assert row_of(write_run(tmp_path / "run", [cell]), "ddim", 10)["s_per_image_median"] == 0.02


def test_seeds_of_several_runs_are_pooled_but_a_repeated_seed_is_no_new_seed(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record(seed=0)])
    b = write_run(tmp_path / "b", [record(seed=1)])
    again = write_run(tmp_path / "again", [record(seed=0)])
    pooled, apart = summarise([a, b]).table, summarise([a, again]).table
    assert (pooled["seeds"].tolist(), pooled["run"].tolist()) == ([2], ["a + b"])
    assert (apart["seeds"].tolist(), apart["run"].tolist()) == ([1, 1], ["a", "again"])


def test_another_version_of_a_sampler_is_another_row(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record(seed=0)])
    b = write_run(tmp_path / "b", [record(seed=1, sampler_sha256="ff" * 32)])
    assert summarise([a, b]).table["seeds"].tolist() == [1, 1]


def test_failed_cells_never_enter_a_row_and_are_named_in_every_output(quick: Path) -> None:
    summary = summarise([quick])
    assert len(summary.table) == len(QUICK) - 1
    assert not ((summary.table["sampler"] == "heun") & (summary.table["steps"] == 5)).any()
    write_report([quick], ["md", "latex", "html"])
    for name in ("table.md", "table.tex", "index.html"):
        assert "heun on trailing, 5 steps, seed 0: BadSamples: 3 of 250" in (quick / name).read_text()
    assert "failed" in texts(FIGURES["images"](summary))


def test_cells_that_were_not_measured_yet_are_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE), record()])
    (run / "cells" / f"{record()['id']}.json").unlink()
    assert "Not measured yet: 1 cells" in markdown(summarise([run]))


points = st.lists(st.tuples(*[st.one_of(st.integers(0, 6).map(float), st.just(float("nan")))] * 2), max_size=12)


@given(points)
def test_the_pareto_front_is_what_brute_force_finds(values: list[tuple[float, float]]) -> None:
    def beaten(x: tuple[float, float]) -> bool:
        return any(y[0] <= x[0] and y[1] <= x[1] and y != x for y in values if not np.isnan(y).any())

    expected = [not np.isnan(x).any() and not beaten(x) for x in values]
    assert pareto([x[0] for x in values], [x[1] for x in values]) == expected


# ---- protocols

PROTOCOLS: list[dict[str, Any]] = [
    {"images": 2000},
    {"model_sha256": "d4" * 32},
    {"reference_sha256": "d4" * 32},
    {"extractor_sha256": "d4" * 32},
    {"quantiser": "floor"},
]


@pytest.mark.parametrize("change", PROTOCOLS, ids=lambda change: next(iter(change)))
def test_rows_are_never_ranked_across_protocols(tmp_path: Path, change: dict[str, Any]) -> None:
    good = [record(*BASELINE, fd_digits=1.0), record(steps=10, fd_digits=1.05, nfe=10.0)]
    bad = [record(*BASELINE, fd_digits=9.0, **change), record("heun", steps=20, fd_digits=8.0, nfe=39.0, **change)]
    a, b = write_run(tmp_path / "a", good), write_run(tmp_path / "b", bad)
    summary = summarise([a, b])
    assert len(summary.sections) == len(summary.answers) == 2
    first, second = summary.sections
    assert first.label != second.label
    assert ("**1.00**" in markdown_table(first), "**8.00**" in markdown_table(second)) == (True, True)
    assert second.rows["pareto_nfe"].tolist() == [False, True]
    winners = [answer.winner["sampler"] if answer.winner else None for answer in summary.answers]
    assert winners == ["ddim", "heun"]
    assert all(
        label in answer.sentence for label, answer in zip((first.label, second.label), summary.answers, strict=True)
    )


def test_times_of_different_devices_are_never_compared(tmp_path: Path) -> None:
    slow = [record(*BASELINE, fd_digits=1.0), record(fd_digits=1.05)]
    times: dict[str, Any] = {"latency_s": [1e-6], "network_s": [1e-6], "device_name": "GPU"}
    fast = [record(*BASELINE, fd_digits=1.0, **times), record("heun", fd_digits=1.05, **times)]
    summary = summarise([write_run(tmp_path / "a", slow), write_run(tmp_path / "b", fast)])
    (section,) = summary.sections
    assert [answer.baseline["device_name"] for answer in section.answers if answer.baseline] == [
        "Example CPU @ 2.00GHz, 2 threads",
        "GPU",
    ]
    assert section.answers[0].winner is not None
    assert section.answers[0].winner["sampler"] == "ddim"
    assert section.rows["pareto_seconds"].tolist() == [True, True, True, False]
    assert "GPU" in markdown_table(section)
    assert len(FIGURES["quality_vs_seconds"](summary).axes) == 2
    assert len(FIGURES["quality_vs_nfe"](summary).axes) == 1


def test_the_terminal_shows_a_table_for_every_protocol(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [record(*BASELINE)])
    b = write_run(tmp_path / "b", [record(*BASELINE, images=2000)])
    shown = terminal([a, b])
    assert "1,000 images a row" in shown
    assert "2,000 images a row" in shown
    assert shown.count("Sampler") == 2


# ---- tables


def test_the_best_values_are_bold_on_their_rows_in_every_rendering(tmp_path: Path) -> None:
    cells = [
        record(*BASELINE, fd_digits=2.0, kid_mean=0.002, inception_score=9.0, precision=0.9, recall=0.8),
        record("heun", fd_digits=1.5, kid_mean=0.003, inception_score=8.0, precision=0.7, recall=0.85),
    ]
    run = write_run(tmp_path / "run", cells)
    (section,) = summarise([run]).sections
    best = {"ddpm (baseline)": ["2.00 ± 0.20", "9.00 ± 0.08", "0.900"], "heun": ["1.50", "0.850"]}
    for line in markdown_table(section).splitlines()[2:]:
        assert re.findall(r"\*\*(.+?)\*\*", line) == best[line.split("|")[1].strip()]
    for line in latex_table(section, "t").replace(r"$\pm$", "±").splitlines():
        if line.startswith(("ddpm", "heun")):
            assert re.findall(r"\\textbf\{(.+?)\}", line) == best[line.split(" & ")[0]]
    html = html_table(section, "t")
    bold = html[: html.index("{")].split(", ")
    cells_of = dict(re.findall(r'id="(\w+)"[^>]*>([^<]+)</td>', html))
    assert [cells_of[name.strip().split("#")[-1]] for name in bold] == [value for row in best.values() for value in row]
    shown = re.findall(r"\x1b\[1(?:;36)?m *(\d[\d.]+)\x1b", terminal([run]))
    assert shown == ["2.00", "9.00", "0.900", "1.50", "0.850"]


def test_values_that_read_alike_are_bold_together(tmp_path: Path) -> None:
    cells = [record(*BASELINE, fd_digits=1.234), record("heun", fd_digits=1.2341), record("ddim", fd_digits=1.3)]
    (section,) = summarise([write_run(tmp_path / "run", cells)]).sections
    assert markdown_table(section).count("**1.23**") == 2


def test_all_renderings_say_the_same(quick: Path) -> None:
    (section,) = summarise([quick]).sections
    rows = list(zip(*(column.cells for column in columns(section)), strict=True))
    md = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in markdown_table(section).splitlines()[2:]]
    html = re.findall(r"<tr>(.*?)</tr>", html_table(section, "t"), re.DOTALL)[1:]
    tex = latex_table(section, "t").replace(r"$\pm$", "±").replace(r"\%", "%")
    body = re.sub(r"\\textbf\{(.+?)\}", r"\1", tex).partition("\\midrule\n")[2].splitlines()
    for n, row in enumerate(rows):
        assert tuple(md[n]) == row
        assert tuple(re.findall(r">([^<]+)</td>", html[n])) == row
        assert tuple(body[n].removesuffix(r" \\").split(" & ")) == row
    numbers = re.sub(r"\x1b\[[\d;]*m", "", terminal([quick])).splitlines()[3:]
    for line, brief in zip(
        numbers, zip(*(c.brief for c in columns(section) if c.heading != "Grid"), strict=True), strict=False
    ):
        assert re.sub(r"\s+", " ", line).strip() == " ".join(brief)


ODD = "a_b|<i>&%#{}^~$\\*`[x](y)"


def test_special_characters_survive_in_every_rendering(tmp_path: Path) -> None:
    cells = [record(*BASELINE), record(ODD), failed(ODD, steps=3, error="ValueError: 100 % <script>\n& more_")]
    run = write_run(tmp_path / "run", cells, title="T & <T>_%")
    summary = summarise([run])
    (section,) = summary.sections
    assert r"a\_b\|\<i\>&%#{}^\~$\\\*\`\[x\](y)" in markdown_table(section)
    assert all(re.sub(r"\\.", "", line).count("|") == 12 for line in markdown_table(section).splitlines())
    special = r"a\_b\textbar{}\textless{}i\textgreater{}\&\%\#\{\}\textasciicircum{}\textasciitilde{}\$"
    assert special + r"\textbackslash{}{*}`{[}x](y)" in latex_table(section, "t")
    write_report([run], ["html"])
    page = (run / "index.html").read_text()
    assert "a_b|&lt;i&gt;&amp;%#{}^~$\\*`[x](y)" in page
    assert "<script>" not in page
    assert "<i>" not in page
    assert "<title>T &amp; &lt;T&gt;_%</title>" in page
    assert ODD in terminal([run])
    assert "100 \\% \\textless{}script\\textgreater{} \\& more\\_" in latex(summary)
    assert ODD in texts(FIGURES["time_split"](summary))


def test_latex_has_no_bare_special_character(quick: Path) -> None:
    body = [line for line in latex(summarise([quick])).splitlines() if not line.startswith("%")]
    assert body[-1] == "\\end{table}"
    assert all("\\" + name in "".join(body) for name in ("toprule", "midrule", "bottomrule", "caption{"))
    for line in body:
        bare = re.sub(
            r"\\(?:[&%$#_{}\\]|[a-zA-Z]+)|\$10\^\{3\}|\$ ?10\^\{3\}\$", "", line.replace(r"$\times 10^{3}$", "")
        )
        assert not re.search(r"[%#_^~<>|±×↑↓–]", bare), line  # noqa: RUF001
        assert bare.count("{") == bare.count("}")


def test_a_terminal_of_80_columns_shows_every_number_whole(quick: Path) -> None:
    shown = terminal([quick], width=80)
    (section,) = summarise([quick]).sections
    assert all(cell in shown for column in columns(section) if column.number for cell in column.brief)


@pytest.mark.parametrize(("images", "warned"), [(1000, True), (9_999, True), (10_000, False)])
def test_few_images_are_pointed_out_in_every_output(tmp_path: Path, images: int, warned: bool) -> None:
    cells = [record(*BASELINE, images=images), record(images=images)]
    run = write_run(tmp_path / "run", cells)
    write_report([run], ["md", "latex", "html"])
    summary = summarise([run])
    outputs = [(run / name).read_text() for name in ("table.md", "table.tex", "index.html")]
    outputs += [terminal([run]), *(texts(draw(summary)) for draw in FIGURES.values())]
    assert [f"Small N: {images:,} images a row" in text for text in outputs] == [warned] * 8


def test_what_was_not_measured_is_a_dash_and_never_best(tmp_path: Path) -> None:
    cells = [record(*BASELINE, kid_mean=None, kid_std=None), record(kid_mean=0.004, precision=None)]
    (section,) = summarise([write_run(tmp_path / "run", cells)]).sections
    shown = {column.heading: column for column in columns(section)}
    assert shown["KID ×10³ ↓"].cells == [NOTHING, "4.00 ± 0.20"]
    assert shown["KID ×10³ ↓"].best == [False, True]
    assert shown["Precision ↑"].best == [True, False]


def test_a_metric_that_no_cell_has_has_no_column(tmp_path: Path) -> None:
    cells = [record(*BASELINE, recall=None), record(recall=None)]
    (section,) = summarise([write_run(tmp_path / "run", cells)]).sections
    assert "Recall ↑" not in [column.heading for column in columns(section)]


def test_a_spread_too_small_for_the_decimals_is_not_shown_as_zero(tmp_path: Path) -> None:
    cells = [record(seed=n, precision=0.5 + n * 0.0004) for n in range(2)]
    (section,) = summarise([write_run(tmp_path / "run", cells)]).sections
    assert "0.500 ± 0.0003" in markdown_table(section)
    assert "± is the standard deviation over 2 seeds." in markdown(summarise([tmp_path / "run"]))


# ---- the answer


def answer_of(folder: Path, cells: Sequence[Record], **changes: Any) -> Any:
    (found,) = summarise([write_run(folder / "run", cells, **changes)]).answers
    return found


def timed(sampler: str, steps: int, fd: float, seconds: float, seed: int = 0) -> Record:
    return record(sampler, steps=steps, seed=seed, fd_digits=fd, latency_s=[seconds], network_s=[seconds / 2])


BASE = timed("ddpm", 200, 1.20, 1.0)


def test_the_answer_is_the_fastest_setting_within_the_tolerance(tmp_path: Path) -> None:
    cells = [BASE, timed("heun", 50, 1.1, 0.4), timed("dpm++2m", 20, 1.31, 0.1), timed("ddim", 5, 1.321, 0.01)]
    found = answer_of(tmp_path, cells)
    assert found.winner["sampler"] == "dpm++2m"
    assert found.speedup == pytest.approx(10)
    assert found.sentence == (
        "dpm++2m on trailing at 20 steps (20 evaluations) is the fastest setting whose fd_digits (1.31) is within 10 % "
        "of the baseline's (1.20, ddpm on trailing at 200 steps): 10 times faster (0.400 against 4.00 ms an image)."
    )


def test_the_tolerance_is_the_studys(tmp_path: Path) -> None:
    found = answer_of(tmp_path, [BASE, timed("ddim", 10, 1.5, 0.1)], tolerance=0.25)
    assert (found.winner["sampler"], found.tolerance) == ("ddim", 0.25)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([BASE, timed("ddim", 5, 1.8, 0.1)], "No setting is within 10 % of the baseline's fd_digits (1.20, ddpm on "
         "trailing at 200 steps): the closest is ddim on trailing at 5 steps (1.80, 50 % worse), 10 times faster"),
        ([BASE, timed("ddim", 400, 1.2, 2.0)], "is faster than it: the fastest of them is ddim on trailing at 400 "
         "steps, 2.0 times slower (8.00 against 4.00 ms an image)."),
        ([failed(*BASELINE), timed("ddim", 5, 1.8, 0.1)], "No answer: the baseline (ddpm on trailing at 200 steps) "
         "failed (BadSamples: 3 of 250"),
        ([timed("ddim", 5, 1.8, 0.1)], "No answer: the baseline (ddpm on trailing at 200 steps) was not measured."),
        ([BASE], "No answer: only the baseline was measured."),
        ([BASE, failed("ddim")], "No answer: only the baseline was measured."),
        ([record(*BASELINE, fd_digits=None), timed("ddim", 5, 1.8, 0.1)], "has no fd_digits."),
        ([record(*BASELINE, fd_digits=None), record(fd_digits=None)], "No answer: no Frechet distance was measured."),
        ([failed(*BASELINE), failed()], "No answer: no cell has a result (2 failed, 0 not measured yet)."),
    ],
)  # fmt: skip
def test_the_answer_says_honestly_why_there_is_none(tmp_path: Path, cells: list[Record], said: str) -> None:
    found = answer_of(tmp_path, cells)
    assert said in found.sentence
    assert (found.winner, found.speedup) == (None, None)


@pytest.mark.parametrize(("distance", "doubtful"), [(1.22, True), (1.24, False)])
def test_the_answer_says_when_seeds_cannot_tell_it_from_the_baseline(
    tmp_path: Path, distance: float, doubtful: bool
) -> None:
    spread = [-0.02, 0.0, 0.02]
    cells = [timed("ddpm", 200, 1.2 + shift, 1.0, seed) for seed, shift in enumerate(spread)]
    cells += [timed("ddim", 20, distance + shift, 0.1, seed) for seed, shift in enumerate(spread)]
    sentence = answer_of(tmp_path, cells).sentence
    assert ("differ by no more than their combined standard deviation (0.028)" in sentence) == doubtful


def test_the_baseline_is_found_however_the_study_spells_it(tmp_path: Path) -> None:
    spelled = {"sampler": "ddpm[variance=small]", "grid": "trailing[]", "steps": 200}
    found = answer_of(tmp_path, [BASE, timed("ddim", 20, 1.2, 0.1)], baseline=spelled)
    assert found.baseline["sampler"] == "ddpm"


# ---- figures


def test_a_distance_that_is_not_positive_is_left_out_of_the_log_axis_and_counted(tmp_path: Path) -> None:
    cells = [record(*BASELINE), record(fd_digits=-1e-9), record("heun", fd_digits=0.0)]
    summary = summarise([write_run(tmp_path / "run", cells)])
    for name in ("quality_vs_nfe", "quality_vs_seconds"):
        figure = FIGURES[name](summary)
        figure.draw_without_rendering()
        assert "2 not drawn" in texts(figure)


@given(st.floats(1e-5, 1e5), st.floats(1.1, 1e5))
def test_log_ticks_are_few_plain_numbers_within_the_axis(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert 1 <= len(ticks) <= 12
    assert ticks == sorted(set(ticks))
    assert all(low <= tick <= low * ratio for tick in ticks)
    assert all(float(plain(tick).replace(",", "")) == pytest.approx(tick) for tick in ticks)
    assert max(len(plain(tick)) for tick in ticks) <= 13


def test_the_floor_is_drawn_when_the_records_know_it(tmp_path: Path) -> None:
    known = write_run(tmp_path / "known", [record(*BASELINE, fd_digits_floor=0.8), record(fd_digits_floor=0.8)])
    unknown = write_run(tmp_path / "unknown", [record(*BASELINE), record()])
    figures = [FIGURES["quality_vs_nfe"](summarise([run])) for run in (known, unknown)]
    assert ["real data vs real data" in texts(figure) for figure in figures] == [True, False]


def test_bars_are_the_time_an_evaluation_split_as_recorded(tmp_path: Path) -> None:
    cell = record(steps=10, latency_s=[0.5], network_s=[0.4], nfe=10.0)
    figure = FIGURES["time_split"](summarise([write_run(tmp_path / "run", [cell])]))
    widths = [patch.get_width() for patch in figure.axes[0].patches]  # type: ignore[attr-defined]
    assert widths == pytest.approx([0.16, 0.04])  # ms an image and evaluation
    assert "20 %, 2.00 ms" in texts(figure)


def test_where_bars_are_too_many_the_ends_of_each_sampler_are_shown_and_that_is_said(tmp_path: Path) -> None:
    cells = [record(*BASELINE), *(record(name, steps=n) for name in SAMPLERS for n in range(5, 14))]
    figure = FIGURES["time_split"](summarise([write_run(tmp_path / "run", cells)]))
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == ["5", "200 (baseline)"] + ["5", "13"] * 5
    assert "only the fewest and the most steps" in plain_text(figure)


def strip(count: int, shape: tuple[int, ...]) -> list[Any]:
    return [np.full(shape, 20 * n, dtype=np.uint8) for n in range(count)]


@pytest.mark.parametrize("shape", [(8, 8), (32, 32, 3)])
def test_the_picture_shows_each_cells_own_images_and_says_what_is_missing(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    cells = [record(*BASELINE), record(steps=5), record(steps=10), failed("heun", steps=5), record("heun", steps=10)]
    run = write_run(tmp_path / "run", cells)
    for each in (cells[0], cells[1], cells[4]):
        write_preview(run, each, strip(10, shape))
    figure = FIGURES["images"](summarise([run]))
    shown = [axes.get_images()[0].get_array() for axes in figure.axes if axes.get_images()]
    assert len(shown) == 3
    assert all(np.array_equal(np.asarray(image), block(strip(10, shape))) for image in shown)
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert sorted(words) == sorted([NOTHING, "failed"])
    assert "5 steps 10 steps" in texts(figure)
    assert "NFE 19, FD" in texts(figure)


def test_the_picture_is_of_the_first_seed_only(tmp_path: Path) -> None:
    cells = [record(steps=5, seed=seed) for seed in (3, 1, 7)]
    run = write_run(tmp_path / "run", cells)
    for n, each in enumerate(cells):
        write_preview(run, each, [np.full((8, 8), n, dtype=np.uint8)] * 10)
    figure = FIGURES["images"](summarise([run]))
    (shown,) = [axes.get_images()[0].get_array() for axes in figure.axes if axes.get_images()]
    assert np.asarray(shown)[0, 0] == 0


def test_a_block_keeps_pixels_sharp_and_in_order() -> None:
    tiles = [np.arange(64, dtype=np.uint8).reshape(8, 8) + 10 * n for n in range(10)]
    picture = block([tile.astype(np.uint8) for tile in tiles])
    assert picture.shape == (2 * 40 + 2, 4 * 40 + 6)
    for n in range(8):
        top, left = n // 4 * 42, n % 4 * 42
        assert np.array_equal(picture[top : top + 40 : 5, left : left + 40 : 5], tiles[n])


# ---- files


def test_every_format_is_written_into_the_run_folder_and_twice_the_same(quick: Path) -> None:
    written = write_report([quick])
    figures = [f"{name}.{kind}" for name in FIGURES for kind in ("png", "pdf")]
    tables = [
        "table.md",
        "table.tex",
        "index.html",
        *(f"{a}.{b}" for a in ("table", "cells") for b in ("csv", "parquet")),
    ]
    assert sorted(path.name for path in written) == sorted(figures + tables)
    before = {path: path.read_bytes() for path in written}
    assert all(path.parent == quick for path in written)
    assert {path: path.read_bytes() for path in write_report([quick])} == before
    assert not list(quick.glob("*.tmp"))


def test_only_the_formats_asked_for_are_written(quick: Path, tmp_path: Path) -> None:
    written = write_report([quick], ["csv"], tmp_path / "deep" / "out")
    assert [path.name for path in written] == ["table.csv", "cells.csv"]
    assert written[0].parent == tmp_path / "deep" / "out"


def test_machine_readable_files_hold_what_the_records_hold(quick: Path) -> None:
    write_report([quick], ["csv", "parquet"])
    cells = pd.read_parquet(quick / "cells.parquet")
    from_csv = pd.read_csv(quick / "cells.csv")
    for each, row, line in zip(QUICK, cells.to_dict("records"), from_csv.to_dict("records"), strict=True):
        assert (row["id"], line["id"], row["run"]) == (each["id"], each["id"], "quick")
        if each["status"] == "failed":
            assert row["latency_s"] is None
            assert pd.isna(row["fd_digits"])
            assert pd.isna(line["fd_digits"])
            continue
        assert row["fd_digits"] == line["fd_digits"] == each["fd_digits"]
        assert row["latency_s"].tolist() == json.loads(line["latency_s"]) == each["latency_s"]
    table = pd.read_parquet(quick / "table.parquet")
    assert pd.read_csv(quick / "table.csv")["s_per_image_median"].tolist() == table["s_per_image_median"].tolist()
    assert {"latency_s_median", "throughput_img_per_s", "eval_ms_median", "pareto_nfe", "seeds"} <= set(table.columns)


def test_the_page_needs_nothing_from_outside(quick: Path) -> None:
    write_report([quick], ["html"])
    page = (quick / "index.html").read_text()
    assert page.count('src="data:image/png;base64,') == 4
    assert not re.search(r'(?:src|href)="(?!data:)|https?://|@import', page)
    assert summarise([quick]).answers[0].sentence.replace("'", "&#39;") in page
    assert all(text in page for text in ("Example CPU @ 2.00GHz, 2 threads", "2.11.0", "tolerance", "euler-maruyama"))


def test_a_run_without_any_result_still_writes_everything_and_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [failed(*BASELINE), failed()])
    written = write_report([run])
    assert len(written) == 15
    for name in ("table.md", "table.tex", "index.html"):
        assert "BadSamples" in (run / name).read_text()
    assert "no cell has a result" in (run / "table.md").read_text()
    assert "nothing to draw" in texts(FIGURES["quality_vs_nfe"](summarise([run])))
    assert len(pd.read_parquet(run / "table.parquet")) == 0


def test_a_run_without_any_record_is_reported_as_such(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    run.write_manifest(study(), ["0" * 16])
    assert len(write_report([run.path])) == 15
    assert "Not measured yet: 1 cells" in (run.path / "table.md").read_text()


def test_wrong_usage_says_what_there_is(quick: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown format 'docx'; there is: " + ", ".join(FORMATS)):
        write_report([quick], ["md", "docx"])
    with pytest.raises(UsageError, match="is not a run folder"):
        summarise([tmp_path])
    with pytest.raises(UsageError, match="no run was given"):
        summarise([])
    with pytest.raises(UsageError, match="twice"):
        summarise([quick, quick / ".." / "quick"])
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write the report"):
        write_report([quick], ["md"], tmp_path / "file" / "out")


# ---- two runs


def test_compare_gives_the_ratio_of_times_and_the_difference_of_quality(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [timed("ddim", 10, 2.0, 0.4), timed("heun", 10, 3.0, 0.4)])
    b = write_run(tmp_path / "b", [timed("ddim", 10, 1.5, 0.1), timed("ddpm", 10, 3.0, 0.4)])
    frame = compare(a, b)
    assert frame["sampler"].tolist() == ["ddim", "heun", "ddpm"]
    same = frame.iloc[0]
    assert same["latency_ratio"] == pytest.approx(0.25)
    assert same["fd_digits_difference"] == pytest.approx(-0.5)
    assert same["comparable"]
    assert frame["reason"].tolist()[1:] == ["no result in b", "no result in a"]
    assert frame["latency_ratio"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("change", "quality", "time"),
    [({"device_name": "GPU"}, True, False), *((change, False, True) for change in PROTOCOLS[1:])],
    ids=str,
)
def test_compare_refuses_what_cannot_be_compared(
    tmp_path: Path, change: dict[str, Any], quality: bool, time: bool
) -> None:
    a = write_run(tmp_path / "a", [record()])
    b = write_run(tmp_path / "b", [record(**change)])
    (row,) = compare(a, b).to_dict("records")
    assert (row["quality_comparable"], row["time_comparable"], row["comparable"]) == (quality, time, False)
    assert next(iter(change)) in row["reason"]
    assert pd.isna(row["latency_ratio"]) == (not time)
    assert pd.isna(row["fd_digits_difference"]) == (not quality)

"""Samplers by budget, as papers print them: what stands where, what is best of a column, and how it is shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Cli
from report_records import (
    BASE,
    BASELINE,
    BUDGETS,
    STEPS,
    SUBJECT,
    block,
    cell,
    failed,
    own_truth,
    record,
    study,
    summary_of,
    timed,
    write_run,
)

from bench.record import Record, RunFolder
from bench.report import View, summarise
from bench.report.data.text import ALIKE, NOTHING, Column
from bench.report.tables.blocks import groups
from bench.report.tables.paper import Paper, paper
from models.common.errors import UsageError


def shown(folder: Path, cells: list[Record], view: View | None = None, **changes: Any) -> Paper:
    """The table of a run, of its section of most images."""
    changes.setdefault("block", block(**BUDGETS))
    summary = summarise([write_run(folder / "run", cells, **changes)], view or View())
    section = max(summary.sections, key=lambda each: each.images)
    found = paper(section, summary)
    assert found is not None
    return found


def grid(found: Paper) -> dict[str, list[str]]:
    """Its brief cells by the first of each line; the headings of columns under "Sampler"."""
    lines = zip(*(column.brief for column in found.table), strict=True)
    return {"Sampler": [each.heading for each in found.table[1:]]} | {name: cells for name, *cells in lines}


def bold(column: Column) -> list[str]:
    return [cell for cell, best in zip(column.brief, column.best, strict=True) if best]


def test_a_setting_stands_under_the_budget_that_holds_its_evaluations_and_says_how_many_where_fewer(
    tmp_path: Path,
) -> None:
    cells = [BASE, *(cell("ddim", n, 20 / n) for n in (5, 10, 20)), cell("heun", 9, 1.5, 5), cell("heun", 19, 1.2, 10)]
    cells += [cell("rk45", 14.25, 1.7, 2), cell("one-step", 1, 6.0)]
    found = grid(shown(tmp_path, cells))
    assert found == {
        "Sampler": ["NFE 5", "NFE 10", "NFE 20", "NFE 200"],
        "ddpm (baseline: 200 NFE)": [NOTHING, NOTHING, NOTHING, "2.00"],
        "ddim": ["4.00", "2.00", "1.00", NOTHING],
        "heun": [NOTHING, "(9) 1.50", "(19) 1.20", NOTHING],
        "rk45": [NOTHING, NOTHING, "(14.2) 1.70", NOTHING],
        "one-step": ["(1) 6.00", NOTHING, NOTHING, NOTHING],
    }


def test_without_budgets_near_evaluations_share_a_column_unless_a_sampler_has_both(tmp_path: Path) -> None:
    cells = [BASE, *(cell("ddim", n, 20 / n) for n in (5, 10, 20)), cell("heun", 9, 1.5, 5), cell("heun", 19, 1.2, 10)]
    found = grid(shown(tmp_path / "a", cells, block=block(**STEPS)))
    assert found["Sampler"] == ["NFE 5", "NFE 10", "NFE 20", "NFE 200"]
    assert found["heun"] == [NOTHING, "(9) 1.50", "(19) 1.20", NOTHING]
    cells += [cell("ddim", 9, 2.5), cell("rk45", 37.6, 1.4, 2)]
    found = grid(shown(tmp_path / "b", cells, block=block(**STEPS)))
    assert found["Sampler"] == ["NFE 5", "NFE 9", "NFE 10", "NFE 20", "NFE 38", "NFE 200"]
    assert found["heun"][1] == "1.50"
    assert found["rk45"][4] == "(37.6) 1.40"


def test_what_two_settings_of_a_sampler_take_within_a_budget_has_a_column_for_each(tmp_path: Path) -> None:
    """As of a block of steps beside one of budgets: nothing is left out."""
    cells = [BASE, *(cell("ddim", n, 20 / n) for n in (6, 7, 10))]
    found = grid(shown(tmp_path, cells))
    assert found["Sampler"] == ["NFE 6", "NFE 7", "NFE 10", "NFE 200"]
    assert found["ddim"] == ["3.33", "2.86", "2.00", NOTHING]


def test_the_best_of_each_column_is_bold_and_a_lone_value_is_not(tmp_path: Path) -> None:
    cells = [BASE, cell("a", 5, 3.0), cell("b", 5, 4.0), cell("a", 10, 2.5), cell("b", 10, 1.5)]
    found = shown(tmp_path / "fd", cells)
    assert [bold(each) for each in found.table[1:]] == [["3.00"], ["1.50"], []]
    most = [each | {"recall": 0.1 * n} for n, each in enumerate(cells, 1)]
    found = shown(tmp_path / "recall", most, View(metric="recall"))
    assert [bold(each) for each in found.table[1:]] == [["0.300"], ["0.500"], []]


SHIFTS, OWN = (0.0, 0.1, 0.02), (0.0, 0.001, 0.02)


def in_pairs(sampler: str, shift: float, luck: np.ndarray[Any, Any], own: float) -> Record:
    """A cell whose distance is 2 + shift; what it is without a block varies with luck that is shared, and its own."""
    noise = np.random.default_rng(round(1e6 * shift)).normal(size=10)
    left_out = (2.0 + shift + 0.2 * (luck - luck.mean()) + own * (noise - noise.mean())).tolist()
    std = float(np.sqrt(0.9 * np.sum((np.array(left_out) - np.mean(left_out)) ** 2)))
    return cell(sampler, 5, 2.0 + shift, fd_digits_left_out=left_out, fd_digits_std=std)


def test_what_cannot_be_told_from_the_best_of_its_column_in_pairs_is_marked(tmp_path: Path) -> None:
    """b is 0.1 worse, which is less than its own standard error, but 30 times that of the difference."""
    luck = np.random.default_rng(0).normal(size=10)
    cells = [BASE, *(in_pairs(name, shift, luck, own) for name, shift, own in zip("abc", SHIFTS, OWN, strict=True))]
    found = shown(tmp_path / "pairs", cells)
    assert [line[0] for line in grid(found).values()] == ["NFE 5", NOTHING, "2.00", "2.10", f"2.02{ALIKE}"]
    assert any("in pairs of the same images" in note for note in found.notes)
    unpaired = [{key: value for key, value in each.items() if key != "fd_digits_left_out"} for each in cells]
    found = shown(tmp_path / "unpaired", unpaired)
    assert [line[0] for line in grid(found).values()][3] == f"2.10{ALIKE}"


def test_families_are_groups_in_the_order_of_the_legend_with_the_baseline_on_top(tmp_path: Path) -> None:
    order = ("SDE", "Langevin", "ODE, multistep", "own family", "ODE, one step")
    cells = [cell(f"s{n}", 5, 1.0 + n, family=name) for n, name in enumerate(order)]
    vae: dict[str, Any] = {"model": "vae", "model_sha256": "e5" * 32, "subject_sha256": SUBJECT, "family": "generator"}
    cells = [cell("g", 1, 9.0, **vae), *cells, BASE]
    found = shown(tmp_path, cells)
    names = found.table[0].cells
    assert names == [
        *("ddpm (baseline: 200 NFE)", "ODE, one step", "s4", "ODE, multistep", "s2", "SDE", "s0", "Langevin", "s1"),
        *("own family", "s3", "generator, vae", "g, vae"),
    ]
    assert [names[n] for n in found.groups] == [
        *("ODE, one step", "ODE, multistep", "SDE", "Langevin", "own family", "generator, vae")
    ]
    assert found.baseline == 0


def test_one_family_has_no_heading(tmp_path: Path) -> None:
    found = shown(tmp_path, [BASE, cell("a", 5, 1.0, family="SDE"), cell("b", 5, 2.0, family="SDE")])
    assert found.groups == ()


def test_grids_and_modes_are_rows_and_what_names_leave_out_is_said(tmp_path: Path) -> None:
    cells = [BASE, *(cell("ddim", 5, 1.0 + n, grid=name) for n, name in enumerate(("trailing", "quad")))]
    cells += [cell("ddim", 5, 3.0, mode="bf16")]
    found = shown(tmp_path, cells, modes=["fp32", "bf16"])
    assert {"ddim, trailing", "ddim, quad", "ddim, trailing, bf16"} < set(found.table[0].cells)
    assert "Mode: fp32, unless another is named." in found.notes


def test_seeds_are_averaged(tmp_path: Path) -> None:
    cells = [BASE, *(cell("ddim", 5, fd, seed=n) for n, fd in enumerate((1.0, 2.0, 3.0)))]
    column = shown(tmp_path, cells).table[1]
    assert "2.00 ± 2.48" in column.cells  # 4.303 / sqrt(3)


def test_what_failed_is_said_where_it_would_stand(tmp_path: Path) -> None:
    cells = [BASE, cell("ddim", 5, 1.0), failed("ddim", steps=10, nfe_declared=10)]
    cells += [failed("heun", steps=5, nfe_declared=9), failed("rk45", steps=2, nfe_declared=None)]
    cells += [cell("two", 5, 2.0), failed("two", steps=5, seed=1, nfe_declared=5)]
    found = grid(shown(tmp_path, cells))
    assert found["Sampler"] == ["NFE 5", "NFE 10", "NFE 200"]
    assert found["ddim"] == ["1.00", "failed", NOTHING]
    assert found["heun"] == [NOTHING, "failed", NOTHING]
    assert found["rk45 (failed)"] == [NOTHING] * 3
    assert found["two"] == ["2.00", NOTHING, NOTHING]  # of the seed that did not fail


def grown(path: Path, seed: int = 0) -> Path:
    """A run that leaves c out at 100 images, and d at 200."""
    luck, looks = np.random.default_rng(0).normal(size=10), [100, 200, 400]
    base = in_pairs("ddpm", 0.0, luck, 0.0) | {"steps": 200, "nfe": 200.0, "nfe_declared": 200}
    base |= {"latency_s": [2.0] * 4, "network_s": [1.9] * 4}
    had = {100: [("a", 0.1, 0.3), ("c", 9.0, 0.02), ("d", 0.3, 0.5)], 200: [("a", 0.1, 0.3), ("d", 3.0, 0.02)]}
    cells = list[Record]()
    for images in looks:
        settings = [base, *(in_pairs(name, shift, luck, own) for name, shift, own in had.get(images, had[200][:1]))]
        cells += [
            each | {"images": images, "id": f"{images:08d}{seed:04d}{n:04d}", "seed": seed}
            for n, each in enumerate(settings)
        ]
    folder = RunFolder(path)
    folder.create()
    growing = study(path.name, images={"from": 100, "to": 400}, until="decided", block=block(**BUDGETS))
    folder.write_manifest(growing, [each["id"] for each in cells], looks=looks)
    for each in cells:
        folder.write(each)
    return path


def test_where_images_grow_the_table_is_of_all_settings_and_who_was_left_out_stands_apart(tmp_path: Path) -> None:
    """The table is of all at 100 images."""
    summary = summarise([grown(tmp_path / "run")])
    kinds = [[block.kind for block in group] for group in groups(summary)]
    assert kinds == [["paper", "rows"], ["rows", "left_out"]]
    first = paper(summary.sections[0], summary)
    assert first is not None
    assert [line[0] for name, line in grid(first).items() if name in "acd"] == ["2.10", "11.00", f"2.30{ALIKE}"]
    out = {column.heading: column.cells for column in groups(summary)[1][1].table}
    assert list(zip(out["Sampler"], out["Images"], strict=True)) == [("c", "100"), ("d", "200")]


@pytest.mark.parametrize("seed", [0, 1])
def test_runs_whose_images_grow_have_no_answer_together_where_settings_were_left_out(tmp_path: Path, seed: int) -> None:
    """Of the same seed each has rows of its own; of two seeds they are pooled."""
    summary = summarise([grown(tmp_path / "one"), grown(tmp_path / "two", seed)])
    assert [section.images for section in summary.sections] == [100, 400]
    first, last = (section.answers for section in summary.sections)
    assert first[0].sentence.startswith(("a on ", "The "))
    assert last[0].sentence.endswith("not all settings have 400 images; each run by itself has the answer.")
    assert last[0].winner is None


def test_runs_of_other_numbers_of_images_have_a_table_each(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"n{n}", [record(*BASELINE, images=n), record(images=n)]) for n in (1000, 2000)]
    summary = summarise(runs)
    assert [paper(section, summary) is not None for section in summary.sections] == [True, True]


def test_by_steps_a_column_is_a_number_of_steps(tmp_path: Path) -> None:
    cells = [BASE, cell("ddim", 5, 3.0), cell("heun", 9, 2.0, 5)]
    found = shown(tmp_path, cells, View("steps"))
    assert grid(found) == {
        "Sampler": ["5 steps", "200 steps"],
        "ddpm (baseline: 200 NFE)": [NOTHING, "2.00"],
        "ddim": ["3.00", NOTHING],
        "heun": ["2.00", NOTHING],
    }
    assert any("Steps are not evaluations" in note for note in found.notes)


def test_by_seconds_a_cell_is_the_best_that_a_sampler_reaches_in_the_time(tmp_path: Path) -> None:
    """In 1-2-5 steps of seconds an image, of 250 a call; what is slower but worse changes nothing."""
    times = {("ddim", 5, 3.0): 0.3, ("ddim", 10, 4.0): 0.4, ("ddim", 20, 2.0): 4.0, ("heun", 10, 2.5): 1.0}
    cells = [timed(sampler, steps, fd, seconds) for (sampler, steps, fd), seconds in times.items()]
    cells = [timed(*BASELINE[::2], 1.0, 20.0), *cells, record("slow", fd_digits=0.1, latency_s=None, timed_batch=None)]
    found = shown(tmp_path, cells, View("seconds"))
    lines = grid(found)
    assert lines["Sampler"] == ["≤ 2 ms", "≤ 5 ms", "≤ 20 ms", "≤ 100 ms"]
    assert lines["ddim"] == ["(5) 3.00", "(5) 3.00", "(20) 2.00", "(20) 2.00"]
    assert lines["heun"] == [NOTHING, "(19) 2.50", "(19) 2.50", "(19) 2.50"]
    assert "slow" not in lines
    assert [bold(each) for each in found.table[1:]] == [[], ["(19) 2.50"], ["(20) 2.00"], ["(200) 1.00"]]
    assert any("chosen by these very values" in note for note in found.notes)


def test_a_view_of_what_no_row_has_names_what_there_is(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE, latency_s=None, network_s=None, timed_batch=None)])
    with pytest.raises(UsageError, match="no row has a 'fid' to show; there is: fd_digits, kid_mean, inception_score"):
        summarise([run], View(metric="fid"))
    with pytest.raises(UsageError, match="nothing was timed"):
        summarise([run], View("seconds"))


def test_the_command_chooses_what_the_table_shows(tmp_path: Path, cli: Cli) -> None:
    run = write_run(tmp_path / "run", [record(*BASELINE), record(recall=0.6173)])
    out = cli("report", run, "--columns", "steps", "--metric", "recall", "--format", "md").out
    assert "Recall of samplers by steps; higher is better." in " ".join(out.split())
    assert "0.617" in (run / "table.md").read_text().partition("Recall of samplers")[0]
    refusal = cli("report", run, "--metric", "nothing", status=2).err
    assert "no row has a 'nothing' to show; there is: fd_digits" in refusal


def test_exact_models_have_a_table_each(tmp_path: Path) -> None:
    other = {"model_sha256": "d4" * 32, "subject_sha256": SUBJECT, "model": "other"}
    cells = [own_truth(*BASELINE[::2], 0.1, None), own_truth("ddim", 10, 0.2, 0.01)]
    cells += [own_truth("ddim", 10, 0.3, 0.02, **other)]
    summary = summary_of(tmp_path, cells)
    tables = [each for section in summary.sections if (each := paper(section, summary)) is not None]
    assert [bold(each) for found in tables for each in found.table[1:]] == [[], [], []]
    assert [found.notes[0] for found in tables] == [
        "Law FD of samplers by network evaluations an image (NFE); lower is better."
    ] * 2

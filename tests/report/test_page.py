"""What the page holds, before a browser reads it."""

import base64
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_records import BASELINE, GRID, column, failed, guided, many, record, write_preview, write_run

from bench.report import summarise, write_report
from bench.report.page import page
from bench.report.page.explore import explored
from bench.report.page.libraries import _eager, libraries
from bench.report.page.pictures import pictures, sheets


def data_of(html: str) -> dict[str, Any]:
    """What is explored."""
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)
    assert found is not None
    return dict(json.loads(found[1]))


def only(folder: Path, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """The only section of a run of these cells."""
    (section,) = explored(summarise([write_run(folder / "run", cells)]))
    return section


def with_images(folder: Path, side: int, count: int = 10, cells: int = 3) -> Path:
    """A run whose cells have coloured noise for images, which cannot be compressed."""
    records = [record(*BASELINE, preview_count=count)]
    records += [record("ddim", GRID, steps, preview_count=count) for steps in range(1, cells)]
    run, random = write_run(folder / "run", records), np.random.default_rng(0)
    for each in records:
        write_preview(run, each, [random.integers(0, 255, (side, side, 3), dtype=np.uint8) for _ in range(count)])
    return run


def sizes(found: dict[str, str]) -> list[tuple[int, int]]:
    """Width and height of pictures."""
    content = [base64.b64decode(each.removeprefix("data:image/png;base64,")) for each in found.values()]
    return [Image.open(io.BytesIO(each)).size for each in content]


def test_values_are_those_of_the_table_and_text_is_that_of_its_cells(tmp_path: Path) -> None:
    section = only(tmp_path, [record(*BASELINE), record("heun", steps=10), record("ddim", kid_mean=None)])
    table = summarise([tmp_path / "run"]).table
    assert section["values"]["fd_digits"] == pytest.approx(table["fd_digits"].tolist(), rel=1e-7)
    assert section["values"]["nfe"] == [200, 19, 10]
    assert section["values"]["ms_per_image"] == pytest.approx((1000 * table["s_per_image_median"]).tolist(), rel=1e-7)
    assert section["values"]["kid_mean"][2] is None
    assert section["texts"]["kid_mean"][2] == "\N{EN DASH}"
    (rows,) = summarise([tmp_path / "run"]).sections
    assert section["texts"]["fd_digits"] == column(rows, "FD (digits)").cells


def test_columns_say_what_they_mean_and_those_that_tell_nothing_are_left_out(tmp_path: Path) -> None:
    section = only(tmp_path, [record(*BASELINE), record("heun")])
    found = {each["key"]: each for each in section["columns"]}
    assert found["nfe"]["meaning"] == "Network evaluations an image, counted at the network."
    assert found["fd_digits"]["better"] == "min"
    assert found["precision"]["better"] == "max"
    assert not {"device_name", "run", "cells", "pairs", "sampler_sha256", "sampler_parameters"} & set(found)
    assert not found["mode"]["shown"]
    assert all(each["meaning"] for each in found.values())


def test_lines_are_those_of_the_figures(tmp_path: Path) -> None:
    section = only(tmp_path, many())
    lines = section["lines"]["steps"]
    assert [lines["entries"][n]["label"] for n in lines["of"]][:3] == ["ddpm", "sampler0", "sampler0"]
    assert {each["family"] for each in lines["entries"]} == {
        "SDE",
        "ODE, one step",
        "ODE, multistep",
        "Langevin",
        "generator",
    }
    assert sum(not each["beaten"] for each in lines["entries"]) <= 12
    assert "scale" not in section["lines"]


def test_lines_along_scales_join_settings_that_differ_in_the_scale_alone(tmp_path: Path) -> None:
    cells = [record(*BASELINE), *(guided(f"cfg[scale={s}]", steps=n) for n in (5, 10) for s in (1.5, 2.0))]
    cells.append(guided("cfg[scale=2.0]", mode="fp16"))
    lines = only(tmp_path, cells)["lines"]["scale"]
    assert [each["label"] for each in lines["entries"]] == ["ddpm, none", "ddim, cfg"]
    assert len(set(lines["part"])) == 4


def test_along_scales_each_budget_has_a_panel_and_what_was_not_swept_one_together(tmp_path: Path) -> None:
    cells = [record(*BASELINE), record("heun", steps=5)]
    cells += [guided(f"cfg[scale={s}]", steps=n) for n in (5, 10) for s in (1.5, 2.0, 3.0)]
    section = only(tmp_path, cells)
    lines = section["lines"]["scale"]
    assert lines["panels"] == ["at most 10 NFE", "at most 20 NFE", "other budgets"]
    assert [lines["panels"][n] for n in lines["panel"]] == [
        "at most 10 NFE" if nfe in (9, 10) else "at most 20 NFE" if nfe == 20 else "other budgets"
        for nfe in section["values"]["nfe"]
    ]


def test_along_scales_colour_and_marker_are_the_samplers_and_line_and_filling_the_guidances(tmp_path: Path) -> None:
    kinds = ("cfg[scale=2.0]", "cfg[scale=2.0,low=0.1,high=1.0]")
    cells = [record(*BASELINE), *(guided(kind, sampler, steps=5) for sampler in ("ddim", "heun") for kind in kinds)]
    entries = {each["label"]: each["trace"] for each in only(tmp_path, cells)["lines"]["scale"]["entries"]}
    for sampler in ("ddim", "heun"):
        plain, between = entries[f"{sampler}, cfg"], entries[f"{sampler}, cfg[low=0.1,high=1.0]"]
        assert between["marker"]["symbol"].partition("-")[0] == plain["marker"]["symbol"].partition("-")[0]
        assert between["marker"]["color"] == plain["marker"]["color"]
        assert between["marker"]["symbol"] != plain["marker"]["symbol"]
        assert between["line"]["dash"] != plain["line"]["dash"]
    assert entries["ddim, cfg"]["marker"] != entries["heun, cfg"]["marker"]
    assert entries["ddim, cfg"]["line"]["dash"] == entries["heun, cfg"]["line"]["dash"]


def test_scales_are_on_a_logarithmic_axis_where_they_lie_far_apart_and_none_is_nothing(tmp_path: Path) -> None:
    for n, (scales, far) in enumerate((((1.0, 2.0), False), ((1.0, 8.0), True), ((0.0, 8.0), False))):
        cells = [record(*BASELINE), *(guided(f"cfg[scale={scale}]") for scale in scales)]
        views = only(tmp_path / str(n), cells)["views"]
        assert next(each["xlog"] for each in views if each["x"] == "guidance_scale") is far


def test_a_page_without_a_result_says_nothing_of_what_is_explored(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [failed("heun")])
    (file,) = write_report([run], ["html"])
    assert "explored above" not in file.read_text()


def test_plotly_is_compiled_at_once_and_what_has_another_form_stays_as_it_is() -> None:
    plotly = gzip.decompress(base64.b64decode(libraries()["plotly"])).decode()
    assert "this, (() => {" in plotly[:1000]
    assert plotly.endswith("})));")
    assert plotly.count("window.Plotly = Plotly") == 1
    for other in (b"(function(){})();", b"f(this, () => {})", b""):
        assert _eager(other) == other


def test_views_are_of_what_was_measured(tmp_path: Path) -> None:
    nothing = {"latency_s": None, "network_s": None, "fd_digits": None, "precision": None}
    section = only(tmp_path, [each | nothing for each in (record(*BASELINE), record("heun"))])
    assert [(each["x"], each["y"]) for each in section["views"]] == [("steps", "nfe")]
    assert section["answers"][0]["winner"] is None


def test_no_text_ends_the_script_that_holds_it(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><!--\u2028"
    run = write_run(tmp_path / "run", [record(*BASELINE), record(hostile, family=hostile)])
    html = page(summarise([run]), {}, {})
    assert hostile.replace("\u2028", " ").strip() in data_of(html)["sections"][0]["values"]["sampler"]
    assert html.count("</script>") == 5


def test_a_cell_that_two_runs_have_is_a_row_of_each_with_its_own_picture(tmp_path: Path) -> None:
    runs = [with_images(tmp_path / name, 8) for name in ("a", "b")]
    summary = summarise(runs)
    ids = [each for section in explored(summary) for each in section["ids"]]
    assert len(set(ids)) == len(ids) == 6
    assert set(ids) == set(pictures(summary))


@pytest.mark.parametrize(("side", "cells", "shown"), [(8, 3, (89, 8)), (32, 60, (32 * 5 + 4, 32)), (256, 10, (64, 64))])
def test_pictures_have_as_many_images_as_there_is_room_for(
    tmp_path: Path, side: int, cells: int, shown: tuple[int, int]
) -> None:
    found = pictures(summarise([with_images(tmp_path, side, cells=cells)]))
    assert len(found) == cells
    assert set(sizes(found)) == {shown}
    assert sum(map(len, found.values())) < 2_000_000


def test_a_picture_that_is_not_what_was_written_is_not_shown(tmp_path: Path) -> None:
    run = with_images(tmp_path, 8)
    first = next((run / "cells").glob("*.png"))
    first.write_bytes(first.read_bytes()[:40])
    assert len(pictures(summarise([run]))) == 2


def test_the_images_of_the_same_noise_are_samplers_by_columns(tmp_path: Path) -> None:
    summary = summarise([with_images(tmp_path, 8)])
    (sheet,) = sheets(summary)
    assert sheet.headings == ["1 step", "2 steps"]
    assert [name for name, _ in sheet.lines] == ["baseline: ddpm on trailing at 200 steps", "ddim"]
    shown = [each.key for _, cells in sheet.lines for each in cells if each is not None]
    assert set(shown) <= set(pictures(summary))


def test_a_page_of_a_full_study_is_no_larger_than_six_megabytes() -> None:
    published = Path(__file__).parents[2] / "results/published/digits"
    summary = summarise([published])
    assert sum(len(section.rows) for section in summary.sections) > 140
    figures = {path.stem: path.read_bytes() for path in published.glob("*.png")}
    html = page(summary, figures, dict.fromkeys(figures, ""))
    assert len(figures) >= 4
    assert len(html.encode()) <= 6_000_000
    assert len(data_of(html)["pictures"]) >= 140

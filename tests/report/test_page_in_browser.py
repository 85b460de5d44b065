"""The page as a reader explores it: in Chromium, from a file, without a network.

    pytest -m tools -n 2 tests/report

Deselected otherwise: a browser takes a minute to try all.
"""

import csv
import re
from pathlib import Path

import pytest
from browser import Visit
from pages import HOSTILE, paged
from playwright.sync_api import Browser, expect
from report_records import BASELINE, guided, record, write_run

pytestmark = pytest.mark.tools


def test_a_click_on_a_heading_sorts_by_numbers_and_what_has_no_value_stands_last(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        heading = visit.page.locator("#table thead th", has_text="FD (digits)").first
        for way in ("ascending", "descending"):
            heading.click()
            expect(heading).to_have_attribute("aria-sort", way)  # rows are put in order after the click
            cells = visit.column("FD (digits) \N{DOWNWARDS ARROW}")
            found = [float(each.split(" ")[0].replace(",", "")) for each in cells]
            assert found == sorted(found, reverse=way == "descending")
        assert "order=fd_digits%3Adesc" in visit.view


def test_a_search_narrows_table_and_figure(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        visit.page.locator("#rows input[type=search]").fill("dpm++")
        visit.counts("3 of 16")
        assert set(visit.column("Sampler")) == {"dpm++2m"}
        assert sum(len(points) for name, points in visit.drawn().items() if name.startswith("dpm++2m")) == 3


def test_filters_of_family_and_evaluations_narrow_table_and_figure_and_can_be_taken_back(
    browser: Browser, page: Path
) -> None:
    with Visit(browser, page) as visit:
        visit.page.locator('[data-facet="family"] summary').click()
        visit.page.locator('[data-facet="family"] button', has_text="none").click()
        visit.page.get_by_label("ODE, multistep").check()
        visit.page.locator("#nfe-to").fill("12")
        visit.counts("1 of 16")
        assert visit.column("NFE") == ["9"]
        assert set(visit.column("Family")) == {"ODE, multistep"}
        visit.page.locator("#reset").click()
        visit.counts("16 of 16")


def test_a_point_tells_its_row_and_shows_its_first_images(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        visit.hover("heun, trailing")
        card = visit.page.locator("#card").inner_text()
        for told in (
            "heun",
            "Grid",
            "trailing",
            "Guidance",
            "none",
            "Mode",
            "fp32",
            "Steps",
            "NFE",
            "Calls",
            "ms/image",
        ):
            assert told in card
        assert "FD (digits)" in card
        assert visit.page.locator("#card img").evaluate("each => each.naturalWidth") == 4 * 8 + 3


def test_any_two_columns_can_be_on_the_axes_logarithmic_or_linear(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        before = visit.drawn()["heun, trailing"]
        visit.page.select_option("#x", "recall")
        visit.page.select_option("#y", "inception_score")
        visit.page.select_option("#ylog", "linear")
        assert visit.drawn()["heun, trailing"] != before
        layout = visit.page.evaluate("(({xaxis, yaxis}) => [xaxis.type, yaxis.type, xaxis.title.text])(figure.layout)")
        assert layout == ["log", "linear", "Recall, higher is better"]
        assert "Recall" in str(visit.page.locator("#figure").get_attribute("aria-label"))


def test_the_front_is_that_of_the_records_and_the_band_that_of_the_tolerance(browser: Browser, page: Path) -> None:
    from bench.report import summarise

    (section,) = summarise([page.parent]).sections
    on_front = sorted(row["nfe"] for row in section.records if row["pareto_nfe"])
    baseline = next(row["fd_digits"] for row in section.records if row["baseline"])
    with Visit(browser, page) as visit:
        assert [x for x, _ in visit.drawn()["Pareto front"]] == on_front
        (band,) = visit.page.evaluate("figure.layout.shapes.filter(s => s.name === 'tolerance').map(s => [s.y0, s.y1])")
        assert band == pytest.approx([baseline, 1.1 * baseline], rel=1e-6)


def test_rows_that_are_selected_are_marked_in_the_figure_and_points_select_rows(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        visit.page.get_by_label("Select heun at 10 steps").check()
        ((x, _),) = visit.drawn()["selected"]
        assert x == 19
        assert visit.page.locator("#chosen-cards .card").count() == 1
        visit.page.mouse.click(*visit.point("dpm++2m, trailing"))
        assert len(visit.drawn()["selected"]) == 2
        visit.page.locator("#clear").click()
        assert visit.drawn()["selected"] == []


def test_the_legend_hides_a_line_and_a_family(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        visit.page.locator("#legend button", has_text="heun").click()
        assert "heun, trailing" not in visit.drawn()
        assert "hide=heun%2C+trailing" in visit.view
        visit.page.locator("#legend button.family", has_text="ODE, one step").click()
        assert not [name for name in visit.drawn() if name.startswith("ddim")]
        assert (
            visit.page.locator("#legend button.family", has_text="ODE, one step").get_attribute("aria-pressed")
            == "false"
        )


def test_what_is_shown_is_downloaded_as_csv(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        visit.page.locator("#columns summary").click()
        visit.page.get_by_label("Overhead", exact=True).uncheck()
        visit.page.locator("#columns summary").click()
        visit.page.locator("#rows input[type=search]").fill("heun")
        visit.page.locator("#table thead th", has_text="NFE").click()
        with visit.page.expect_download() as download:
            visit.page.locator("#csv").click()
        rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert [row["nfe"] for row in rows] == ["9", "19", "39"]
    assert {row["sampler"] for row in rows} == {"heun"}
    assert "overhead_fraction" not in rows[0]
    assert float(rows[0]["fd_digits"]) > 1


def test_a_link_restores_the_view(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        visit.page.select_option("#x", "ms_per_image")
        visit.page.select_option("#ylog", "linear")
        visit.page.locator("#legend button", has_text="heun").click()
        visit.page.locator("#table thead th", has_text="NFE").click()
        visit.page.get_by_label("Select dpm++2m at 5 steps").check()
        visit.page.locator("#rows input[type=search]").fill("trailing")
        expect(visit.page).to_have_url(re.compile("search=trailing"))
        link, drawn, cells = visit.view, visit.drawn(), visit.column("NFE")
    with Visit(browser, page, link) as visit:
        assert visit.drawn() == drawn
        assert visit.column("NFE") == cells
        assert visit.page.input_value("#rows input[type=search]") == "trailing"
        assert visit.page.get_by_label("Select dpm++2m at 5 steps").is_checked()
        assert visit.view == link


def test_the_address_follows_what_is_chosen_after_a_reset_too(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        for _ in range(2):
            visit.page.select_option("#x", "ms_per_image")
            assert "x=ms_per_image" in visit.view
            visit.page.locator("#reset").click()
            assert visit.view in ("", "#")


def test_a_link_restores_that_nothing_is_chosen(browser: Browser, page: Path) -> None:
    with Visit(browser, page, "#none=grid&columns=") as visit:
        visit.counts("0 of 16")
        assert visit.page.locator("#table thead th").count() == 1
        visit.page.locator('[data-facet="grid"] summary').click()
        visit.page.get_by_label("quad", exact=True).check()
        visit.counts("3 of 16")
        assert "grid=quad" in visit.view


def test_an_address_of_nonsense_is_a_view_all_the_same(browser: Browser, page: Path) -> None:
    with Visit(
        browser, page, "#x=nothing&protocol=99&order=a:b&from=x&select=y&family=z&columns=q&join=toString"
    ) as visit:
        assert visit.page.input_value("#x") == "nfe"
        assert "0 of 16" in visit.page.locator("#drawn").inner_text()


def test_images_of_the_same_noise_are_larger_on_click(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        button = visit.page.locator(".images-of button").nth(2)
        small = button.locator("img").bounding_box()
        button.click()
        large = visit.page.locator("#large img").bounding_box()
        assert small is not None
        assert large is not None
        assert large["width"] > 2 * small["width"]
        visit.page.keyboard.press("Escape")
        expect(visit.page.locator("#large")).to_be_hidden()


def test_names_of_markup_are_text_in_every_place(browser: Browser, tmp_path: Path) -> None:
    cells = [record(*BASELINE), *(record(HOSTILE, steps=n, family=HOSTILE, model=HOSTILE) for n in (5, 10))]
    cells.append(record("=1+1", steps=5))
    with Visit(browser, paged(write_run(tmp_path / "run", cells, title=HOSTILE))) as visit:
        visit.page.locator("#table tbody input").nth(1).check()
        visit.page.locator('[data-facet="sampler"] summary').click()
        assert HOSTILE in visit.page.locator('[data-facet="sampler"]').inner_text()
        visit.page.keyboard.press("Escape")
        visit.hover(next(name for name in visit.drawn() if name.startswith("&lt;img")))
        assert HOSTILE in visit.page.locator("#card").inner_text()
        assert HOSTILE in visit.column("Sampler")
        assert HOSTILE in visit.page.locator("#legend").inner_text()
        assert visit.page.locator("img[src=x]").count() == 0
        assert visit.page.evaluate("window.fooled") is None
        with visit.page.expect_download() as download:
            visit.page.locator("#csv").click()
        assert "'=1+1" in Path(download.value.path()).read_text()


def test_guidance_is_drawn_along_its_scale(browser: Browser, tmp_path: Path) -> None:
    cells = [record(*BASELINE), record("ddim", steps=20)]
    cells += [guided(f"cfg[scale={scale}]", steps=10) for scale in (1.0, 1.5, 2.0, 3.0)]
    with Visit(browser, paged(write_run(tmp_path / "run", cells))) as visit:
        visit.page.locator("#views button", has_text="guidance scale").click()
        assert [x for x, _ in visit.drawn()["ddim, cfg"]] == [1, 1.5, 2, 3]
        visit.page.locator("#views button", has_text="Precision against recall").click()
        assert len(visit.drawn()["ddim, cfg"]) == 4


def test_budgets_of_guidance_are_apart_in_panels_that_share_their_axes(browser: Browser, tmp_path: Path) -> None:
    cells = [record(*BASELINE)]
    cells += [guided(f"cfg[scale={scale}]", steps=n) for n in (5, 10, 20) for scale in (1.5, 2.0, 3.0, 8.0)]
    with Visit(browser, paged(write_run(tmp_path / "run", cells))) as visit:
        visit.page.locator("#views button", has_text="guidance scale").click()
        titles = "figure.layout.annotations.map(each => each.text)"
        panels = "figure.data.filter(t => t.name === 'ddim, cfg').map(t => [t.xaxis, t.yaxis, t.x.length])"
        assert visit.page.evaluate(titles) == ["at most 10 NFE", "at most 20 NFE", "at most 40 NFE"]
        assert visit.page.evaluate(panels) == [["x", "y", 4], ["x2", "y2", 4], ["x3", "y3", 4]]
        ranges = visit.page.evaluate("['', 2, 3].map(n => figure._fullLayout['yaxis' + n].range.join())")
        assert len(set(ranges)) == 1
        assert visit.page.locator("#figure .main-svg").first.evaluate("each => each.clientHeight") == pytest.approx(
            visit.page.locator("#figure").evaluate("each => each.clientHeight"), abs=1
        )
        wide = visit.page.locator("#figure").evaluate("each => each.clientHeight")
        visit.page.set_viewport_size({"width": 390, "height": 800})  # below one another
        visit.page.wait_for_function("height => document.getElementById('figure').clientHeight > height", arg=wide)
        visit.page.locator("#nfe-to").fill("12")
        visit.counts("4 of 13")
        assert visit.page.evaluate(titles) == ["at most 10 NFE"]

"""The page as a reader has it: in Chromium, from a file, without a network.

    pytest -m tools -n 2 tests/report

Deselected otherwise: a browser takes a minute to try all.
"""

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import Visit, chromium
from playwright.sync_api import Browser, expect
from report_records import BASELINE, FAMILIES, GRID, failed, guided, record, write_preview, write_run

from bench.report import write_report

pytestmark = pytest.mark.tools

SAMPLERS = ("ddim", "heun", "dpm++2m", "euler-maruyama")
HOSTILE = '<img src=x onerror="window.fooled=1">&lt;b&gt;'


def paged(run: Path) -> Path:
    """The page of a run."""
    write_report([run], ["html"])
    return run / "index.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samplers of several families, on two grids, with first images."""
    cells = [record(*BASELINE, family="SDE", preview_count=4)]
    for n, name in enumerate(SAMPLERS):
        cells += [record(name, GRID, steps, family=FAMILIES[n % 3], preview_count=4) for steps in (5, 10, 20)]
    cells += [record("ddim", "quad", steps, family=FAMILIES[0], preview_count=4) for steps in (5, 10, 20)]
    run = write_run(tmp_path_factory.mktemp("page") / "quick", cells)
    random = np.random.default_rng(0)
    for each in cells:
        write_preview(run, each, [random.integers(0, 255, (8, 8), dtype=np.uint8) for _ in range(4)])
    return paged(run)


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


def test_nothing_that_is_shown_moves_while_the_page_opens(browser: Browser, page: Path) -> None:
    for width, height in ((1280, 900), (1280, 2600), (390, 800)):
        context = browser.new_context(viewport={"width": width, "height": height})
        shown = context.new_page()
        shown.add_init_script(
            "window.moved = 0; new PerformanceObserver(list => list.getEntries().forEach(each => {"
            " window.moved += each.value; })).observe({ type: 'layout-shift', buffered: true });"
        )
        shown.goto(page.as_uri())
        shown.wait_for_selector("html[data-ready]", timeout=60_000)
        shown.wait_for_timeout(200)
        assert shown.evaluate("window.moved") < 0.01
        context.close()


def test_on_a_phone_the_first_column_stays_and_an_edge_tells_that_there_is_more(browser: Browser, page: Path) -> None:
    with Visit(browser, page, viewport={"width": 390, "height": 800}) as visit:
        table, cell = visit.page.locator("#rows .wide"), visit.page.locator("#table tbody td:nth-child(2)").first
        assert table.evaluate("each => each.scrollWidth > each.clientWidth")
        assert "gradient" in table.evaluate("each => getComputedStyle(each).backgroundImage")
        table.evaluate("each => { each.scrollLeft = 200; }")
        place, frame = cell.bounding_box(), table.bounding_box()
        assert place is not None
        assert frame is not None
        assert place["x"] == pytest.approx(frame["x"], abs=1)
        assert place["width"] < frame["width"] / 2


def test_in_the_dark_the_table_is_of_the_surface_of_the_page(browser: Browser, page: Path) -> None:
    with Visit(browser, page, color_scheme="dark") as visit:
        behind = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        over = visit.page.locator("#rows, #rows .dt-container, #rows table, #rows tbody tr, #rows td, #rows th")
        found = set(over.evaluate_all("all => all.map(each => getComputedStyle(each).backgroundColor)"))
        assert found == {behind, "rgba(0, 0, 0, 0)"}


@pytest.mark.parametrize("width", [1280, 390])
def test_a_run_of_one_row_has_axes_that_can_be_read(browser: Browser, tmp_path: Path, width: int) -> None:
    run = write_run(tmp_path / "run", [record("heun")])
    with Visit(browser, paged(run), viewport={"width": width, "height": 800}) as visit:
        visit.counts("1 of 1")
        for axis, (start, end) in (("x", ("left", "right")), ("y", ("top", "bottom"))):
            boxes = visit.page.locator(f"#figure .{axis}tick text").evaluate_all(
                f"all => all.map(each => each.getBoundingClientRect()).map(box => [box.{start}, box.{end}])"
            )
            boxes.sort()
            assert len(boxes) > 1
            assert all(one[1] <= other[0] for one, other in itertools.pairwise(boxes))


def test_values_of_zero_and_below_are_not_on_a_logarithmic_axis_and_that_is_said(
    browser: Browser, tmp_path: Path
) -> None:
    cells = [record(*BASELINE), *(record(steps=n, kid_mean=kid) for n, kid in ((5, -0.01), (10, 0.0), (20, None)))]
    with Visit(browser, paged(write_run(tmp_path / "run", cells))) as visit:
        visit.page.select_option("#y", "kid_mean")
        visit.counts("1 of 4")
        assert "3 not drawn, which have no positive value on an axis" in visit.page.locator("#drawn").inner_text()
        visit.page.select_option("#ylog", "linear")
        visit.page.select_option("#xlog", "linear")
        visit.counts("3 of 4")
        assert "1 not drawn, which have no value on an axis" in visit.page.locator("#drawn").inner_text()


def test_each_protocol_is_explored_by_itself(browser: Browser, tmp_path: Path) -> None:
    cells = [record(*BASELINE), record("ddim"), *(record("heun", steps=n, images=2000) for n in (5, 10, 20))]
    with Visit(browser, paged(write_run(tmp_path / "run", cells))) as visit:
        assert "2 of 2" in visit.page.locator("#drawn").inner_text()
        visit.page.select_option("#protocol", "1")
        assert "3 of 3" in visit.page.locator("#drawn").inner_text()
        assert visit.view == "#protocol=2"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_read_and_use_it_and_it_is_no_wider_than_the_screen(
    browser: Browser, page: Path, width: int, scheme: str
) -> None:
    with Visit(browser, page, viewport={"width": width, "height": 800}, color_scheme=scheme) as visit:
        visit.page.get_by_label("Select heun at 10 steps").check()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(visit.page)
        bad = [each for each in found.response["violations"] if each["impact"] in ("serious", "critical")]
        assert not bad, [(each["id"], each["help"], [node["html"][:200] for node in each["nodes"][:3]]) for each in bad]


def test_the_keyboard_reaches_views_legend_and_rows(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        visit.page.locator("#views button").nth(1).focus()
        visit.page.keyboard.press("Enter")
        assert visit.page.input_value("#x") == "ms_per_image"
        assert visit.page.evaluate("document.activeElement.textContent") == "FD (digits) against time"
        visit.page.get_by_label("Select heun at 10 steps").focus()
        visit.page.keyboard.press("Space")
        assert len(visit.drawn()["selected"]) == 1


def test_a_tap_on_a_point_selects_its_row_once_and_shows_its_card(browser: Browser, page: Path) -> None:
    size = {"width": 390, "height": 800}
    with Visit(browser, page, viewport=size, has_touch=True, is_mobile=True) as visit:
        visit.page.touchscreen.tap(*visit.point("heun, trailing"))
        expect(visit.page.locator("#chosen-count")).to_have_text("1 selected")
        assert "heun" in visit.page.locator("#card").inner_text()
        visit.page.wait_for_timeout(600)
        card, frame = visit.page.locator("#card").bounding_box(), visit.page.locator("#figure").bounding_box()
        assert card is not None
        assert frame is not None
        assert card["x"] + card["width"] <= frame["x"] + frame["width"] + 1
        assert len(visit.drawn()["selected"]) == 1
        visit.page.touchscreen.tap(*visit.point("heun, trailing"))
        expect(visit.page.locator("#chosen")).to_be_hidden()


def test_escape_shuts_a_list_and_the_keyboard_goes_on_from_there(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        visit.page.locator('[data-facet="family"] summary').focus()
        visit.page.keyboard.press("Enter")
        visit.page.keyboard.press("Tab")
        visit.page.keyboard.press("Escape")
        assert visit.page.evaluate("document.activeElement.textContent") == "Family"
        expect(visit.page.locator('[data-facet="family"] label').first).to_be_hidden()


def test_the_printed_page_has_figures_and_tables_instead(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        visit.page.emulate_media(media="print")
        expect(visit.page.locator("#figure")).to_be_hidden()
        expect(visit.page.locator("details.printed img").first).to_be_visible()
        expect(visit.page.locator(".rows table").first).to_be_visible()
        visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert not visit.page.locator("details.printed").first.evaluate("each => each.open")


def test_without_scripts_everything_is_there_to_be_read(browser: Browser, page: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.goto(page.as_uri())
    expect(shown.locator("details.printed img").first).to_be_visible()
    expect(shown.locator(".rows table").first).to_be_visible()
    expect(shown.locator(".explore")).to_be_hidden()
    context.close()


def test_a_page_without_a_result_is_read_as_it_is(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, paged(write_run(tmp_path / "run", [failed("heun")]))) as visit:
        expect(visit.page.locator(".explore")).to_be_hidden()


def test_no_button_asks_a_host(browser: Browser, page: Path) -> None:
    with Visit(browser, page) as visit:
        names = visit.page.locator("#figure .modebar-btn").evaluate_all("all => all.map(each => each.dataset.title)")
        assert [each.partition(" plot")[0] for each in names] == [
            "Download",
            "Zoom",
            "Pan",
            "Zoom in",
            "Zoom out",
            "Reset axes",
        ]

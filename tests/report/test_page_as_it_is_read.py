"""The page as everybody reads it: on a phone, by keyboard, in the dark, printed, and without scripts.

    pytest -m tools -n 2 tests/report

Deselected otherwise: a browser takes a minute to try all.
"""

import itertools
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import Visit
from pages import paged
from playwright.sync_api import Browser, expect
from report_records import BASELINE, failed, record, write_run

pytestmark = pytest.mark.tools


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

"""Pages in Chromium: what is asked for, said and gone wrong is kept, and nothing is to be asked of any host."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
"""Debian's."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; the test is skipped where there is none, but not in CI, which installs it."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("there is no chromium, which .ci/run installs")
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        # as root, and where /dev/shm is small, as in containers
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class Visit:
    """A page that is looked at.

    Args:
        browser: that shows it.
        file: the page's.
        view: what stands in the address behind the file.
        options: of the browser's context.

    Attributes:
        page: for Playwright.
        faults: errors, warnings, and what was asked of a host.
    """

    def __init__(self, browser: Browser, file: Path, view: str = "", **options: Any) -> None:
        self.faults = list[str]()
        self._context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        self.page: Page = self._context.new_page()
        self.page.on("console", lambda said: self._note(said.type in ("error", "warning"), said.text))
        self.page.on("pageerror", lambda error: self._note(True, str(error)))
        self.page.on(
            "request", lambda asked: self._note(not asked.url.startswith(("file:", "data:", "blob:")), asked.url)
        )
        self.page.goto(f"{file.resolve().as_uri()}{view}")
        self.page.wait_for_selector("html[data-ready]", timeout=60_000)

    def _note(self, bad: bool, text: str) -> None:
        self.faults += [text] * bad

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *of: object) -> None:
        self._context.close()
        if of[0] is None:
            assert not self.faults

    @property
    def view(self) -> str:
        """What stands in the address behind the file."""
        return str(self.page.evaluate("location.hash"))

    def counts(self, rows: str) -> None:
        """Wait until the figure says that it shows so many rows, "3 of 16"."""
        expect(self.page.locator("#drawn")).to_have_text(re.compile(f"^{rows} rows"))

    def column(self, name: str) -> list[str]:
        """The cells of a column of the table of rows, as far as they are on its page."""
        headings = self.page.locator("#table thead th").all_inner_texts()
        place = next(n for n, each in enumerate(headings) if each.strip() == name)
        return self.page.locator(f"#table tbody td:nth-child({place + 1})").all_inner_texts()

    def drawn(self) -> dict[str, list[list[float]]]:
        """The points of each trace of the figure, by its name."""
        found: Mapping[str, Any] = self.page.evaluate(
            "Object.fromEntries(document.getElementById('figure').data.map(t => [t.name, t.x.map((x, n) => [x, t.y[n]])"
            ".filter(([x]) => x !== null)]))"
        )
        return dict(found)

    def point(self, name: str) -> tuple[float, float]:
        """Where the first point of a trace is on the screen."""
        self.page.locator("#figure").scroll_into_view_if_needed()
        x, y = self.page.evaluate(
            "name => { const box = document.getElementById('figure'), t = box.data.find(t => t.name === name),"
            " l = box._fullLayout, r = box.getBoundingClientRect(), p = (a, v) => a.type === 'log' ? Math.log10(v) : v;"
            " return [r.left + l.xaxis._offset + l.xaxis.l2p(p(l.xaxis, t.x[0])),"
            " r.top + l.yaxis._offset + l.yaxis.l2p(p(l.yaxis, t.y[0]))]; }",
            name,
        )
        return float(x), float(y)

    def hover(self, name: str) -> None:
        """Put the mouse on the first point of a trace."""
        x, y = self.point(name)
        self.page.mouse.move(x - 40, y - 5)
        self.page.mouse.move(x, y, steps=4)
        self.page.wait_for_selector("#card:not([hidden])")

"""One page with everything: answer, tables, figures, images, settings, environment. It needs no other file or network.

`page.html.j2` has all that is read, printed, and shown where scripts do not run; `page.css` is how it looks. What can
be explored stands beside it as data: `explore` makes it of the rows, `lines` has the figure's lines, `pictures` the
first images, and `libraries` the browser's libraries. `state.js`, `figure.js`, `table.js` and `main.js` are the
program. A policy within the page forbids it to ask any host for anything.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.report.data.rows import columns_of
from bench.report.data.runs import Run
from bench.report.data.summary import Summary
from bench.report.page.explore import explored
from bench.report.page.libraries import libraries
from bench.report.page.pictures import pictures, sheets
from bench.report.tables.blocks import groups
from bench.report.tables.markup import html_table, templates
from bench.report.tables.remarks import remarks


def style() -> Markup:
    """How the pages look."""
    return Markup(_own("page.css"))


_ENVIRONMENT = ("device_name", "cuda", "platform", "python", "cpus", "threads", "git_commit", "git_dirty", "command")


_PROGRAM = ("state.js", "figure.js", "table.js", "main.js")

_EXPLORED = ("quality_vs_nfe", "quality_vs_seconds", "error_vs_nfe", "guidance", "precision_recall", "images")
"""The figures of what can be explored, which stand folded where it is."""


def page(
    summary: Summary, figures: Mapping[str, bytes], captions: Mapping[str, str], links: Sequence[tuple[str, str]] = ()
) -> str:
    """The page.

    Args:
        summary: what it says.
        figures: PNG files by name.
        captions: of the same names.
        links: addresses and names of what lies beside it, such as files to download.
    """
    sections = explored(summary)
    return (
        templates(Path(__file__).parent)
        .get_template("page.html.j2")
        .render(
            title=summary.title,
            answers=[] if summary.sections else [each.sentence for each in summary.answers],
            groups=groups(summary),
            # each cell has been escaped
            table=lambda *of: Markup(html_table(*of)),
            remarks=remarks(summary),
            figures=[_figure(name, content, captions[name]) for name, content in figures.items()],
            studies=[(run.name, _settings(run)) for run in summary.runs],
            environment=_environment(summary),
            links=links,
            explored=bool(sections),
            several=len(sections) > 1,
            sheets=sheets(summary),
            data=_json({"sections": sections, "pictures": pictures(summary)}),
            libraries=libraries() if sections else {},
            style=style(),
            program=Markup(f'(() => {{\n"use strict";\n{"".join(map(_own, _PROGRAM))}}})();'),
        )
    )


def _figure(name: str, content: bytes, caption: str) -> dict[str, Any]:
    return {"caption": caption, "content": base64.b64encode(content).decode(), "explored": name in _EXPLORED}


@cache
def _own(file: str) -> str:
    return (Path(__file__).parent / file).read_text(encoding="utf-8")


def _json(value: Any) -> Markup:
    """JSON within a script element, which no text of it can end."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _settings(run: Run) -> list[tuple[str, str]]:
    """The resolved study, readable: one line for a key, and one for each block of the product."""
    lines = [(key, _plain(value)) for key, value in run.study.items() if key != "block"]
    return lines + [(f"block {n}", _plain(block)) for n, block in enumerate(run.study.get("block", []), 1)]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain(each)}" for key, each in value.items() if each is not None)
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return value if isinstance(value, str) else json.dumps(value)


def _environment(summary: Summary) -> list[tuple[str, str]]:
    """What the figures depend on besides the study: every value that occurs, normally one."""
    cells = columns_of(summary.cells)
    lines = []
    for name in (*_ENVIRONMENT, *(name for name in cells if name.startswith("version_"))):
        found = dict.fromkeys(str(value) for value in cells.get(name, ()) if value is not None and value == value)
        lines.append((name.removeprefix("version_").replace("_", " "), "; ".join(found)))
    return [(name, text) for name, text in lines if text]

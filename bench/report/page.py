"""One page with everything: answer, table, figures, settings, environment. It needs no other file and no network."""

import base64
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.escape import html_text
from bench.report.data.group import columns_of
from bench.report.data.runs import Run
from bench.report.data.summary import Summary
from bench.report.tables.markup import (
    all_notes,
    html_leaderboard,
    html_mode_summary,
    html_modes,
    html_published,
    html_table,
)
from bench.report.tables.mode_table import TITLE as MODES
from bench.report.tables.mode_table import below as below_modes
from bench.report.tables.published_table import TITLE, below

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=html_text,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

_ENVIRONMENT = ("device_name", "cuda", "platform", "python", "cpus", "threads", "git_commit", "git_dirty", "command")


def page(summary: Summary, figures: Mapping[str, bytes], captions: Mapping[str, str]) -> str:
    """The page.

    Args:
        summary: what it says.
        figures: PNG files by name.
        captions: of the same names.
    """
    sections = [
        {
            "label": section.label,
            "answers": [each.sentence for each in section.answers],
            # each cell has been escaped
            "table": Markup(html_table(section, f"table{n}")),
            "leaders": Markup(html) if (html := html_leaderboard(section, f"leaders{n}")) else None,
            "rows": len(section.rows),
            "notes": all_notes(section),
            "modes": Markup(html) if (html := html_modes(section, f"modes{n}")) else None,
            "modes_summary": Markup(html) if (html := html_mode_summary(section, f"summary{n}")) else None,
            "modes_lines": len(section.modes),
            "modes_notes": below_modes(section.modes),
        }
        for n, section in enumerate(summary.sections)
    ]
    drawn = [(captions[name], base64.b64encode(content).decode()) for name, content in figures.items()]
    return _TEMPLATES.get_template("page.html.j2").render(
        title=summary.title,
        sections=sections,
        answers=[each.sentence for each in summary.answers],
        figures=drawn,
        modes_title=MODES,
        published_title=TITLE,
        published=Markup(html) if (html := html_published(summary.published, "published")) else None,
        published_notes=below(summary.published),
        remarks=summary.remarks(),
        studies=[(run.name, settings(run)) for run in summary.runs],
        environment=environment(summary),
    )


def settings(run: Run) -> list[tuple[str, str]]:
    """The resolved study, readable: one line for a key, and one for each block of the product."""
    lines = [(key, _plain(value)) for key, value in run.study.items() if key != "block"]
    return lines + [(f"block {n}", _plain(block)) for n, block in enumerate(run.study.get("block", []), 1)]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain(each)}" for key, each in value.items() if each is not None)
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return value if isinstance(value, str) else json.dumps(value)


def environment(summary: Summary) -> list[tuple[str, str]]:
    """What the figures depend on besides the study: every value that occurs, normally one."""
    cells = columns_of(summary.cells)
    versions = [name for name in cells if name.startswith("version_")]
    lines = [(name, _distinct(cells.get(name, ()))) for name in (*_ENVIRONMENT, *versions)]
    return [(name.removeprefix("version_").replace("_", " "), text) for name, text in lines if text]


def _distinct(values: Iterable[Any]) -> str:
    return "; ".join(dict.fromkeys(str(value) for value in values if value is not None and value == value))

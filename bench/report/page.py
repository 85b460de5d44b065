"""One page with everything: answer, table, figures, settings, environment. It needs no other file and no network."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.escape import html_text
from bench.report.data.rows import columns_of
from bench.report.data.runs import Run
from bench.report.data.summary import Summary
from bench.report.tables.blocks import groups
from bench.report.tables.markup import html_table
from bench.report.tables.remarks import remarks

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
    return _TEMPLATES.get_template("page.html.j2").render(
        title=summary.title,
        answers=[] if summary.sections else [each.sentence for each in summary.answers],
        groups=groups(summary),
        # each cell has been escaped
        table=lambda *of: Markup(html_table(*of)),
        remarks=remarks(summary),
        figures=[(captions[name], base64.b64encode(content).decode()) for name, content in figures.items()],
        studies=[(run.name, _settings(run)) for run in summary.runs],
        environment=_environment(summary),
    )


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

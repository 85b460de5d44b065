"""What is shown of runs, and how: as a command or a notebook asks for it."""

from dataclasses import dataclass, field
from typing import Literal

from bench.report.data.selection import Selection

By = Literal["nfe", "steps", "seconds"]
"""Of network evaluations an image, of steps, or of seconds an image."""


Style = Literal["page", "paper", "slide"]
"""Of a page of a report, of a column of a paper, or of a slide."""


Numbers = Literal["siunitx", "plain"]
"""How LaTeX aligns numbers: by siunitx or, where journals forbid packages, by its own columns."""


@dataclass(frozen=True)
class View:
    """What is shown of runs, and how.

    Attributes:
        columns: what the budgets of the table of samplers by budget are of.
        metric: its quality column; None for what rows are ranked by.
        selection: which rows tables and figures show.
        x, y: columns of the table that a figure of its own shows; None of both: there is no such figure.
        style: what figures are drawn for.
        numbers: how LaTeX aligns numbers: by siunitx, or without a package.
    """

    columns: By = "nfe"
    metric: str | None = None
    selection: Selection = field(default_factory=Selection)
    x: str | None = None
    y: str | None = None
    style: Style = "page"
    numbers: Numbers = "siunitx"

    @property
    def folder(self) -> str:
        """Where files go that do not replace those of the whole."""
        return "/".join((["selection"] if self.selection else []) + ([self.style] if self.style != "page" else []))


USUAL = View()
"""The report as it is without a word."""

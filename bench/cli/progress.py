"""Progress on stderr, drawn between timed calls only, and what is printed on stdout."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from bench.escape import plain_line

_WIDTH = 120
"""Columns of a log, which has no edge to wrap at."""

errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def output(*, quiet: bool = False, soft_wrap: bool = False) -> Console:
    """Standard output, on which text is printed as it is."""
    console = Console(highlight=False, emoji=False, quiet=quiet, soft_wrap=soft_wrap)
    if not console.is_terminal:
        console.width = _WIDTH
    return console


def bar() -> Progress:
    """A bar without a thread that redraws it: it is drawn when told to, and takes no time from what is measured."""
    columns = (_Description(Column(no_wrap=True)), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=errors, auto_refresh=False)


class _Description(ProgressColumn):
    """What is done, as it is: rich would read ddim[eta=0.5] as markup."""

    def render(self, task: Task) -> Text:
        return Text(plain_line(task.description))

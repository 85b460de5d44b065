"""Progress on stderr, drawn between timed calls only."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

errors = Console(stderr=True, highlight=False, soft_wrap=True)


def bar() -> Progress:
    """A bar without a thread that redraws it: it is drawn when told to, and takes no time from what is measured."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=errors, auto_refresh=False)

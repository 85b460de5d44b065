"""Progress on stderr, drawn between timed calls only, and what is printed on stdout."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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

from bench.escape import plain_line, terminal_text
from models.common.errors import Notice

_WIDTH = 120
"""Columns of a log, which has no edge to wrap at."""


class _Console(Console):
    """One that falls silent when nobody reads it any more, and ends nothing: what is done besides is to be finished."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        silence()


def silence() -> None:
    """Let what is still printed go nowhere: `| head` has read enough."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def notices() -> Iterator[None]:
    """Print each `Notice` once, as a line without the place in our code that warns."""
    before, said = warnings.showwarning, set[str]()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, Notice):
            before(message, category, *place, **more)
        elif str(message) not in said:
            said.add(str(message))
            warn(str(message), style=None)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, force_jupyter=False)
"""Standard error; in a notebook too a stream, where rich would ask for a package to draw anything."""


@contextmanager
def silent(wanted: bool = True) -> Iterator[None]:
    """Nothing is told on `errors`, if that is wanted."""
    before, errors.quiet = errors.quiet, errors.quiet or wanted
    try:
        yield
    finally:
        errors.quiet = before


def output(*, quiet: bool = False, soft_wrap: bool = False) -> Console:
    """Standard output, on which text is printed as it is."""
    console = _Console(highlight=False, emoji=False, quiet=quiet, soft_wrap=soft_wrap)
    if not console.is_terminal:
        console.width = _WIDTH
    return console


def say(text: str) -> None:
    """Print text of any origin on stdout as it is, its lines unbroken."""
    output(soft_wrap=True).print(terminal_text(text), markup=False)


def warn(text: str, style: str | None = "red") -> None:
    """Print text of any origin on stderr as it is, its lines unbroken."""
    errors.print(terminal_text(text), style=style, markup=False)


def bar() -> Progress:
    """A bar without a thread that redraws it: it is drawn when told to, and takes no time from what is measured."""
    done = (_Description(Column(no_wrap=True)), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    left = (TextColumn("left"), TimeRemainingColumn())
    return Progress(*done, *left, console=errors, auto_refresh=False, disable=errors.quiet)


class _Description(ProgressColumn):
    """What is done, as it is: rich would read ddim[eta=0.5] as markup."""

    def render(self, task: Task) -> Text:
        return Text(plain_line(task.description))

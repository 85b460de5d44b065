"""What a command prints, run in this process."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import pytest

from bench.cli import app


class Printed(NamedTuple):
    """What a command printed."""

    out: str
    err: str


class Cli(Protocol):
    """The command line."""

    def __call__(self, *arguments: object, status: int = 0) -> Printed:
        """Run a command, which has to end with that status."""


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Processes that are started inside heed it, wherever tests run: what a shell runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command line in this process."""

    def run(*arguments: object, status: int = 0) -> Printed:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["run_bench.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            app.main()
        printed = Printed(*capsys.readouterr())
        assert end.value.code == status, printed
        return printed

    return run

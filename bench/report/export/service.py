"""What services have in common."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol

from bench.report.data.summary import Summary
from models.common.errors import UsageError
from models.common.words import counted

Sent = Literal["new", "changed", "unchanged"]
"""What became of a run there."""

PROJECT = "sampler-bench"
"""The project or experiment, where the environment names none."""


class Service(Protocol):
    """A tool that records are sent to."""

    def send(self, summary: Summary) -> str:
        """Send rows and report; what was sent, and where to, in a sentence.

        Raises:
            UsageError: it does not take them. What it has is told, and the same command goes on.
        """


def package_missing(name: str, package: str) -> UsageError:
    """That of an extra."""
    return UsageError(
        f"--format {name} needs the package {package}, which is not installed; install it with: "
        f"pip install 'sampler-bench[{name}]' (or uv sync --extra {name})"
    )


def told(service: str, where: str, sent: Counter[Sent]) -> str:
    """What was sent, in a sentence."""
    parts = ", ".join(f"{sent[each]} {each}" for each in ("new", "changed", "unchanged") if sent[each])
    return f"{service}: {counted(sent.total() - 1, 'row')} and the report in {where} ({parts})"


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables, where the user has not set them; after that they are what they were."""
    set_here = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(set_here)
    try:
        yield
    finally:
        for name in set_here:
            os.environ.pop(name, None)

"""The plugin files that a command is given."""

from collections.abc import Iterable
from pathlib import Path


def load_plugins(files: Iterable[Path] | None) -> None:
    """Import plugin files, whose samplers and networks register themselves; UsageError for one that cannot be."""
    if files:
        from bench.purity.unchanged import put_back
        from samplers.registry import load_file

        for file in files:
            with put_back(f"plugin {str(file)!r}"):  # or all samplers would be run by what it changes
                load_file(file)

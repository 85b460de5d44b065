"""Plugin files: each is imported once a process, and puts back what it changes of it."""

from collections.abc import Iterable
from pathlib import Path

from models.common.errors import UsageError
from models.common.files import expanded, sha256_of

_loaded = dict[Path, str]()
"""The plugin files that this process has loaded, with the sha256 that they had."""


def loaded() -> dict[Path, str]:
    """The plugin files that this process has loaded, with the sha256 that they had."""
    return dict(_loaded)


def load_plugins(files: Iterable[str | Path] | None) -> None:
    """Import plugin files that are not loaded yet, whose samplers and networks register themselves.

    UsageError for one that cannot be, or that has changed since: what runs is what was imported.
    """
    for file in map(expanded, files or ()):
        from bench.purity.unchanged import put_back  # which imports torch
        from samplers.registry import load_file

        path = file.resolve()
        if path not in _loaded:
            with put_back(f"plugin {str(file)!r}"):  # or all samplers would be run by what it changes
                load_file(file)
            _loaded[path] = sha256_of(path)
        elif not path.is_file() or sha256_of(path) != _loaded[path]:
            raise UsageError(
                f"plugin {str(file)!r} has changed since it was loaded; start Python again to load it anew"
            )

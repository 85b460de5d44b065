"""Code that is not ours: what a plugin raises, at import or in any method, costs the plugin and never the run.

It may raise anything, `SystemExit` and exceptions that cannot be printed too. `told` says an exception in one line,
with the plugin's file and line, and `foreign` makes a `PluginError` of it. Only `INTERRUPTIONS` go through.
"""

import inspect
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.common.errors import PluginError, UsageError

INTERRUPTIONS = (KeyboardInterrupt,)
"""What stops the program, raised by Ctrl-C and by the handlers of signals: no plugin's failure."""

packages = set[str]()
"""The installed packages that plugins were loaded from."""

_ROOT = Path(__file__).parents[2]
_OURS = tuple(_ROOT / name for name in ("bench", "models", "samplers"))
_ASKING = ("__init__.py", "about.py", "base.py", "registry.py")
_INSTALLED = {"site-packages", "dist-packages"}
_LIBRARY = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
_LONGEST = 1000  # characters of what an exception says


@contextmanager
def foreign(who: str, made: Any = None) -> Iterator[None]:
    """Ask code that is not ours; PluginError if it raises. UsageError and `INTERRUPTIONS` go through.

    Args:
        who: what is said before what it raised, such as "plugin 'mine.py' failed to load".
        made: a class or function of it, whose place is named where no line of its own raised.
    """
    try:
        yield
    except (UsageError, *INTERRUPTIONS):
        raise
    except BaseException as error:
        raise PluginError(f"{who}: {told(error, made)}") from error


def told(error: BaseException, made: Any = None) -> str:
    """An exception in one line that every file can hold: its class, what it says, the line that raised it, its notes.

    `made` is as `foreign` takes it.
    """
    place = place_of(error) or (None if made is None else defined_at(made))
    said = ": ".join(filter(None, (_line(type(error).__name__), words(error))))
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ..."
    notes = vars(error).get("__notes__")
    lines = [_line(note) for note in notes if isinstance(note, str)] if isinstance(notes, list) else []
    return "; ".join([said if place is None else f"{said} ({place})", *lines])


def words(error: BaseException) -> str:
    """What an exception says, in one line; or that it cannot be asked, since its own `str` raises."""
    try:
        return _line(str(error))
    except INTERRUPTIONS:
        raise
    except BaseException as second:
        return f"(its words cannot be had: to print it raises {_line(type(second).__name__)})"


def trace(error: BaseException) -> str:
    """The traceback of an exception, as far as it can be printed."""
    try:
        return "".join(traceback.format_exception(error))
    except Exception:
        return told(error)


def add_note(error: BaseException, note: str) -> None:
    """Add to what `told` says; nothing happens to an exception that takes no notes."""
    try:
        BaseException.add_note(error, note)
    except TypeError:  # it has something else in the notes' place
        return


def place_of(error: BaseException, *, ours: bool = True) -> str | None:
    """FILE:LINE of the innermost line of a plugin that raised, or else, with `ours`, of a sampler of ours; or None."""
    if isinstance(error, SyntaxError) and error.filename is not None and _rank(Path(error.filename), "") > 1:
        return f"{_shown(error.filename)}:{error.lineno}"
    best, place = (1 if ours else 2), None
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        rank = _rank(Path(file), str(frame.f_globals.get("__name__")))
        if rank >= best:
            best, place = rank, f"{_shown(file)}:{line}"
    return place


def defined_at(made: Any) -> str:
    """FILE:LINE of a class or function; its module where its text cannot be found."""
    try:
        return f"{_shown(inspect.getsourcefile(made) or '?')}:{inspect.getsourcelines(made)[1]}"
    except Exception:  # of many kinds, as a file may have changed, or be none
        return str(getattr(made, "__module__", "?"))


def is_installed(path: Path) -> bool:
    """Whether a file is of the standard library or of an installed package."""
    return bool(_INSTALLED.intersection(path.parts)) or is_standard(path)


def is_standard(path: Path) -> bool:
    """Whether a file is of the standard library."""
    real = path.resolve()
    return not _INSTALLED.intersection(real.parts) and any(real.is_relative_to(folder) for folder in _LIBRARY)


def _rank(path: Path, module: str) -> int:
    """How much a line of a file says about who raised: 3 of a plugin's, 2 of an installed one's, 1 of a sampler of
    ours, 0 of a library's or of the harness.
    """
    if path.name.startswith("<"):  # no file
        return 0
    if any(path.is_relative_to(folder) for folder in _OURS):
        return 1 if path.parent == _ROOT / "samplers" and path.name not in _ASKING else 0
    if not is_installed(path):
        return 3
    return 2 if module.partition(".")[0] in packages else 0


def _shown(file: str) -> str:
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (OSError, ValueError):  # it lies elsewhere, or there is no working directory any more
        return file


def _line(text: str) -> str:
    """Without line breaks, and without halves of characters, which no file holds."""
    return " ".join(str.encode(text, "utf-8", "backslashreplace").decode().split())

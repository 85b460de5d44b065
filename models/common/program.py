"""How this program is called: what hints and messages tell people to type."""

import os
import shlex
import shutil
import sys
from pathlib import Path

_SCRIPT, _COMMAND = "run_bench.py", "sampler-bench"
"""Of a checkout, and of an installed package."""


def called(extra: str | None = None) -> str:
    """The program's name in a hint: `sampler-bench` where it is installed, `run_bench.py` in a checkout, after `uv run`
    where that has started it; with the extra that the hint needs and a checkout has to bring along.
    """
    if _is_installed():
        return " ".join((*_by_uv(), _COMMAND))
    return " ".join((*_by_uv(), _SCRIPT)) if extra is None else f"uv run --extra {extra} {_SCRIPT}"


def bring(extra: str) -> str:
    """How an extra is had that is not there."""
    return f"pip install '{_COMMAND}[{extra}]'" if _is_installed() else f"{called(extra)} ..."


def here(command: str) -> str:
    """A command that a card names, as this program is called."""
    return command.replace(f"uv run --extra train {_SCRIPT}", called("train"))


def again() -> str:
    """The command that was given, as a shell takes it, but for --force, which would begin again."""
    given = [each for each in sys.argv[1:] if each != "--force" and not each.startswith("--force=")]
    return shlex.join([*_started(), *given])


def typed(text: str) -> str:
    """An argument or the name of a file as it was typed, in characters.

    Python has it in parts of characters where the locale cannot read it; what is no UTF-8 becomes U+FFFD.
    """
    return os.fsencode(text).decode(errors="replace")


def _is_installed() -> bool:
    name = Path(sys.argv[0]).name
    return name == _COMMAND or (name != _SCRIPT and not (Path(__file__).parents[2] / _SCRIPT).is_file())


def _by_uv() -> list[str]:
    return ["uv", "run"] if "UV_RUN_RECURSION_DEPTH" in os.environ else []  # which `uv run` sets


def _started() -> list[str]:
    """What stands before the arguments."""
    script = sys.argv[0]
    by_uv = _by_uv()
    if Path(script).name == _SCRIPT:
        return [*(by_uv or sys.orig_argv[:1]), script]
    found = shutil.which(Path(script).name)  # a command is told its whole path, whoever found it
    return [*by_uv, Path(script).name if found is not None and Path(found).samefile(script) else script]

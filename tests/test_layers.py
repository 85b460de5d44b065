"""Imports go one way: `pyproject.toml` says which, and a new file has to have its place in it."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def test_no_import_goes_upwards() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

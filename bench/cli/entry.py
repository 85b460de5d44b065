"""Where the program begins: signals are taken and streams made ready before anything else is imported."""

import codecs
import gc
import io
import sys

from bench.cli.interrupt import finish, listen, tell

_PLAIN = {"±": "+-", "×": "x", "≤": "<=", "≥": ">=", "–": "-", "—": "-", "…": "...", "∞": "inf", "Δ": "d", "³": "^3"}  # noqa: RUF001
_PLAIN |= {"\u00a0": " ", "\u2011": "-", "↓": "v", "↑": "^", "▼": "v", "▲": "^", "†": "*", "‡": "**"}
"""Signs of our tables for a terminal or a file that cannot hold them."""


def main() -> None:
    """Run the command line and exit with its status."""
    listen()
    try:
        write_anywhere()
        from bench.cli.app import main as run

        run()
    except KeyboardInterrupt:  # between what either of them does
        sys.exit(tell())
    finally:
        finish()
        if "torch" not in sys.modules:  # whose bindings complain of what is left
            gc.freeze()  # all is given back at once: to look for garbage in it first took a tenth of a report's time


def write_anywhere() -> None:
    """Let everything be printed in any encoding: what that has no sign for is written in others."""
    codecs.register_error(__name__, _in_other_signs)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=__name__)


def _in_other_signs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, ascii(sign)[1:-1]) for sign in signs), error.end

"""Options of whole numbers take those and nothing else; whatever command has one is found by what it declares."""

import re
from collections.abc import Iterator

import pytest
from commands import Cli
from cyclopts import App

from bench.cli import app


def _integer_options(command: App, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every option of whole numbers of a command and of those below it, beside the command and what it has to have."""
    if command.default_command is not None:
        arguments = command.assemble_argument_collection()
        required = ["samplers" for argument in arguments if argument.required]
        for argument in arguments:
            if re.search(r"\bint\b", str(argument.hint)):
                yield (*path, *required), argument.name
    for name in command:
        if not name.startswith("-"):
            yield from _integer_options(command[name], (*path, name))


_INTEGERS = list(_integer_options(app.app))


def test_options_of_whole_numbers_are_found_in_all_commands() -> None:
    found = {(*command[:1], option) for command, option in _INTEGERS}
    some = [("run", "--evaluations"), ("reference", "--features"), ("train", "--grid-every"), ("tune", "--batches")]
    assert {*some, ("--images",), ("list", "--steps"), ("versus", "--repeats")} <= found
    assert len(_INTEGERS) > 30


@pytest.mark.parametrize(("command", "option"), _INTEGERS)
def test_no_option_of_whole_numbers_rounds(cli: Cli, command: tuple[str, ...], option: str) -> None:
    for given in ("50.000", "17.5", "1e3", "0x10", ""):
        said = cli(*command, f"{option}={given}", status=2).err
        assert f"{option}: {given!r}; expected" in said
        assert "whole number" in said

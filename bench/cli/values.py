"""Values as the command line takes them: whole numbers as they are written, or not at all, and paths with ~."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from cyclopts import CoercionError, Token, convert

from models.common.files import expanded


def exact(type_: Any, tokens: Sequence[Token]) -> Any:
    """The value of an option: cyclopts's own, but for paths, and for whole numbers, of which that rounds 17.5 to 18.

    Args:
        type_: of the option; lists of whole numbers are separated by commas, and a word may stand instead of a number.
        tokens: what was given.

    Raises:
        CoercionError: something else than a whole number was given for one.
    """
    inner = get_args(type_)
    if int not in (type_, *inner):
        return _at_home(convert(type_, tokens))
    several, words = get_origin(type_) in (list, tuple), [word for each in inner for word in get_args(each)]
    given = [part for token in tokens for part in (token.value.split(",") if several else [token.value])]
    try:
        found = [part if part in words else int(part) for part in given]
    except ValueError:
        wanted = "whole numbers separated by commas, such as 5,10,20" if several else "a whole number, such as 20"
        said = ",".join(token.value for token in tokens)
        raise CoercionError(msg=f"{said!r}; expected {', or '.join([wanted, *words])}", token=tokens[0]) from None
    return list(found) if several else found[0]


def _at_home(value: Any) -> Any:
    """Paths with the home folder in the place of ~, which shells leave in --option=~/path."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_at_home, value))
    return expanded(value) if isinstance(value, Path) else value

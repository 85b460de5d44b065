"""What samplers, grids, models, extractors, studies and runs may be called: one rule for all, as names go into file
names, tables, figures and command lines.
"""

import re
from typing import Any

from pydantic import AfterValidator

from models.common.errors import UsageError
from models.common.explain import shown

LONGEST = 40
RULE = f"up to {LONGEST} lower-case letters, digits, '+', '-' and '_', the first a letter or digit"
_NAME = re.compile(rf"[a-z0-9][a-z0-9+_-]{{0,{LONGEST - 1}}}")


def check_name(name: Any, kind: str) -> str:
    """The name itself; UsageError with the rule if nothing of that kind can be called so."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    article = "an" if kind[0] in "aeio" else "a"
    raise UsageError(f"{shown(name)} cannot name {article} {kind}; expected {RULE}, such as 'my-{kind}'")


def names_a(kind: str) -> AfterValidator:
    """What holds a text of a pydantic model to the rule."""
    return AfterValidator(lambda name: check_name(name, kind))


def as_name(text: str, kind: str) -> str:
    """What a thing of that kind is called after a folder or a repository: its name, as near as the rule allows."""
    if _NAME.fullmatch(text):
        return text
    kept = re.sub(r"[^a-z0-9+_]+", "-", text.lower()).strip("+_-")[:LONGEST].rstrip("+_-")
    return kept or f"my-{kind}"


def check_text(text: str) -> str:
    """The text itself, such as a path; ValueError if it is empty, padded, or holds what cannot be shown."""
    if not text.strip():
        raise ValueError("expected a text that says something")
    if text != text.strip() or not text.isprintable():
        raise ValueError("expected a text without blanks around it and without control characters")
    return text

"""What names a thing and its parameters, `name` or `name[parameter=value,...]`, taken apart."""

import json
from typing import Any

from models.common.errors import UsageError


def split_outside_brackets(text: str) -> list[str]:
    """Split at the commas that stand outside square brackets: 'a[x=1,y=2],b' gives ['a[x=1,y=2]', 'b']."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if depth < 0:
            break
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth != 0:
        raise UsageError(f"unbalanced square brackets in {text!r}; expected name[parameter=value,...]")
    return [part.strip() for part in parts]


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Take 'name[a=1,b=word]' apart into its name and parameters; a value is JSON, or else a bare word."""
    name, bracket, rest = spec.strip().partition("[")
    if bracket and not rest.endswith("]"):
        raise UsageError(f"cannot read {spec!r}; expected name or name[parameter=value,...]")
    parameters: dict[str, Any] = {}
    for item in split_outside_brackets(rest[:-1]) if rest[:-1].strip() else []:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not (key and equals and value) or key in parameters:
            raise UsageError(f"cannot read {item!r} in {spec!r}; expected parameter=value, each parameter once")
        parameters[key] = _value(value)
    return name.strip(), parameters


def _value(text: str) -> Any:
    """JSON, or else a bare word."""

    def refuse(constant: str) -> float:
        wanted = "a finite number, or the word inf for no limit"
        raise UsageError(f"{constant} is no value for a parameter; expected {wanted}")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError:
        return text
    except UsageError:
        raise
    except (ValueError, RecursionError) as error:  # of thousands of digits, or nested too deeply
        raise UsageError(f"cannot read a value of {len(text):,} characters: {error}") from None

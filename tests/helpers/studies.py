"""Studies that take seconds, as the TOML that somebody would write."""

import json
from collections.abc import Sequence
from typing import Any


def study_toml(
    samplers: Sequence[str] = ("ddim",),
    steps: Sequence[int] = (2,),
    baseline: str = "ddim",
    baseline_steps: int | None = None,
    **more: Any,
) -> str:
    """Samplers on the trailing grid beside a baseline at the most of their steps: of the digits' mixture and its law.

    What is given besides stands at the top of the file: 16 images, in one batch, timed once, unless it says otherwise.
    """
    top: dict[str, Any] = {"name": "test", "title": "Test", "model": "digits-mixture", "metrics": ["law"]}
    top |= {"images": 16, "batch": 16, "device": "cpu", "timing": {"repeats": 1, "seconds": 0.0}} | more
    top["baseline"] = {"sampler": baseline, "grid": "trailing", "steps": baseline_steps or max(steps)}
    block = {"samplers": list(samplers), "grids": ["trailing"], "steps": list(steps)}
    return "\n".join([*_lines(top), "[[block]]", *_lines(block), ""])


def _lines(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Any) -> str:
    return f"{{ {', '.join(_lines(value))} }}" if isinstance(value, dict) else json.dumps(value)

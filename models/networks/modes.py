"""How a network is executed: its precision, its memory format, whether it is compiled and whether calls are captured.

A mode is written as its parts joined by "+", such as `fp32`, `bf16+compile` or `fp16+channels_last+compile+graph`. The
sampler's state and coefficients are float32 and float64 in every mode: only what goes through the network changes.
"""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from models.common.errors import UsageError

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class Mode:
    """An execution mode.

    Attributes:
        precision: of the network: IEEE float32, TensorFloat-32 (float32 with products of 10 bits of mantissa, CUDA
            only), or all of it cast to bfloat16 or float16.
        channels_last: whether its weights and input lie in memory with channels innermost.
        compile: whether torch.compile has compiled it.
        graph: whether a complete `sample` call is captured in a CUDA graph and replayed.
    """

    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False
    graph: bool = False

    def __str__(self) -> str:
        return "+".join([self.precision, *(name for name in _FLAGS if getattr(self, name))])

    @property
    def casts(self) -> bool:
        """Whether the network's weights and input are cast to a type of 16 bits."""
        return self.precision in ("bf16", "fp16")

    @property
    def fixed_batch(self) -> bool:
        """Whether every batch size costs a compilation or a capture of its own."""
        return self.compile or self.graph


_FLAGS = tuple(field.name for field in fields(Mode) if field.name != "precision")


def parse_mode(text: str) -> Mode:
    """A mode from its parts in any order, fp32 unless another precision is among them; UsageError for other words."""
    parts = [part.strip() for part in text.split("+")]
    precisions = [part for part in PRECISIONS if part in parts]
    wrong = [part for part in parts if part not in (*PRECISIONS, *_FLAGS)]
    if wrong or len(precisions) > 1 or len(set(parts)) < len(parts):
        raise UsageError(
            f"cannot read the execution mode {text!r}; expected at most one of {', '.join(PRECISIONS)} and any of "
            f"{', '.join(_FLAGS)}, each once, joined by '+', such as bf16+channels_last+compile"
        )
    return Mode(precisions[0] if precisions else "fp32", **{name: True for name in _FLAGS if name in parts})

"""A graph on the CPU: every operation on tensors is written down once and done again on the same memory.

It is to a CPU what a CUDA graph is to a GPU, so that the mechanism can be tested without one: Python does not run
again, so that whatever a sampler decides or draws in Python is decided and drawn once and for all.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from bench.noise.philox import philox


class _Writer(TorchDispatchMode):
    """Writes down the operations that run under it."""

    def __init__(self, tape: list[tuple[Any, Any, Any, list[Tensor]]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tape = tape

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._tape.append((func, args, kwargs or {}, [x for x in tree_flatten(result)[0] if isinstance(x, Tensor)]))
        return result


def _latest(now: dict[int, Tensor], written: Tensor) -> Tensor:
    return now.get(id(written), written)


class Tape:
    """A `bench.timing.capture.Graph` of operations on the CPU."""

    def __init__(self) -> None:
        self._tape: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self._inputs: list[Tensor] = []
        self._output = torch.empty(0)
        self.replays = 0

    def capture(self, call: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
        self._inputs = list(inputs)
        with _Writer(self._tape):
            self._result = call(*inputs)
        self._output = self._result.clone()
        return self._output

    def replay(self) -> None:
        """Each operation again, on what those before it gave this time."""
        self.replays += 1
        now: dict[int, Tensor] = {}
        for func, args, kwargs, results in self._tape:
            args, kwargs = tree_map_only(Tensor, partial(_latest, now), (args, kwargs))
            found = [x for x in tree_flatten(func(*args, **kwargs))[0] if isinstance(x, Tensor)]
            now |= {id(old): new for old, new in zip(results, found, strict=True)}
        self._output.copy_(now.get(id(self._result), self._result))


@contextmanager
def noise_of_tensors() -> Iterator[None]:
    """Inside, noise on the CPU is made by operations on tensors, which a tape sees, instead of by numpy."""
    with patch("bench.noise.stream._words", _words_of_tensors):
        yield


def _words_of_tensors(seed: int, images: Tensor, draws: range, blocks: int) -> Sequence[Tensor]:
    block, draw = torch.arange(blocks)[None, None], torch.arange(draws.start, draws.stop)[:, None, None]
    return philox((block, images[:, None], draw, torch.zeros_like(draw)), (seed, 0))

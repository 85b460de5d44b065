"""What a sampler keeps in itself from one call to the next: its images then depend on what ran before."""

from collections import deque
from operator import is_

import torch
from torch import Tensor

from bench.purity.aspect import Change


class KeptSampler:
    """A sampler's own attributes, as they are when this is made.

    New ones and tables are not looked at: results of what depends on nothing else are kept there, as by a
    `cached_property`.

    Args:
        sampler: whose.
    """

    def __init__(self, sampler: object) -> None:
        self._own: dict[str, object] = getattr(sampler, "__dict__", {})
        self._before = [_Kept(name, value) for name, value in self._own.items()]

    def put_back(self) -> list[Change]:
        """Make them as they were; what was not."""
        changed = [kept for kept in self._before if not kept.is_in(self._own)]
        for kept in changed:
            kept.restore(self._own)
        return [Change("process", f"its own {', '.join(kept.name for kept in changed)}")] if changed else []


class _Kept:
    """An attribute, with what of it can change without its being another object."""

    def __init__(self, name: str, value: object) -> None:
        self.name, self._value = name, value
        self._numbers = value.clone() if isinstance(value, Tensor) else None
        self._items = list[object](value) if isinstance(value, list | deque) else None

    def is_in(self, own: dict[str, object]) -> bool:
        now = own.get(self.name)
        if isinstance(now, Tensor) and self._numbers is not None:
            return now is self._value and torch.equal(now, self._numbers)
        if isinstance(now, list | deque) and self._items is not None:
            return now is self._value and len(now) == len(self._items) and all(map(is_, now, self._items))
        return now is self._value or (type(now) is type(self._value) and now == self._value)

    def restore(self, own: dict[str, object]) -> None:
        own[self.name] = self._value
        if isinstance(self._value, Tensor) and self._numbers is not None:
            self._value.copy_(self._numbers)
        elif isinstance(self._value, list | deque) and self._items is not None:
            self._value.clear()
            self._value.extend(self._items)

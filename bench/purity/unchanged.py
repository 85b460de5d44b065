"""Looks at what samplers share before they run, puts it back after, and names the one that changed it.

Once this is imported, that holds for the import of installed plugins too (`models.plugins.installed.around`).
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import Protocol

import torch
from torch import Tensor

from bench.purity.aspect import Aspect, Change
from bench.purity.definitions import KeptNames
from bench.purity.process import PROCESS, RANDOM, reseed
from bench.purity.torch_settings import AUTOGRAD, TORCH
from models.plugins import installed
from models.plugins.foreign import add_note
from models.schedule import Level

__all__ = ["TORCH", "Impure", "Kept", "KeptNames", "ProcessState", "other_random_states", "put_back", "unchanged"]

ASPECTS: Sequence[Aspect] = (*TORCH, *AUTOGRAD, *RANDOM, *PROCESS)
_DECIDE = {"the number of threads", "the precision of float32"}
_DECIDE |= {f"torch.backends.{each}" for each in ("mkldnn.enabled", "cudnn.enabled", "cudnn.benchmark")}
_DECIDING = (
    Aspect(
        "autocast",
        "autograd",
        lambda: [each for each in ("cpu", "cuda") if torch.is_autocast_enabled(each)],
        lambda _: None,
    ),
    *(aspect for aspect in TORCH if aspect.name in _DECIDE),
)
"""What decides on the precision and the speed of a network; read only."""
_seeds = count(0x5EED_0001, 7919)  # a sampler that seeds takes small ones


class Impure(RuntimeError):
    """A sampler changed what others depend on; the message says which one, and what from what to what."""


class Kept(Protocol):
    """Something that was looked at before a call."""

    def put_back(self) -> Sequence[Change]:
        """Make everything as it was; what was not."""


class ProcessState:
    """Aspects of the process and of torch, as they are when this is made; which takes less than a millisecond.

    All is told of what changes during an import (`importing`).
    """

    def __init__(self, aspects: Sequence[Aspect] = ASPECTS, *, importing: bool = False) -> None:
        self._importing, self._loaded = importing, len(sys.modules)
        self._before = [(aspect, aspect.read()) for aspect in aspects]

    def put_back(self) -> list[Change]:
        """Make everything as it was; what was not."""
        changes, imported = [], len(sys.modules) > self._loaded and not self._importing
        for aspect, before in self._before:
            after = aspect.read()
            if after == before:
                continue
            words, undone = aspect.name + aspect.told(before, after), True
            try:
                aspect.write(before)
            except Exception as error:  # some things torch sets once only; a folder may be gone
                words, undone = f"{words} (which cannot be put back: {error})", False
            if aspect.accuses and not (aspect.by_import and imported):
                changes.append(Change(aspect.kind, words, undone))
        return changes


@contextmanager
def unchanged(sampler: str, *kept: Kept) -> Iterator[None]:
    """Put back what a sampler changes inside of what was looked at before, and raise Impure if it did.

    An exception of its own goes through instead, with a note of what it changed.
    """
    try:
        yield
    except BaseException as error:  # whatever a stranger's sampler raises, and what interrupts it
        if said := _said(kept):
            add_note(error, f"{sampler} changed {said}")
        raise
    if said := _said(kept):
        raise Impure(f"{sampler} changed {said}: a sampler has to leave it as it was")


@contextmanager
def put_back(who: str) -> Iterator[None]:
    """Put back what is changed inside by something that has no cell to fail, and tell on stderr who changed it."""
    kept: Sequence[Kept] = (ProcessState(importing=True), KeptNames())
    try:
        yield
    finally:
        for change in _put_back(kept):
            _tell(f"note: {who} changed {change.words}{'; it was put back' if change.undone else ''}")


installed.around = put_back


@cache
def _tell(line: str) -> None:
    """Once in a process: a study is planned several times."""
    print(line, file=sys.stderr)


def _put_back(kept: Sequence[Kept]) -> list[Change]:
    return [change for each in kept for change in each.put_back()]


def _said(kept: Sequence[Kept]) -> str:
    """What was changed, and put back now; empty if nothing was."""
    changes = _put_back(kept)
    words = ", and ".join(change.words for change in changes)
    return f"{words}; it was put back" if changes and all(change.undone for change in changes) else words


@contextmanager
def other_random_states() -> Iterator[None]:
    """Give the global generators of random numbers states inside that no earlier call has left; put them back after."""
    before = [(aspect, aspect.read()) for aspect in RANDOM]
    reseed(next(_seeds))
    try:
        yield
    finally:
        for aspect, state in before:
            aspect.write(state)


def steady(network: Callable[..., Tensor], sampler: str) -> Callable[..., Tensor]:
    """The network, which raises Impure where a sampler has changed what decides on its precision or its speed since.

    `unchanged` sees only what is left so after the call; what is changed for its time would be in a row of the mode
    that the network was meant to run in.
    """
    before = [(aspect, aspect.read()) for aspect in _DECIDING]

    def evaluate(x: Tensor, at: Level, *labels: Tensor) -> Tensor:
        for aspect, value in before:
            if (now := aspect.read()) != value:
                raise Impure(
                    f"{sampler} evaluates the network with {aspect.name} changed{aspect.told(value, now)}: how it is "
                    "executed is said by the mode, and for all samplers alike"
                )
        return network(x, at, *labels)

    return evaluate

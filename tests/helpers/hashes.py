"""Hashes of code as another process would find them."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.running import closure, code_hash
from bench.running.code_hash import code_sha256, sampler_sha256
from samplers import Sampler


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The path of modules, which plugins change, and the files that were read."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    forget()


def forget() -> None:
    """As in another process, which has read no file yet."""
    for each in (sampler_sha256, code_sha256, code_hash._code_sha256, closure._read):
        each.cache_clear()


def later(cls: type[Sampler], *given: str) -> str:
    """The hash of a sampler, with texts among its parameters, as another process would find it."""
    forget()
    return sampler_sha256(cls, given)


def changed(path: Path, hashed: Callable[[], object]) -> bool:
    """Whether a hash is another one once a file is, as another process would find it."""
    forget()
    before = hashed()
    path.write_text(path.read_text() + " ")
    forget()
    return hashed() != before

"""Hashes of code as another process would find them."""

import sys
from collections.abc import Iterator

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

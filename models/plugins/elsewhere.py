"""What registered things are called in other programs, as a registry asks for it."""

from collections.abc import Iterable
from typing import Protocol


class Named(Protocol):
    """A name elsewhere: what it is here, and that in words."""

    @property
    def ours(self) -> str: ...

    @property
    def says(self) -> str: ...


class Elsewhere(Protocol):
    """The names of others for the things of a registry."""

    def find(self, spec: str) -> Named | None:
        """What a specification in the words of others stands for; None: nothing; UsageError: several things."""

    def close(self, name: str, ours: Iterable[str]) -> str | None:
        """The name of others that was probably meant by one, with what it is here; None if none is nearer than ours."""

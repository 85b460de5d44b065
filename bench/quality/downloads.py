"""Downloads that end: the libraries that download data and weights would wait for ever for a server that is silent."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 30.0
"""Seconds in which a server has to answer, and to go on."""


@contextmanager
def patient() -> Iterator[None]:
    """Give every connection that is opened without a limit of its own, as urllib's are, this one."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def reason(error: Exception, url: str) -> str:
    """Why a download failed; of a server that was silent the libraries say no more than that time is out."""
    cause = getattr(error, "reason", error)  # urllib's errors have the system's as their reason
    if isinstance(cause, TimeoutError):
        return f"{url} was asked for and did not come within {PATIENCE_S:g} s"
    return str(error)

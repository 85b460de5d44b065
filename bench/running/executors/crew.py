"""Workers of a run: the places where they work, how they end, and a thread for each that waits for it."""

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from bench.progress import warn
from models.common.errors import UsageError

if TYPE_CHECKING:
    from bench.running.executors.messages import About, Order

Result = TypeVar("Result")

MOST_LOSSES = 20
"""Machines that may be lost under a cell: a cell that takes each with it is not to go on for ever."""

_PATIENCE_S = 60.0
"""Seconds without a worker after which it is said what is waited for; others go on without those that are missing."""
_MOST_FAILURES = 3
"""Workers that may end one after another while they are started."""
_AGAIN_S = 0.2
"""Seconds after which what is started while all are ended is ended too."""
_LOOKS_S = 0.5
"""Seconds of a wait after which Python looks whether a signal came. One that comes just before a wait, or is taken by a
thread of a library, does not end that wait."""


class Died(Exception):
    """What a worker did has ended its process.

    Args:
        how: it ended, in words.
        trace: where it was; None: nothing is known.
    """

    def __init__(self, how: str, trace: str | None = None) -> None:
        super().__init__(how)
        self.how, self.trace = how, trace


class TookTooLong(Died):
    """It was ended because it took longer than it may."""


class Lost(Exception):
    """The machine of a worker is gone, which is nothing that its work has done."""


def waited(futures: "Collection[Future[Any]]", timeout: float = math.inf) -> "set[Future[Any]]":
    """Those that are done, once one is or so many seconds are over; an interrupt ends it within a moment."""
    until = time.monotonic() + timeout
    while futures:
        left = max(0.0, min(_LOOKS_S, until - time.monotonic()))
        if (found := wait(futures, timeout=left, return_when=FIRST_COMPLETED).done) or time.monotonic() >= until:
            return found
    return set()


class Slot(Protocol):
    """A place for a worker: a device."""

    @property
    def name(self) -> str:
        """Of the machine and the device, for people."""

    @property
    def is_up(self) -> bool:
        """Whether a worker is there."""

    def start(self, order: "Order") -> None:
        """Start a worker, if none is there, and wait until it is ready: for a machine, where there is none yet.

        Raises:
            Died, Lost: it did not come up.
            UsageError: something is missing there, or damaged.
        """

    def call(self, function: Callable[..., Result], /, *arguments: Any, timeout: float | None = None) -> Result:
        """What a method of the worker gives; this waits for it, so many seconds if they are given.

        Raises:
            Died, TookTooLong, Lost: there is no result, and no worker any more.
        """

    def end(self) -> None:
        """End its worker, whatever that does."""


class Crew:
    """Workers, and a thread for each that waits for it. One that comes late, or again, joins the others.

    Args:
        slots: of the workers, at least one.
        order: what they work on.
        attempts: at a cell that ends their process.
        timeout: seconds that a cell may take, and a round of timing; None: any.
        most: images of a piece of work at the most; None: as many as a cell has.
        closing: what is to be done when all workers have ended.

    Attributes:
        about: what the first worker says of itself, once they are started.
    """

    about: "About"

    def __init__(
        self,
        slots: Sequence[Slot],
        order: "Order",
        attempts: int = 1,
        timeout: float | None = None,
        most: int | None = None,
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        self.slots, self.order, self.attempts, self.timeout, self.most = list(slots), order, attempts, timeout, most
        self._closing = closing
        self._threads, self._given = ThreadPoolExecutor(len(slots), "worker"), set[Future[Any]]()
        self._free, self._down = list[Slot](), list(slots)
        self._coming, self._failures, self._kinds = dict[Future[Any], Slot](), 0, Counter[str]()

    def start(self) -> None:
        """Start them all; the first alone where it has to find out the batch, which the others are told.

        Raises:
            UsageError: they are of several kinds, or cannot work.
        """
        if self.order.batch is None:
            others, self._down = self._down[1:], self._down[:1]
            self.leave(self.take())
            self.order, self._down = self.order._replace(batch=self.about.batch), [*self._down, *others]
        self.call_up()
        while self._coming and (self._came() or not self._free):
            self.call_up()

    def call_up(self) -> None:
        """Start those that are not there; what has come of it is seen by `done`."""
        for slot in self._down:
            self._coming[self.submit(lambda slot=slot: self._started(slot))] = slot  # type: ignore[misc]
        self._down = []

    def free(self) -> Slot | None:
        """One that has nothing to do, which is the caller's until it is left; None: there is none."""
        return self._free.pop(0) if self._free else None

    def take(self) -> Slot:
        """The first that has nothing to do; this waits until there is one."""
        while not self._free:
            self.call_up()
            self._came()
        self._free.sort(key=self.slots.index)
        return self._free.pop(0)

    def leave(self, slot: Slot) -> None:
        """What was taken has nothing to do any more, or is not there."""
        (self._free if slot.is_up else self._down).append(slot)

    def done(self, given: Collection["Future[Result]"]) -> "set[Future[Result]]":
        """What is done of what was given; this waits for it, or for a worker that was called up.

        Raises:
            UsageError: one that came is of another kind, or cannot work.
        """
        self._came(given)
        return {future for future in given if future.done()}

    def _came(self, given: Collection["Future[Any]"] = ()) -> bool:
        """Wait for workers that are coming, or what was given; whether something has happened."""
        found = waited([*given, *self._coming], _PATIENCE_S)
        for future in [each for each in self._coming if each in found]:
            self._arrived(self._coming.pop(future), future)
        if not found and not given:
            there = "none is ready yet" if not self._free else f"{len(self._coming)} of {len(self.slots)} are missing"
            warn(f"waiting for workers: {there}; machines are missing, or busy, or load what is worked on")
        return bool(found)

    def _started(self, slot: Slot) -> "About":
        """Start a worker; what it says of itself."""
        from bench.running.executors.worker import Worker

        try:
            slot.start(self.order)
            return slot.call(Worker.about)
        except Lost:
            time.sleep(_AGAIN_S)  # before that is tried again
            raise

    def _arrived(self, slot: Slot, started: "Future[About]") -> None:
        try:
            about = started.result()
        except Lost:
            self._down.append(slot)
            return
        except Died as death:
            self._failures += 1
            if self._failures >= _MOST_FAILURES:
                raise UsageError(f"a worker {death.how} while it was started\n{death.trace or ''}".rstrip()) from None
            self._down.append(slot)
            return
        self._failures = 0
        self.about = self.about if self._kinds else about
        self._kinds[str(about.environment["device_name"])] += 1
        if len(self._kinds) > 1:
            told = ", ".join(f"{count} x {kind}" for kind, count in self._kinds.items())
            raise UsageError(
                f"workers on several kinds of devices: {told}. Times and the last digits of images depend on the kind: "
                "name devices of one kind (of a Ray cluster with --accelerator), and run a part of the study on the "
                "others, with --part"
            )
        self._free.append(slot)

    def do(
        self, slot: Slot, function: Callable[..., Result], *arguments: Any, timeout: float | None = None
    ) -> "Future[Result]":
        """What a worker that was taken gives, when it has done it, in so many seconds if they are given."""
        return self.submit(lambda: slot.call(function, *arguments, timeout=timeout))

    def submit(self, work: Callable[[], Result]) -> "Future[Result]":
        """What comes of something that waits for a worker, in a thread."""
        future = self._threads.submit(work)
        self._given.add(future)
        future.add_done_callback(self._given.discard)
        return future

    def close(self) -> None:
        """End all workers at once, those too that are being started meanwhile."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while True:
            with ThreadPoolExecutor(len(self.slots)) as threads:
                wait([threads.submit(slot.end) for slot in self.slots])
            if not wait([*self._given], timeout=_AGAIN_S).not_done:
                break
        self._closing()

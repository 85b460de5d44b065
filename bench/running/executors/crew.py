"""Workers of a run: the places where they work, how they end, and a thread for each that waits for it."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from models.common.errors import UsageError

if TYPE_CHECKING:
    from bench.running.executors.worker import About, Order

Result = TypeVar("Result")

MOST_LOSSES = 20
"""Machines that may be lost under a cell: a cell that takes each with it is not to go on for ever."""

_AGAIN_S = 0.2
"""Seconds after which what is started while all are ended is ended too."""


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


class Slot(Protocol):
    """A place for a worker: a device."""

    @property
    def name(self) -> str:
        """Of the machine and the device, for people."""

    def start(self, order: "Order") -> None:
        """Start a worker, if none is there, and wait until it is ready.

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
    """Workers, and a thread for each that waits for it.

    Args:
        slots: of the workers, at least one.
        order: what they work on.
        attempts: at a cell that ends their process.
        timeout: seconds that a cell may take, and a round of timing; None: any.
        most: images of a piece of work at the most; None: as many as a cell has.
        closing: what is to be done when all workers have ended.
    """

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
        self._threads = ThreadPoolExecutor(len(slots), "worker")
        self._given = set[Future[Any]]()
        self._closing = closing

    def start(self) -> None:
        """Start them all; the first alone where it has to find out the batch, which the others are told.

        Raises:
            UsageError: they are of several kinds, or cannot work.
        """
        try:
            self.about = self._started()
        except Died as death:
            raise UsageError(f"a worker {death.how} while it was started\n{death.trace or ''}".rstrip()) from None

    def _started(self) -> "About":
        """Start them; what they say of themselves."""
        from bench.running.executors.worker import Worker

        first = []
        if self.order.batch is None:
            first = [self.do(self.slots[0], Worker.about).result()]
            self.order = self.order._replace(batch=first[0].batch)
        others = [self.do(slot, Worker.about) for slot in self.slots[len(first) :]]
        abouts = [*first, *(each.result() for each in others)]
        kinds = Counter(str(about.environment["device_name"]) for about in abouts)
        if len(kinds) > 1:
            told = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
            raise UsageError(
                f"workers on several kinds of devices: {told}. Times and the last digits of images depend on the kind: "
                "name devices of one kind (of a Ray cluster with --accelerator), and run a part of the study on the "
                "others, with --part"
            )
        return abouts[0]

    def do(
        self, slot: Slot, function: Callable[..., Result], *arguments: Any, timeout: float | None = None
    ) -> "Future[Result]":
        """What a worker gives, when it has done it; it is started first, if there is none."""

        def done() -> Result:
            slot.start(self.order)
            return slot.call(function, *arguments, timeout=timeout)

        return self.submit(done)

    def submit(self, work: "Callable[[], Result]") -> "Future[Result]":
        """What comes of something that waits for a worker, in a thread."""
        future = self._threads.submit(work)
        self._given.add(future)
        future.add_done_callback(self._given.discard)
        return future

    def close(self) -> None:
        """End all workers, those too that are being started meanwhile."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        while True:
            for slot in self.slots:
                slot.end()
            if not wait([*self._given], timeout=_AGAIN_S).not_done:
                break
        self._closing()

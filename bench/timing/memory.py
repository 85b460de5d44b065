"""Batches and memory: how running out of it is told, the batch that is halved until it fits, and the fastest one."""

import errno
from _thread import start_new_thread
from collections.abc import Callable
from concurrent.futures import Future
from threading import Event
from typing import TypeVar

import torch

from models.plugins.foreign import words

_SAID = (
    "DefaultCPUAllocator: ",
    "std::bad_alloc",
    "could not create a memory",  # oneDNN's words, as those below
    "could not execute a primitive",
    "CUDA error: out of memory",
    "Triton Error [CUDA]: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DEVICE_ALLOCATION_FAILED",  # the end of cuDNN 9's name
    # torch tries cuDNN's ways to convolve in turn, and leaves out each whose workspace does not fit
    "unable to find an engine to execute this computation",
)
"""What stands in the plain RuntimeErrors of those who take memory past torch's allocator for GPUs."""
_NO_CODE = "could not create a primitive"
"""What oneDNN says where there is no memory for a shape's code; and, in the same thread, for every new shape after."""

_BEGINS_WITHIN = 30.0
"""Seconds after which a thread that was started has died before its first line."""

_DEEP = 8
"""Errors that may each have been raised from the next."""

_FIRST = 16
_GAIN = 0.97
"""A batch twice as large has to take at most this part of the time an image, or it is not worth its memory."""

Result = TypeVar("Result")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that memory did not suffice, by its class or its words, or was raised from one that does.

    Whatever compiles a network, or asks a plugin, raises an error of its own from that of what it calls.
    """
    for _ in range(_DEEP):
        if error is None:
            return False
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        told = words(error)
        if any(said in told for said in (*_SAID, _NO_CODE)):
            return True
        error = error.__cause__
    return False


def release_cache() -> None:
    """Give memory that torch keeps for later back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Halving:
    """How many images are worked on at a time: `size`, halved for good where they do not fit, so many `halvings`.

    `release` gives back what is kept for batches of a size that does not fit; `lighten`, asked before, may have batches
    of the same size take less memory from now on, and says whether it has.
    """

    def __init__(
        self, size: int, release: Callable[[], None] = lambda: None, lighten: Callable[[], bool] = lambda: False
    ) -> None:
        self._first, self._release, self._lighten = size, release, lighten
        self.size, self.halvings = size, 0

    def __call__(self, attempt: Callable[[int], Result]) -> Result:
        """What `attempt` gives for the first size that fits; it raises all but a lack of memory for several images."""
        while True:
            try:
                return attempt(self.size)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                lightened = self._lighten()
                if self.size == 1 and not lightened:
                    raise
                lost = _NO_CODE in words(error)
            self._release()  # out here, where nothing holds what filled the memory any more
            release_cache()
            if not lightened:
                self.size, self.halvings = (self.size + 1) // 2, self.halvings + 1
            attempt = _in_another_thread(attempt) if lost else attempt

    def remarks(self, done: str) -> list[str]:
        """What whoever reads the row must know of what was done ("images were made"); nothing if all fitted."""
        fits = f"{done} {self.size:,} at a time: {self._first:,} did not fit into the memory"
        return [fits] if self.halvings else []


def _in_another_thread(attempt: Callable[[int], Result]) -> Callable[[int], Result]:
    """The same in a new thread each time, with this one's inference mode; of networks on a CPU."""
    inference = torch.is_inference_mode_enabled()

    def call(size: int) -> Result:
        with torch.inference_mode(inference):
            return attempt(size)

    def elsewhere(size: int) -> Result:
        begun, made = Event(), Future[Result]()

        def work() -> None:
            begun.set()
            try:
                made.set_result(call(size))
            except BaseException as error:
                made.set_exception(error)

        # not a Thread, whose start waits for ever where the new one dies for want of memory before it has begun
        start_new_thread(work, ())
        if not begun.wait(_BEGINS_WITHIN):
            raise MemoryError("there was none for another thread")
        return made.result()

    return elsewhere


def fastest_batch(seconds_an_image: Callable[[int], float], images: int) -> int:
    """The batch at which a device evaluates fastest: a power of two, or all images where they are fewer.

    Doubled from 16 on as long as the next one is at least 3 % faster, or the one after it; a batch that does not fit
    into the memory ends the search.
    """
    best, fastest, size = min(_FIRST, images), float("inf"), min(_FIRST, images)
    while size <= min(images, 4 * best):
        try:
            seconds: float | None = seconds_an_image(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            seconds = None
        if seconds is None:
            release_cache()  # out here, where nothing holds what filled the memory any more
            break
        if seconds < _GAIN * fastest:
            best, fastest = size, seconds
        size *= 2
    return best

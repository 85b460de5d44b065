"""The batch at which a device evaluates fastest, found by trying."""

from collections.abc import Callable

from bench.timing.memory import is_out_of_memory, release_cache

_FIRST = 16
_GAIN = 0.97
"""A batch twice as large has to take at most this part of the time an image, or it is not worth its memory."""


def fastest_batch(seconds_an_image: Callable[[int], float], images: int) -> int:
    """A power of two, or all images where they are fewer.

    Doubled from 16 on as long as the next one is at least 3 % faster, or the one after it; a batch that does not fit
    into the memory ends the search.

    Args:
        seconds_an_image: measures a batch of so many images.
        images: that are generated in all.
    """
    best, fastest, size = min(_FIRST, images), float("inf"), min(_FIRST, images)
    while size <= min(images, 4 * best):
        seconds = _measured(seconds_an_image, size)
        if seconds is None:
            break
        if seconds < _GAIN * fastest:
            best, fastest = size, seconds
        size *= 2
    return best


def _measured(seconds_an_image: Callable[[int], float], size: int) -> float | None:
    """None where the batch does not fit into the memory."""
    try:
        return seconds_an_image(size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    release_cache()
    return None

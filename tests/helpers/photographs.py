"""Pictures of noise, photographs to train on, of two classes that are easy to tell apart, and progress that nobody
looks at."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from bench.training.loop import Report, Reporter

_DRAWS = np.random.default_rng(0)


class Killed(Exception):
    """What ends a training in the middle."""


@contextmanager
def silent(stage: str, steps: int) -> Iterator[Report]:
    """A reporter that says nothing."""
    yield lambda step, loss: None


def killing(at: int, named: str) -> Reporter:
    """A reporter that ends the stage of a name at a step."""

    @contextmanager
    def reporter(stage: str, steps: int) -> Iterator[Report]:
        def report(step: int, loss: float) -> None:
            if (stage, step) == (named, at):
                raise Killed

        yield report

    return reporter


def write_photographs(folder: Path, size: int, **counts: int) -> Path:
    """Noisy images of `size` x `size` pixels: so many dark and bright ones in each subfolder that is named."""
    draws = np.random.default_rng(0)
    for split, count in counts.items():
        for name, level in (("dark", 60), ("bright", 190)):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(draws.normal(level, 30, (size, size, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number:03d}.png")
    return folder


def picture(size: int = 6, channels: int = 3) -> Image.Image:
    """Another square of noise at each call."""
    shape = (size, size, channels) if channels > 1 else (size, size)
    return Image.fromarray(_DRAWS.integers(0, 256, shape, dtype=np.uint8))


def write_picture(path: Path, size: int = 6, channels: int = 3) -> None:
    """Write such a square, in a folder that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(size, channels).save(path, "JPEG" if path.suffix in (".jfif", ".jpe") else None)

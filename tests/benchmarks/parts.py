"""What parts of a cell cost that pass between processes: of 50,000 images with 2,048 features, as Inception has them.

    python tests/benchmarks/parts.py [--images 50000] [--each 1600,12800]

prints, for parts of so many images each, the bytes of one, the seconds of packing and unpacking it, and those of
joining all parts of a cell, and what scoring it then takes (`fd` and `kid`). The features are random numbers.
"""

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from memory import CLASSES, FEATURES, RandomFeatures, reference

from bench.quality.extractor import Extractor
from bench.quality.metrics import Quality
from bench.running.part import Packed, Part, joined, packed, unpacked

METRICS = ("fd", "kid")

Given = TypeVar("Given")
Result = TypeVar("Result")


def main() -> None:
    """Measure, and print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--each", default="1600,12800")
    options = parser.parse_args()
    module = RandomFeatures()
    extractor = Extractor(
        *("random", module, "", "random", False, "features", "logits", None, FEATURES, torch.float32, 64),
        classes=CLASSES,
    )
    quality = Quality(extractor, reference(module, options.images, True), METRICS)
    for each in map(int, options.each.split(",")):
        starts = range(0, options.images, each)
        parts = [_part(module, start, min(each, options.images - start)) for start in starts]
        sent, pack_s = _timed(_all_packed, parts)
        came, unpack_s = _timed(_all_unpacked, sent)
        whole, join_s = _timed(joined, came)
        _, score_s = _timed(quality, whole.score)
        print(
            f"{len(parts)} parts of {each:,} images: {len(sent[0].tensors) / 1e6:.1f} MB each, packed in "
            f"{1e3 * pack_s / len(parts):.1f} ms, unpacked in {1e3 * unpack_s / len(parts):.1f} ms; all joined in "
            f"{join_s:.2f} s, scored in {score_s:.1f} s; at most {_peak_mib():,.0f} MiB so far",
            flush=True,
        )


def _part(module: RandomFeatures, first: int, images: int) -> Part:
    """A part with what `METRICS` are taken of, and a preview."""
    preview = torch.zeros(10, 3, 32, 32, dtype=torch.uint8) if first == 0 else None
    score = {"features": module.features(images)}
    return Part(first, images, images, images, images, score=score, preview=preview)


def _all_packed(parts: Sequence[Part]) -> list[Packed]:
    return list(map(packed, parts))


def _all_unpacked(parts: Sequence[Packed]) -> list[Part]:
    return list(map(unpacked, parts))


def _timed(work: Callable[[Given], Result], given: Given) -> tuple[Result, float]:
    start = time.perf_counter()
    result = work(given)
    return result, time.perf_counter() - start


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()

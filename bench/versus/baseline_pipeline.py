"""What people do today: diffusers' pipeline, PNG files, and torch-fidelity on the folder, with the extractor of ours.

Everything that could be spared is: the network is loaded, the statistics of the real images lie in torch-fidelity's
cache, its function is called in this process, and it reads the files with or without worker processes, whichever is
faster here.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch_fidelity
from torch import Tensor
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from bench.quality.compact import CompactExtractor
from bench.quality.extractor import Extractor
from bench.quality.metrics import KID_SUBSET_SIZE
from bench.quality.reference import Reference
from bench.study.metrics import Metric
from bench.timing.clock import Stopwatch
from bench.versus.peers import Peer, Setting
from models.common.errors import UsageError
from models.common.writing import naming

METRICS: Mapping[Metric, str] = {"fd": "fid", "kid": "kid", "precision_recall": "prc"}
"""What torch-fidelity calls the metrics that need nothing of the real images but their features."""

_REFERENCE = "versus-reference"


class Scored(NamedTuple):
    """A call of torch-fidelity: how long it took, and its numbers."""

    seconds: float
    scores: dict[str, float]


class FromFiles(CompactExtractor):
    """Takes as many of a file's three channels as the network was trained on; those of a grey image are equal."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return super().forward(images[:, : self.image_shape[0]])


class Fidelity:
    """torch-fidelity on folders of PNG files.

    Args:
        extractor, reference: a model's own; the statistics are put into torch-fidelity's cache.
        metrics, device: of `METRICS`, and where the extractor runs.
        images: in every folder, at least.
        cache: folder, made.

    Attributes:
        workers: whether files are read by worker processes, torch-fidelity's default; see `choose_workers`.

    Raises:
        UsageError: an extractor or a reference that torch-fidelity cannot be given.
    """

    def __init__(
        self,
        extractor: Extractor,
        reference: Reference,
        metrics: Sequence[Metric],
        device: torch.device,
        images: int,
        cache: Path,
    ) -> None:
        if extractor.folder is None:
            raise UsageError(f"versus --end-to-end needs a model with an extractor of its own, not {extractor.name!r}")
        name = f"{extractor.name}-files"
        real = images if reference.features is None else len(reference.features)
        self._arguments = {
            "input2": _REFERENCE,
            "input2_cache_name": _REFERENCE,
            "cache_root": str(cache),
            "feature_extractor": name,
            "batch_size": extractor.batch,
            "cuda": device.type == "cuda",
            "kid_subset_size": min(KID_SUBSET_SIZE, images, real),  # as ours: torch-fidelity takes no subset above that
            "verbose": False,
            **dict.fromkeys((METRICS[metric] for metric in metrics), True),
        }
        self._stopwatch, self.workers = Stopwatch(device), True
        _fill_cache(cache, f"{_REFERENCE}-{name}", extractor, reference, needs_features=set(metrics) != {"fd"})
        FEATURE_EXTRACTORS_REGISTRY.pop(name, None)
        made = type(f"FromFiles_{name}", (FromFiles,), {"folder": extractor.folder})
        torch_fidelity.register_feature_extractor(name, made)

    def choose_workers(self, images: Path) -> None:
        """Take the faster way of reading this folder's files; each is tried twice, as the first finds nothing warm."""
        fastest = {True: math.inf, False: math.inf}
        for workers in (True, False, True, False):
            self.workers = workers
            fastest[workers] = min(fastest[workers], self(images).seconds)
        self.workers = fastest[True] < fastest[False]

    def __call__(self, images: Path) -> Scored:
        """Score the files of a folder."""
        found: dict[str, float] = {}
        arguments = self._arguments | {"input1": str(images), "save_cpu_ram": not self.workers}

        def call() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of more workers than processors
                found.update(torch_fidelity.calculate_metrics(**arguments))

        return Scored(self._stopwatch.seconds(call), found)


def write_pngs(images: Tensor, folder: Path, first: int) -> None:
    """Write images (N, H, W, C) in 0 ... 1, an array in main memory, as PNG files numbered from `first`."""
    import diffusers

    to_pil: Any = diffusers.DiffusionPipeline.numpy_to_pil  # it has no types
    with naming(folder):
        for number, picture in enumerate(to_pil(images.numpy()), first):
            picture.save(folder / f"{number:06d}.png")


def generate(peer: Peer, folder: Path, images: int, setting: Setting, seed: int) -> dict[str, float]:
    """Fill a folder with images of diffusers'; seconds of generation, which are on the CPU then, and of the files."""
    seconds, stopwatch = {"generation": 0.0, "png": 0.0}, Stopwatch(setting.device)
    batch, generator = torch.empty(0), torch.Generator(setting.device).manual_seed(seed)

    def draw(count: int) -> None:
        nonlocal batch
        batch = peer.sample(count, generator).cpu().permute(0, 2, 3, 1)

    for first in range(0, images, setting.batch):
        count = min(setting.batch, images - first)
        seconds["generation"] += stopwatch.seconds(lambda count=count: draw(count))  # type: ignore[misc]
        seconds["png"] += stopwatch.seconds(lambda first=first: write_pngs(batch, folder, first))  # type: ignore[misc]
    return seconds


def _fill_cache(cache: Path, prefix: str, extractor: Extractor, reference: Reference, *, needs_features: bool) -> None:
    """Put the reference where torch-fidelity looks for statistics that it has computed before."""
    if needs_features and reference.features is None:
        raise UsageError(f"reference {reference.name!r} has no features, which kid and precision_recall need; take fd")
    cache.mkdir(parents=True, exist_ok=True)
    # torch-fidelity compares means of one dtype only, and its own have that of the features
    mean = reference.mean.to(extractor.dtype).numpy()
    statistics = {"mu": mean, "sigma": reference.covariance.numpy()}
    torch.save(statistics, cache / f"{prefix}-stat-fid-{extractor.layer}.pt")
    if reference.features is not None:
        torch.save(reference.features, cache / f"{prefix}-features-{extractor.layer}.pt")

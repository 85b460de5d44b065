"""What people do today: diffusers' pipeline, PNG files, and torch-fidelity on the folder, with the extractor of ours.

Everything that a habit could be spared is spared: the network is loaded, the statistics of the real images lie in
torch-fidelity's cache, and it reads the files with or without worker processes, whichever is faster here. Its command
line is run as such; its function is called in this process as well, where neither Python nor torch has to start. The
command knows torch-fidelity's own extractors only, so a line before its `main` registers the model's.
"""

import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch_fidelity
from torch import Tensor

from bench.quality.extractor import Extractor
from bench.quality.metrics import KID_SUBSET_SIZE
from bench.quality.reference import Reference
from bench.study.study import Metric
from bench.timing.clock import Stopwatch
from bench.versus.from_files import register
from bench.versus.peers import Peer, Setting
from models.common.errors import UsageError
from models.common.writing import naming

METRICS: Mapping[Metric, str] = {"fd": "fid", "kid": "kid", "precision_recall": "prc"}
"""What torch-fidelity calls the metrics that need nothing of the real images but their features."""

_REFERENCE = "versus-reference"
_START = """
import sys
from pathlib import Path
from bench.versus.from_files import register
from torch_fidelity.fidelity import main
register(Path(sys.argv.pop(1)), sys.argv.pop(1))
"""
_COMMAND = f"{_START}main()"


@dataclass(frozen=True)
class Scored:
    """A call of torch-fidelity: how long it took, and its numbers."""

    seconds: float
    scores: dict[str, float]


class Fidelity:
    """torch-fidelity on folders of PNG files.

    Args:
        extractor: a model's compact one.
        reference: statistics of the real images, put into torch-fidelity's cache.
        metrics: of `METRICS`.
        device: the extractor runs on.
        images: in every folder, at least.
        cache: folder, made.

    Attributes:
        workers: whether files are read by worker processes, torch-fidelity's default; see `choose_workers`.

    Raises:
        UsageError: an extractor or a reference that torch-fidelity's command cannot be given.
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
        self._folder, self._name, self._batch = extractor.folder, f"{extractor.name}-files", extractor.batch
        self._metrics = [METRICS[metric] for metric in metrics]
        self._device, self._cache, self._stopwatch = device, cache, Stopwatch(device)
        real = images if reference.features is None else len(reference.features)
        self._subset = min(KID_SUBSET_SIZE, images, real)  # as ours has it: torch-fidelity takes no subset above that
        self.workers = True
        _fill_cache(cache, f"{_REFERENCE}-{self._name}", extractor, reference, needs_features=set(metrics) != {"fd"})
        register(self._folder, self._name)

    def choose_workers(self, images: Path) -> None:
        """Take the faster way of reading this folder's files; each is tried twice, as the first finds nothing warm."""
        fastest = {True: math.inf, False: math.inf}
        for workers in (True, False, True, False):
            self.workers = workers
            fastest[workers] = min(fastest[workers], self.in_process(images).seconds)
        self.workers = fastest[True] < fastest[False]

    def in_process(self, images: Path) -> Scored:
        """Its function, on the files of a folder."""
        found: dict[str, float] = {}

        def call() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of more workers than processors
                found.update(
                    torch_fidelity.calculate_metrics(
                        input1=str(images),
                        input2=_REFERENCE,
                        input2_cache_name=_REFERENCE,
                        cache_root=str(self._cache),
                        feature_extractor=self._name,
                        batch_size=self._batch,
                        cuda=self._device.type == "cuda",
                        kid_subset_size=self._subset,
                        save_cpu_ram=not self.workers,
                        verbose=False,
                        **dict.fromkeys(self._metrics, True),
                    )
                )

        return Scored(self._stopwatch.seconds(call), found)

    def command(self, images: Path) -> Scored:
        """Its command, a process of its own, on the files of a folder."""
        where = ["--gpu", _visible(self._device)] if self._device.type == "cuda" else ["--cpu"]
        arguments = [*where, "--json", "--silent", "--input1", str(images), "--input2", _REFERENCE]
        arguments += ["--input2-cache-name", _REFERENCE, "--cache-root", str(self._cache)]
        arguments += ["--feature-extractor", self._name, "--batch-size", str(self._batch)]
        arguments += ["--kid-subset-size", str(self._subset)]
        arguments += [f"--{metric}" for metric in self._metrics] + ([] if self.workers else ["--save-cpu-ram"])
        seconds, output = self._run(_COMMAND, arguments)
        return Scored(seconds, json.loads(output[output.index("{") :]))

    def start(self) -> float:
        """Seconds of the command's process without the command: Python, torch, torch-fidelity."""
        return self._run(_START, [])[0]

    def _run(self, program: str, arguments: list[str]) -> tuple[float, str]:
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-c", program, str(self._folder), self._name, *arguments]
        output = ""

        def call() -> None:
            nonlocal output
            output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

        return self._stopwatch.seconds(call), output


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


def _visible(device: torch.device) -> str:
    """The device as CUDA_VISIBLE_DEVICES calls it, which the command sets."""
    number = device.index or 0
    listed = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return listed[number] if listed else str(number)

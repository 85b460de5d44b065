"""What `run_bench.py versus` is told; the class is the command's options and their help. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True)
class VersusOptions:
    """What is compared.

    Attributes:
        model: Embedded model, model folder or hf:owner/name, with a UNet2DModel.
        samplers: Those with a counterpart in diffusers, such as "ddim,heun"; with --end-to-end the first alone.
        steps: Steps of every sample.
        batch: Images at a time.
        repeats: Timed rounds, each contestant once a round.
        device: auto, cpu, cuda, cuda:1, ...
        modes: How the network is executed, on both sides, such as "fp32,bf16+compile".
        end_to_end: Time whole quality cells instead of batches.
        images: Images of a quality cell (default: 5000); with --end-to-end.
        metrics: Of a quality cell: fd, kid, precision_recall (default: fd); with --end-to-end.
        out: JSON file with every raw time (default: results/versus.json, or results/versus-end-to-end.json).
    """

    model: str = "digits"
    samplers: str = "ddim,ddpm,heun,dpm++2m[lower_order_below=0],unipc[first_order_to=clean]"
    steps: int = 20
    batch: int = 256
    repeats: int = 10
    device: str = "auto"
    modes: str = "fp32"
    end_to_end: bool = False
    images: int | None = None
    metrics: str | None = None
    out: Path | None = None

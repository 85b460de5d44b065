"""The command that measures this harness beside what people use."""

from pathlib import Path

from bench.cli.options import load_plugins


def versus(
    *,
    model: str = "digits",
    samplers: str = "ddim,ddpm,heun,dpm++2m[lower_order_below=0],unipc[first_order_to=clean]",
    steps: int = 20,
    batch: int = 256,
    repeats: int = 10,
    device: str = "auto",
    modes: str = "fp32",
    end_to_end: bool = False,
    images: int | None = None,
    metrics: str | None = None,
    out: Path | None = None,
    plugin: list[Path] | None = None,
) -> int:
    """Measure ours beside diffusers on the same network, alternating in one process.

    By default a batch of images: ours, diffusers' pipeline (or the loop around its scheduler), and the bare network
    evaluations. With --end-to-end a whole quality cell of the first sampler: ours, beside the pipeline, PNG files and
    torch-fidelity on the folder.

    Args:
        model: Embedded model, model folder or hf:owner/name, with a UNet2DModel.
        samplers: Those with a counterpart in diffusers, such as "ddim,heun".
        steps: Steps of every sample.
        batch: Images at a time.
        repeats: Timed rounds, each contestant once a round.
        device: auto, cpu, cuda, cuda:1, ...
        modes: How the network is executed, on both sides, such as "fp32,bf16+compile".
        end_to_end: Time whole quality cells instead of batches.
        images: Images of a quality cell (default: 5000); with --end-to-end.
        metrics: Of a quality cell: fd, kid, precision_recall (default: fd); with --end-to-end.
        out: JSON file with every raw time (default: results/versus.json, or results/versus-end-to-end.json).
        plugin: Python file that registers samplers or networks; may be given several times.
    """
    from bench.outputs import RESULTS
    from bench.versus.contest import VersusOptions
    from bench.versus.contest import versus as measure
    from models.common.errors import UsageError
    from models.plugins.registry import split_outside_brackets

    if not end_to_end and (images is not None or metrics is not None):
        raise UsageError("--images and --metrics are of quality cells: give them together with --end-to-end")
    load_plugins(plugin)
    default = RESULTS / ("versus-end-to-end.json" if end_to_end else "versus.json")
    options = VersusOptions(
        model=model,
        samplers=split_outside_brackets(samplers),
        steps=steps,
        batch=batch,
        repeats=repeats,
        device=device,
        modes=modes.split(","),
        end_to_end=end_to_end,
        images=5000 if images is None else images,
        metrics=["fd"] if metrics is None else metrics.split(","),
        out=default if out is None else out,
    )
    return measure(options)

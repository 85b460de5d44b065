"""The command that measures this harness beside what people use."""

from pathlib import Path

from bench.purity.plugins import load_plugins
from bench.versus.options import VersusOptions


def versus(*, options: VersusOptions = VersusOptions(), plugin: list[Path] | None = None) -> int:  # noqa: B008
    """Measure ours beside diffusers on the same network, alternating in one process.

    By default a batch of images: ours, diffusers' pipeline (or the loop around its scheduler), and the bare network
    evaluations. With --end-to-end a whole quality cell of the first sampler: ours, beside the pipeline, PNG files and
    torch-fidelity on the folder.

    Args:
        plugin: Python file that registers samplers or networks; may be given several times.
    """
    from bench.versus.contest import versus as measure

    load_plugins(plugin)
    return measure(options)

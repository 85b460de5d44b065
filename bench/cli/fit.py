"""The command that fits grids to a model."""

from pathlib import Path

from bench.cli.options import AsJson, Batch, Device, Numbers, Plugin


def fit(
    *,
    sampler: str = "dpm++2m",
    grid: str = "fit-grid",
    steps: Numbers = None,
    model: str | None = None,
    study: str | None = None,
    guidance: str = "none",
    out: Path = Path("results/fits"),
    device: Device = "auto",
    batch: Batch = 64,
    as_json: AsJson = False,
    plugin: Plugin = None,
) -> int:
    """Fit a grid to a model, and write its levels for use elsewhere.

    Writes levels.json: of each number of steps the times, sigma / alpha and indices of the noisy levels, what the fit
    has cost, and the grid of a study that has the same levels; and levels.png, their figure beside the fixed grids.
    What was fitted is kept there and read the next time. diffusers takes the indices as `timesteps=`, which it rounds,
    and sigma / alpha as `sigmas=`.

    Args:
        sampler: That fit-grid is fitted to; the others are fitted to the model alone.
        grid: Such as "fit-grid[images=128]", gits or ays-fit.
        steps: Numbers of steps (default: 5,6,8,10).
        model: Embedded model, model folder, or hf:owner/name (default: digits).
        study: Instead of a model: name or file of a study, whose model is fitted to with what the study changes of its
            card, its clipping and its labels.
        guidance: Such as "cfg[scale=2]".
        out: Folder to write.
        batch: Images evaluated at a time, or auto.
    """
    from bench.cli.fitting import fit_grid
    from bench.purity.plugins import load_plugins

    load_plugins(plugin)
    block = {"samplers": [sampler], "grids": [grid], "steps": steps or [5, 6, 8, 10]}
    return fit_grid(block, model, study, out, as_json, {"guidance": [guidance], "device": device, "batch": batch})

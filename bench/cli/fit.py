"""The command that fits grids to a model."""

import re
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
    out: Path | None = None,
    device: Device = "auto",
    batch: Batch = 64,
    as_json: AsJson = False,
    plugin: Plugin = None,
) -> int:
    """Fit a grid to a model, and write its levels for use elsewhere.

    Writes levels.json: of each number of steps the times, sigma / alpha and indices of the noisy levels, what the fit
    has cost, and the grid of a study that has the same levels; and levels.png, their figure beside the fixed grids.
    What was fitted is kept there and read the next time. For diffusers there are `timesteps`, whole numbers, of the
    schedulers whose set_timesteps takes timesteps= (to Euler's and Heun's give `index`, which is exact), and the
    sigmas= of EulerDiscreteScheduler, on flows of FlowMatchEulerDiscreteScheduler.

    Args:
        sampler: That fit-grid is fitted to; the others are fitted to the model alone.
        grid: Such as "fit-grid[images=128]", gits or ays-fit.
        steps: Numbers of steps (default: 5,6,8,10).
        model: Embedded model, model folder, or hf:owner/name (default: digits).
        study: Instead of a model: name or file of a study, whose model is fitted to with what the study changes of its
            card, its clipping and its labels.
        guidance: Such as "cfg[scale=2]".
        out: Folder to write (default: results/fits/MODEL-GRID-SAMPLER).
        batch: Images evaluated at a time, or auto.
    """
    from bench.cli.fitting import fit_grid
    from bench.purity.plugins import load_plugins

    load_plugins(plugin)
    block = {"samplers": [sampler], "grids": [grid], "steps": steps or [5, 6, 8, 10]}
    named = study or model or "digits", grid, sampler
    told = [re.sub(r"[^\w+.]+", "-", Path(each).name).strip("-") for each in named]
    folder = out or Path("results/fits") / "-".join(told)
    return fit_grid(block, model, study, folder, as_json, {"guidance": [guidance], "device": device, "batch": batch})

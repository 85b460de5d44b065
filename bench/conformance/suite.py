"""The conformance suite: what must be true of every sampler, in the tree or from a package.

Nothing here names a sampler. Each check runs one on a network in closed form, where the right answer is known exactly,
and says by how much it holds. `run_bench.py check NAME` prints the outcome; the test suite runs all of it on every
registered sampler.
"""

import dataclasses
import json

import torch

from bench.conformance import laws
from bench.conformance.check import (
    SHAPE,
    Check,
    Nonconforming,
    NotApplicable,
    Result,
    call,
    declared,
    denoiser,
    fit_of,
    require,
    run_check,
    sample,
)
from bench.conformance.law_checks import converges, keeps_precision, reaches_law, reaches_point
from bench.conformance.purity_checks import PURITY_CHECKS
from bench.conformance.repeat_checks import repeats_at_ends
from bench.conformance.strong import converges_strongly
from bench.noise.stream import ImageNoise
from bench.record import SCHEMA, Record, fault_once_written
from models.common.words import counted
from models.grids import GRIDS
from models.plugins.plain import NotPlain, parameters_of
from models.schedule import DiscreteVP
from samplers import SAMPLERS, Sampler
from samplers.about import about

__all__ = ["CHECKS", "Check", "Result", "run_check"]


def _keeps_shape(sampler: Sampler) -> str:
    for dtype in (torch.float32, torch.float64):
        schedule = DiscreteVP.linear()
        levels = GRIDS.make("trailing")(schedule, 5)
        law = laws.gaussian(dtype)
        x = torch.randn(3, *SHAPE, dtype=dtype, generator=torch.Generator().manual_seed(0))
        result, _ = call(sampler, denoiser(sampler, law, schedule), x, levels, ImageNoise(0, torch.arange(3)))
        given = (x.shape, x.dtype, x.device)
        got = (result.shape, result.dtype, result.device)
        require(given == got, f"given {given}, returned {got}")
        require(bool(result.isfinite().all()), f"{int((~result.isfinite()).sum())} values are NaN or Inf")
    return "as given, in float32 and float64"


def _leaves_input(sampler: Sampler) -> str:
    run = sample(sampler, laws.gaussian())
    change = float((run.x - run.start).abs().max())
    require(change == 0.0, f"the initial state changed by up to {change:.3g}")
    return "the initial state is unchanged"


def _repeats(sampler: Sampler) -> str:
    first, second = sample(sampler, laws.gaussian()), sample(sampler, laws.gaussian())
    change = float((first.result - second.result).abs().max())
    require(change == 0.0, f"the same call twice differs by up to {change:.3g}: there is hidden state or other noise")
    return "bit for bit"


def _independent_of_batch(sampler: Sampler) -> str:
    whole, law = torch.arange(130), laws.gaussian()  # two below and above what batches are divided by
    fit = fit_of(sampler, law, DiscreteVP.linear())
    found, worst = sample(sampler, law, images=whole, fit=fit).result, 0.0
    for part in (whole[:1], whole[64:65], whole[129:], whole[:7], whole[62:69], whole[123:]):
        alone = sample(sampler, law, images=part, fit=fit).result
        worst = max(worst, float((alone - found[part]).abs().max()))
    require(worst < 1e-9, f"images of batches 1 and 7 differ from those of batch 130 by up to {worst:.3g}")
    return f"batches of 1, 7 and 130 agree to {worst:.1g}"


def _counts(sampler: Sampler) -> str:
    found, law = [], laws.gaussian()
    fit = fit_of(sampler, law, DiscreteVP.linear())
    few = () if sampler.places_steps else ((1, "trailing"), (2, "trailing"), (9, "logsnr[clean=false]"))
    for steps, grid in (*few, (10, "trailing"), (20, "trailing")):
        run = sample(sampler, law, steps, grid=grid, fit=fit)
        said = declared(sampler, GRIDS.make(grid)(DiscreteVP.linear(), steps))
        if said is None:
            raise NotApplicable("it declares no number of evaluations: they are known once they are made")
        made = run.evaluations
        require(made == said, f"{steps} steps on {grid}: declares {counted(said, 'evaluation')}, makes {made:g}")
        found.append(f"{made:g} at {steps}")
    return "evaluations as declared: " + ", ".join(found)


def _round_trips(sampler: Sampler) -> str:
    require(dataclasses.is_dataclass(sampler), "not a dataclass; decorate the class with @dataclass(frozen=True)")
    frozen = type(sampler).__dataclass_params__.frozen  # type: ignore[attr-defined]
    try:
        parameters = parameters_of(sampler)
    except NotPlain as error:
        raise Nonconforming(f"parameter {error}") from None
    require(frozen, "the dataclass is not frozen; a sampler must have no state")
    spec = SAMPLERS.name_of(sampler) + "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in parameters.items()) + "]"
    require(SAMPLERS.make(spec) == sampler, f"{spec} makes {SAMPLERS.make(spec)!r}, not {sampler!r}")
    short = SAMPLERS.spec_of(sampler)
    require(SAMPLERS.make(short) == sampler, f"{short} makes {SAMPLERS.make(short)!r}, not {sampler!r}")
    return f"{json.dumps(parameters)} and back"


def _recordable(sampler: Sampler) -> str:
    said, steps = about(type(sampler).__qualname__, sampler), 10
    evaluations = declared(sampler, GRIDS.make("trailing")(DiscreteVP.linear(), steps))
    columns: Record = {"sampler": type(sampler).__qualname__, "sampler_parameters": parameters_of(sampler)}
    columns |= {"family": said.family, "stochastic": said.stochastic, "note": said.caveat}
    columns |= {"nfe": evaluations or steps, "nfe_declared": evaluations}
    wrong = fault_once_written(_OTHERS | columns)
    require(wrong is None, f"no record can hold what it says of itself: {wrong}")
    return f"{len(columns)} columns, written and read back"


def _declares_noise(sampler: Sampler) -> str:
    law = laws.gaussian()
    fit = fit_of(sampler, law, DiscreteVP.linear())
    draws = [sample(sampler, law, 20, grid=grid, fit=fit).noise.draws for grid in ("trailing", "logsnr")]
    require(
        (sum(draws) > 0) == sampler.stochastic,
        f"stochastic = {sampler.stochastic}, but draws noise {draws[0]} and {draws[1]} times in 20 steps on two grids",
    )
    return f"{draws[0]} and {draws[1]} draws of noise in 20 steps, on trailing and logsnr"


_OTHERS: Record = {
    **{"schema": SCHEMA, "id": "check", "status": "ok", "grid": "trailing", "steps": 10, "seed": 0, "images": 1},
    **{"batch": 1, "mode": "fp32", "dtype": "fp32", "device_name": "check"},
    **dict.fromkeys(("model", "model_sha256", "subject_sha256"), "check"),
}
"""Columns of a record that come from elsewhere."""

CHECKS: tuple[Check, ...] = (
    Check("keeps shape, dtype and device, and stays finite", _keeps_shape),
    Check("leaves its input untouched", _leaves_input),
    *PURITY_CHECKS,
    Check("gives the same images for the same seed", _repeats),
    Check("gives the same images whatever ran before, with parameters at the ends of their ranges", repeats_at_ends),
    Check("makes an image independent of its batch", _independent_of_batch),
    Check("evaluates the network as often as it declares", _counts),
    Check("has parameters that survive JSON", _round_trips),
    Check("says what a record can hold", _recordable),
    Check("says whether it is stochastic", _declares_noise),
    Check("adds no noise on the last step", reaches_point),
    Check("keeps its precision near the data", keeps_precision),
    Check("reaches the law of the data", reaches_law),
    Check("converges with its declared order", converges),
    Check("converges along a Brownian path with its declared strong order", converges_strongly),
)

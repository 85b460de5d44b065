"""Schedulers of the diffusers library as samplers: `diffusers:<SchedulerClass>[parameter=value,...]`.

So that samplers are compared with what is in use today, and by the loop that pipelines use: `set_timesteps`,
`scale_model_input`, `step`. A class's parameters are those of the scheduler's `__init__`, and those of its `step` that
say how it samples (`eta`, `s_churn`, ...), with their defaults, but for these:

- The model decides on the noise schedule. Its betas become `trained_betas`, and what would change them or the meaning
  of the network's output is left out. The scheduler gets the denoiser's eps at the level of its timestep, whatever the
  network predicts; timesteps between indices work too.
- Schedulers for flow matching run on flow models, whose time is theirs / 1000; they get the velocity eps - x_0, and
  start at t = 1. What they shift by depends on no image: for the number of tokens there is our `shift[tokens=...]`.
- The denoiser clips x_0 (`clip` of the study), so `clip_sample` is off unless asked for.

The scheduler places its own steps, as many as the grid has. Noise comes from `noise(x)`, in the order of the
scheduler's draws: its module's `randn_tensor` is replaced while it samples, the one way that all schedulers have (some
take `variance_noise`, but not all). So two of the same module must not sample at once in two threads. The timesteps
stay on the CPU, where no step has to wait for the device.

As shipped, diffusers keeps its tables in float32, and many schedulers round the state to float32 at each step.
"""

import inspect
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, fields, make_dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

import diffusers
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from models.common.errors import UsageError
from models.common.words import counted
from models.denoiser import Denoiser
from models.plugins.registry import unknown
from models.schedule import DiscreteVP, Flow, Level, Schedule
from samplers.base import Noise, Sampler
from samplers.diffusers_schedulers import REFUSED, SCHEDULERS

_MODEL_DECIDES = {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"}
_MODEL_DECIDES |= {"prediction_type", "rescale_betas_zero_snr", "timestep_type"}
_FOR_FLOWS = {"use_flow_sigmas", "flow_shift", "use_dynamic_shifting", "time_shift_type", "shift_terminal"}
_OF_PIPELINES = {"base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len", "invert_sigmas"}
_OF_PIPELINES |= {"scale_factors", "upscale_mode"}  # of images that grow on the way
_OBJECTS = {"solver_p", "tau_func"}  # no values that a specification could hold
_LEFT_OUT = _MODEL_DECIDES | _FOR_FLOWS | _OBJECTS
_LEFT_OUT_OF_FLOWS = (_LEFT_OUT | _OF_PIPELINES) - {"shift_terminal"}

_OF_STEP = ("eta", "use_clipped_model_output", "s_churn", "s_tmin", "s_tmax", "s_noise", "order")
_RENAMED = {"order": "solver_order"}  # a sampler's own `order` is something else

_Fraction = Annotated[float, Gt(0), Le(1)]
_NotNegative = Annotated[float, Ge(0)]
_Variance = Literal["fixed_small", "fixed_small_log", "fixed_large"]  # "fixed_large_log" is a root of a negative number
# where diffusers says less than it accepts, or what JSON cannot hold: None is its own default then
_TYPES: dict[str, Any] = {
    "shift": Annotated[float, Gt(0)],
    "shift_terminal": Annotated[float, Gt(0), Lt(1)] | None,
    "clip_sample_range": Annotated[float, Gt(0)],
    "dynamic_thresholding_ratio": _Fraction,
    "sample_max_value": Annotated[float, Ge(1)],
    "timestep_spacing": Literal["leading", "linspace", "trailing"],
    "steps_offset": Annotated[int, Ge(0)],
    "solver_order": Annotated[int, Ge(1), Le(3)],
    "predictor_order": Annotated[int, Ge(1), Le(4)],
    "corrector_order": Annotated[int, Ge(1), Le(4)],
    "order": Annotated[int, Ge(1)],
    "variance_type": _Variance,
    "interpolation_type": Literal["linear", "log_linear"],
    "original_inference_steps": Annotated[int, Ge(1)],
    "disable_corrector": tuple[int, ...],
    "lambda_min_clipped": float | None,
    "sigma_min": Annotated[float, Gt(0)] | None,
    "sigma_max": Annotated[float, Gt(0)] | None,
    "use_clipped_model_output": bool,
    "eta": Annotated[float, Ge(0), Le(1)],
    "s_churn": _NotNegative,
    "s_tmin": _NotNegative,
    "s_tmax": Annotated[float, Gt(0)] | None,
    "s_noise": Annotated[float, Gt(0)],
}

_ANY = DiscreteVP.linear()  # for what does not depend on the betas
_FLOW_STEPS = 1000
"""Timesteps of diffusers' flow matching, whatever the model."""


@dataclass(frozen=True)
class DiffusersSampler(Sampler):
    """A scheduler of diffusers, run on betas, predictions and noise of ours."""

    family = "library"
    places_steps = True
    takes_betas = True
    order = None  # what it converges to is not ours to declare

    _any: ClassVar[Schedule] = _ANY
    _scheduler: ClassVar[Any]
    _of_step: ClassVar[dict[str, str]]  # the arguments of `step` by the fields that hold them

    def __post_init__(self) -> None:
        _made_once(self, self._any)  # what excludes one another is an error here, not in the middle of a run

    @property
    def stochastic(self) -> bool:
        return SCHEDULERS[type(self).__name__].stochastic(vars(self))

    @property
    def caveat(self) -> str | None:  # type: ignore[override]
        found = [each.text for each in SCHEDULERS[type(self).__name__].caveats if each.holds(vars(self))]
        return "; ".join(found) or None

    def nfe(self, levels: Sequence[Level]) -> int | None:
        try:
            return len(self._placed(len(levels) - 1, self._any).timesteps)
        except UsageError:
            return None  # it may be possible on another number of training levels

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        schedule = model.schedule
        if not isinstance(schedule, DiscreteVP):
            raise UsageError(
                f"diffusers' {type(self).__name__} needs betas, so a discrete variance-preserving schedule; this model "
                f"has {type(schedule).__name__}, which has none. Choose a sampler or a model of another kind"
            )
        scheduler = self._placed(len(levels) - 1, schedule)
        arguments = {argument: getattr(self, name) for name, argument in self._of_step.items()}
        arguments = {argument: value for argument, value in arguments.items() if value is not None}
        x = x * float(scheduler.init_noise_sigma)
        with _draws_from(noise, scheduler) if self.stochastic else nullcontext():
            for t in scheduler.timesteps:
                at = schedule.level((float(t) + 1.0) / schedule.train_steps)
                eps = model(scheduler.scale_model_input(x, t), at).eps
                x = scheduler.step(eps, t, x, return_dict=False, **arguments)[0]
        return x

    @classmethod
    def _of_model(cls, schedule: Any) -> dict[str, Any]:
        """What the model decides on."""
        return {
            "num_train_timesteps": schedule.train_steps,
            "trained_betas": betas_of(schedule),
            "prediction_type": "epsilon",
        }

    @classmethod
    def _highest(cls, schedule: Any) -> float:
        """The highest timestep."""
        return float(schedule.train_steps - 1.0)

    def _made(self, schedule: Schedule) -> Any:
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in self._of_step}
        given = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
        given = {name: value for name, value in given.items() if value is not None}
        try:
            return self._scheduler(**self._of_model(schedule), **given)
        except (ValueError, NotImplementedError) as error:
            raise UsageError(f"diffusers' {type(self).__name__}: {error}") from None

    def _placed(self, steps: int, schedule: Schedule) -> Any:
        """A new scheduler with its steps placed; UsageError if it cannot place as many."""
        made = _made_once(self, schedule)
        scheduler = deepcopy(made, {id(made.config): made.config})  # the configuration is never changed in place
        try:
            scheduler.set_timesteps(steps)
        except Exception as error:  # of many kinds: indices, divisions, shapes
            raise UsageError(
                f"diffusers' {type(self).__name__} cannot place {counted(steps, 'step')}: {error}"
            ) from None
        first, last = float(scheduler.timesteps.max()), float(scheduler.timesteps.min())
        highest = self._highest(schedule)
        if not 0.0 <= last <= first <= highest:  # some are NaN
            raise UsageError(
                f"diffusers' {type(self).__name__} places {counted(steps, 'step')} at timesteps {first:g} to {last:g}, "
                f"outside {highest:g} to 0; choose other steps, timestep_spacing or steps_offset"
            )
        if scheduler.timesteps[1:2].tolist() == [first]:
            # it takes the second of the two for the place where it begins, and is out of steps before the last
            raise UsageError(
                f"diffusers' {type(self).__name__} places {counted(steps, 'step')} with its first timestep, {first:g}, "
                "twice, as two of its noise levels lie nearer to that than to any other, and cannot take the last step "
                "then; choose fewer steps, or leave out use_karras_sigmas and its like"
            )
        return scheduler


class DiffusersFlowSampler(DiffusersSampler):
    """A scheduler for flow matching, run on predictions and noise of ours."""

    takes_betas = False
    takes_flow = True
    _any = Flow()

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        schedule = model.schedule
        if not isinstance(schedule, Flow):
            raise UsageError(
                f"diffusers' {type(self).__name__} is for flow matching, but this model has {type(schedule).__name__}. "
                "Choose a sampler or a model of another kind"
            )
        scheduler = self._placed(len(levels) - 1, self._any)
        x = x * (float(scheduler.sigmas[0]) / levels[0].sigma)  # pure noise, of another deviation
        with _draws_from(noise, scheduler) if self.stochastic else nullcontext():
            for t in scheduler.timesteps:
                velocity = model(x, schedule.level(float(t) / _FLOW_STEPS)).combine(x0=-1.0, eps=1.0)
                x = scheduler.step(velocity, t, x, return_dict=False)[0]
        return x

    @classmethod
    def _of_model(cls, schedule: Any) -> dict[str, Any]:
        return {}  # its timesteps are its own

    @classmethod
    def _highest(cls, schedule: Any) -> float:
        return float(_FLOW_STEPS)


@lru_cache(maxsize=64)
def _made_once(sampler: DiffusersSampler, schedule: Schedule) -> Any:
    """Only for copies: a scheduler is made once for many calls, as pipelines do, which takes some of them 0.2 s."""
    with torch.inference_mode(mode=False):  # its tables outlive the call that happens to be the first
        return sampler._made(schedule)


@lru_cache(maxsize=8)
def betas_of(schedule: DiscreteVP) -> list[float]:
    """beta_n = 1 - alpha_n^2 / alpha_(n-1)^2, from the schedule's levels."""
    total = schedule.train_steps
    log_alpha = [schedule.log_alpha(n / total) for n in range(total + 1)]
    return [-math.expm1(2.0 * (after - before)) for before, after in pairwise(log_alpha)]


@contextmanager
def _draws_from(noise: Noise, scheduler: Any) -> Iterator[None]:
    """Let the scheduler's draws come from `noise`, instead of from a generator."""
    module: Any = sys.modules[type(scheduler).__module__]
    theirs = module.randn_tensor

    def ours(
        shape: Sequence[int], generator: None = None, device: torch.device | None = None, dtype: Any = None
    ) -> Tensor:
        return noise(torch.empty(tuple(shape), device=device, dtype=dtype))

    module.randn_tensor = ours
    try:
        yield
    finally:
        module.randn_tensor = theirs


def sampler_class(name: str) -> type[Sampler]:
    """The sampler of a scheduler class; UsageError says what there is, or why it cannot be one."""
    if name in REFUSED:
        raise UsageError(f"diffusers' {name} cannot be a sampler here: {REFUSED[name]}")
    if name not in SCHEDULERS:
        raise unknown("sampler", f"diffusers:{name}", (f"diffusers:{each}" for each in SCHEDULERS))
    scheduler = getattr(diffusers, name)
    known = SCHEDULERS[name]
    left_out = (_LEFT_OUT_OF_FLOWS if known.flow else _LEFT_OUT) | known.without_effect
    types = get_type_hints(scheduler.__init__) | _TYPES
    own = {each: value for each, value in _defaults(scheduler.__init__).items() if each not in left_out}
    of_step = {each: value for each, value in _defaults(scheduler.step).items() if each in _OF_STEP}
    of_step = {each: value for each, value in of_step.items() if each not in known.without_effect}
    if own.get("variance_type", "") is None:
        del own["variance_type"]  # for networks that learn the variance too
    namespace = {
        "__module__": __name__,
        "__doc__": f"diffusers' {name}.",
        "paper": known.paper,
        "needs": known.needs,
        "_scheduler": scheduler,
        "_of_step": {_RENAMED.get(each, each): each for each in of_step},
    }
    parameters = [(_RENAMED.get(each, each), types[each], value) for each, value in (own | of_step).items()]
    base = DiffusersFlowSampler if known.flow else DiffusersSampler
    return make_dataclass(name, parameters, bases=(base,), namespace=namespace, frozen=True)


def _defaults(function: Any) -> dict[str, Any]:
    """The parameters that have a default, and it: None for infinity, which JSON cannot hold."""
    found = {each.name: each.default for each in inspect.signature(function).parameters.values()}
    found = {name: value for name, value in found.items() if value is not inspect.Parameter.empty}
    infinite = {name for name, value in found.items() if isinstance(value, float) and math.isinf(value)}
    listed = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
    return found | listed | dict.fromkeys(infinite) | ({"clip_sample": False} if "clip_sample" in found else {})

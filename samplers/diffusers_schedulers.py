"""What is known of diffusers' schedulers: which can be samplers, what they do otherwise than expected, and why the
others cannot. diffusers itself is not imported here.

Each caveat was seen by running diffusers 0.42.1, and tests/samplers/test_adapters.py sees it again on the installed
version.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Parameters = Mapping[str, Any]
Rule = Callable[[Parameters], bool]


class Caveat(NamedTuple):
    """What a scheduler does otherwise than one would expect, and for which of its parameters."""

    text: str
    holds: Rule


@dataclass(frozen=True)
class Scheduler:
    """What is known of one scheduler class.

    Attributes:
        paper: where the method comes from.
        stochastic: whether it draws noise with these parameters.
        caveats: what it does otherwise than expected.
        needs: what it expects of the network, as `Sampler.needs`.
        without_effect: parameters that it takes and never reads.
        flow: whether it is made for flow matching, and takes no betas.
    """

    paper: str
    stochastic: Rule
    caveats: tuple[Caveat, ...] = ()
    needs: Literal["denoiser", "generator"] = "denoiser"
    without_effect: frozenset[str] = frozenset()
    flow: bool = False


def _always(_: Parameters) -> bool:
    return True


def _never(_: Parameters) -> bool:
    return False


def _positive(name: str) -> Rule:
    return lambda given: bool(given[name] > 0.0)


def _sde(given: Parameters) -> bool:
    return str(given["algorithm_type"]).startswith("sde")


def _spacing(name: str) -> Rule:
    return lambda given: bool(given["timestep_spacing"] == name)


def _own_sigmas(given: Parameters) -> bool:
    """Whether the steps are placed in sigma over the whole schedule, whatever the spacing."""
    names = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
    return any(given.get(name) for name in names)


def _lower_order_below_15(given: Parameters) -> bool:
    # the step to sigma = 0 is of first order anyway
    lowest = 3 if given.get("final_sigmas_type") == "zero" else 2
    return bool(given["lower_order_final"] and given["solver_order"] >= lowest)


def _noisy_last_step(given: Parameters) -> bool:
    ends_above_0 = given["timestep_spacing"] == "trailing" or given["steps_offset"] > 0
    return bool(given["variance_type"] == "fixed_large" and ends_above_0 and given["timestep_spacing"] != "linspace")


_LOW_START = "it starts from pure noise at a level below the noisiest"
_AT_0 = (
    Caveat(f"{_LOW_START}, and a single step at the lowest", _spacing("leading")),
    Caveat("a single step starts from pure noise at the lowest level", _spacing("linspace")),
)
_LEADING = Caveat(_LOW_START, lambda given: _spacing("leading")(given) and not _own_sigmas(given))
_STRIDE = (
    Caveat("a step goes to timestep t - T // N, not to the next one", _spacing("linspace")),
    Caveat("a step goes to timestep t - T // N, not to the next one, unless N divides T", _spacing("trailing")),
)
_UNCLEAN = "it ends at the lowest noisy level, not at the clean one"
_ALPHA_0 = Caveat(_UNCLEAN, lambda given: not given["set_alpha_to_one"])
_SIGMA_MIN = Caveat(_UNCLEAN, lambda given: bool(given["final_sigmas_type"] == "sigma_min"))
_ENDS_NOISY = Caveat(_UNCLEAN, _always)
_UNCLIPPED = Caveat(
    "eps is not derived again from the clipped x_0",
    lambda given: bool((given["clip_sample"] or given["thresholding"]) and not given["use_clipped_model_output"]),
)
_FEW_LOWER = Caveat("the last steps are of lower order only if there are fewer than 15", _lower_order_below_15)
_HALVED = Caveat(
    "at order 3 the second derivative counts half, which leaves order 2",
    lambda given: bool(given["solver_order"] == 3 and given["algorithm_type"] == "dpmsolver++"),
)
_WRONG_SIGN = Caveat(
    "at order 3 a half in the factor of the second derivative has the wrong sign, which leaves order 1",
    lambda given: bool(given["solver_order"] == 3 and given["algorithm_type"] == "sde-dpmsolver++"),
)
_SECOND_STAGE = Caveat(
    "at order 3 the second stage has the coefficient of order 2",
    lambda given: bool(given["solver_order"] == 3 and given["algorithm_type"] == "dpmsolver"),
)
_NAN = Caveat(
    "the step to sigma = 0 gives NaN",
    lambda given: bool(given["solver_type"] == "bh1" and given["final_sigmas_type"] == "zero"),
)
_TWICE = Caveat("N steps make 2 N - 1 evaluations", _always)
_NOISY_LAST = Caveat("the last step adds noise", _noisy_last_step)
_CHURN = Caveat("the noise of s_churn is added after the network's evaluation, not before", _positive("s_churn"))
_TAU = Caveat("noise enters only at timesteps 200 to 800, however many levels the network was trained on", _always)
_TOLD = "the network is told the whole timestep near the level of the state, not the level itself"
_ROUNDED = Caveat(_TOLD, _own_sigmas)
_ROUNDED_KARRAS = Caveat(_TOLD, lambda given: bool(given["use_karras_sigmas"]))
_RUNGE_KUTTA = (
    Caveat("N steps make N + 9 evaluations", lambda given: not given["skip_prk_steps"]),
    Caveat("N steps make N + 1 evaluations", lambda given: bool(given["skip_prk_steps"])),
)

_DDIM = Scheduler("arXiv:2010.02502", _positive("eta"), (*_AT_0, *_STRIDE, _ALPHA_0, _UNCLIPPED))
_DDPM = Scheduler("arXiv:2006.11239", _always, (*_AT_0, _NOISY_LAST))
_EDM = "arXiv:2206.00364"
_FLOW_PAPER = "arXiv:2403.03206"
_ALONE = Caveat("its levels go down to 1/1000; pipelines such as FLUX's give it others, which end at 1/N", _always)
_TWICE_SHIFTED = Caveat("the lowest level is shifted twice", lambda given: bool(given["shift"] != 1.0))
_CHURN_OF_FLOW = frozenset({"s_churn", "s_tmin", "s_tmax", "s_noise"})
"""Which Euler's never reads, and by which Heun's would add noise as if alpha were 1 at every level."""
_PLACED_ANYHOW = frozenset({"timestep_spacing", "steps_offset"})
_CLIPS_NOTHING = frozenset(
    {"clip_sample", "clip_sample_range", "thresholding", "dynamic_thresholding_ratio", "sample_max_value"}
)

SCHEDULERS: dict[str, Scheduler] = {
    "DDIMScheduler": _DDIM,
    "DDIMParallelScheduler": _DDIM,
    "DDPMScheduler": _DDPM,
    "DDPMParallelScheduler": _DDPM,
    "DEISMultistepScheduler": Scheduler("arXiv:2204.13902", _never, (_LEADING, _ROUNDED, _ENDS_NOISY, _FEW_LOWER)),
    "DPMSolverMultistepScheduler": Scheduler(
        "arXiv:2211.01095", _sde, (_LEADING, _ROUNDED, _SIGMA_MIN, _FEW_LOWER, _HALVED, _WRONG_SIGN)
    ),
    "DPMSolverSinglestepScheduler": Scheduler("arXiv:2211.01095", _sde, (_ROUNDED, _SIGMA_MIN, _SECOND_STAGE)),
    "EulerAncestralDiscreteScheduler": Scheduler(_EDM, _always, _AT_0),
    "EulerDiscreteScheduler": Scheduler(_EDM, _positive("s_churn"), (*_AT_0, _SIGMA_MIN, _CHURN)),
    "FlowMatchEulerDiscreteScheduler": Scheduler(
        _FLOW_PAPER,
        lambda given: bool(given["stochastic_sampling"]),
        (_ALONE, _TWICE_SHIFTED),
        without_effect=_CHURN_OF_FLOW,
        flow=True,
    ),
    "FlowMatchHeunDiscreteScheduler": Scheduler(
        _FLOW_PAPER, _never, (_ALONE, _TWICE_SHIFTED, _TWICE), without_effect=_CHURN_OF_FLOW, flow=True
    ),
    "FlowMatchLCMScheduler": Scheduler(
        "arXiv:2310.04378", _always, (_ALONE, _TWICE_SHIFTED), needs="generator", flow=True
    ),
    "HeunDiscreteScheduler": Scheduler(_EDM, _never, (*_AT_0, _TWICE)),
    "KDPM2AncestralDiscreteScheduler": Scheduler(_EDM, _always, (*_AT_0, _ROUNDED_KARRAS, _TWICE)),
    "KDPM2DiscreteScheduler": Scheduler(_EDM, _never, (*_AT_0, _ROUNDED_KARRAS, _TWICE)),
    "LCMScheduler": Scheduler(
        "arXiv:2310.04378", _always, needs="generator", without_effect=_PLACED_ANYHOW | {"set_alpha_to_one"}
    ),
    "LMSDiscreteScheduler": Scheduler(_EDM, _never, _AT_0),
    "PNDMScheduler": Scheduler("arXiv:2202.09778", _never, (_LEADING, *_STRIDE, _ALPHA_0, *_RUNGE_KUTTA)),
    "SASolverScheduler": Scheduler("arXiv:2309.05019", _always, (_LEADING, _ROUNDED, _ENDS_NOISY, _TAU)),
    "TCDScheduler": Scheduler(
        "arXiv:2402.19159",
        _positive("eta"),
        (_ENDS_NOISY,),
        without_effect=_PLACED_ANYHOW | _CLIPS_NOTHING | {"set_alpha_to_one", "timestep_scaling"},
    ),
    "UniPCMultistepScheduler": Scheduler("arXiv:2302.04867", _never, (_LEADING, _ROUNDED, _SIGMA_MIN, _NAN)),
}

_FLOW = "it is made for the network of one pipeline, not for flow matching in general"
_TOKENS = "it samples discrete tokens, not images"
_SIGMAS = "it takes no betas but places sigmas of its own"
_TREE = "it draws from a Brownian tree (torchsde) of its own"
_INVERSE = "it goes from data to noise"
_SHIFTED = "it shifts the signal-to-noise ratio of the betas that it is given"

REFUSED: dict[str, str] = {
    "AmusedScheduler": _TOKENS,
    "BlockRefinementScheduler": _TOKENS,
    "CMStochasticIterativeScheduler": _SIGMAS,
    "CogVideoXDDIMScheduler": _SHIFTED,
    "CogVideoXDPMScheduler": _SHIFTED,
    "ConsistencyDecoderScheduler": "its betas are fixed",
    "CosineDPMSolverMultistepScheduler": _TREE,
    "DDIMInverseScheduler": _INVERSE,
    "DDPMWuerstchenScheduler": "its noise schedule is fixed",
    "DPMSolverMultistepInverseScheduler": _INVERSE,
    "DPMSolverSDEScheduler": _TREE,
    "DiscreteDDIMScheduler": _TOKENS,
    "EDMDPMSolverMultistepScheduler": _SIGMAS,
    "EDMEulerScheduler": _SIGMAS,
    "EntropyBoundScheduler": _TOKENS,
    "FlowMapEulerDiscreteScheduler": _FLOW,
    "HeliosDMDScheduler": _FLOW,
    "HeliosScheduler": _FLOW,
    "IPNDMScheduler": "its trained_betas are the sigmas of the steps, not betas",
    "KarrasVeScheduler": "it is deprecated, and takes no betas",
    "LTXEulerAncestralRFScheduler": _FLOW,
    "MiniMaxH3Scheduler": _FLOW,
    "PiflowScheduler": _FLOW,
    "RFD4ProteinaScheduler": _FLOW,
    "RePaintScheduler": "it fills a mask in a given image",
    "SCMScheduler": "it is made for TrigFlow and takes no betas",
    "ScoreSdeVeScheduler": _SIGMAS,
    "ScoreSdeVpScheduler": "it is deprecated, and takes no betas",
    "UnCLIPScheduler": "its betas are fixed",
    "VQDiffusionScheduler": _TOKENS,
}

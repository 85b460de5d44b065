"""Which method of ours is which scheduler of diffusers: the one list, for `versus` and for the overhead benchmarks."""

from dataclasses import dataclass, field
from typing import Any

from models.common.errors import UsageError
from models.plugins.registry import unknown
from samplers import SAMPLERS


@dataclass(frozen=True)
class Pair:
    """A method of ours and the scheduler of diffusers that does the same.

    Attributes:
        ours: a specification.
        theirs: class of diffusers, of `diffusers.schedulers`.
        options: of its `__init__`.
        step: of its `step`.
        draws: whether they draw noise.
        clean: whether they go to the clean level; those for the noise prediction cannot in diffusers.
        betas: whether the scheduler takes a model's betas; one that does not asks the network about levels of its own.
    """

    ours: str
    theirs: str
    options: dict[str, Any] = field(default_factory=dict)
    step: dict[str, Any] = field(default_factory=dict)
    draws: bool = False
    clean: bool = True
    betas: bool = True


_SINGLE, _MULTI = "DPMSolverSinglestepScheduler", "DPMSolverMultistepScheduler"
_NOISE_PREDICTION = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
_NEVER_LOWER = _NOISE_PREDICTION | {"lower_order_final": False}
PAIRS = [
    Pair("ddim", "DDIMScheduler"),
    Pair("ddim", "EulerDiscreteScheduler"),
    Pair("ddim[eta=1]", "DDIMScheduler", step={"eta": 1.0}, draws=True),
    Pair("ddim[eta=1]", "EulerAncestralDiscreteScheduler", draws=True),
    Pair("ddpm", "DDPMScheduler", draws=True),
    Pair("heun", "HeunDiscreteScheduler"),
    Pair("edm[s_churn=40,s_min=0.05,s_max=50]", "KarrasVeScheduler", {"s_churn": 40.0}, draws=True, betas=False),
    Pair("dpm-solver-2", _SINGLE, {"solver_order": 2} | _NOISE_PREDICTION, clean=False),
    Pair("dpm-solver-3", _SINGLE, {"solver_order": 3} | _NOISE_PREDICTION, clean=False),
    Pair("dpm++2s", _SINGLE, {"solver_order": 2}),
    Pair("dpm++2m[lower_order_below=0]", _MULTI, {"solver_order": 2}),
    Pair("dpm++3m[halved=true,lower_order_below=0]", _MULTI, {"solver_order": 3}),
    Pair("dpm++2m-sde", _MULTI, {"algorithm_type": "sde-dpmsolver++"}, draws=True),
    Pair("dpm++2m[lower_order_below=0,solver_type=taylor]", _MULTI, {"solver_order": 2, "solver_type": "heun"}),
    Pair("dpm-solver-multistep[lower_order_below=0]", _MULTI, {"solver_order": 2} | _NEVER_LOWER, clean=False),
    Pair(
        "dpm-solver-multistep[solver_order=3,halved=true,lower_order_below=0]",
        _MULTI,
        {"solver_order": 3} | _NEVER_LOWER,
        clean=False,
    ),
    Pair("deis[degree=2,variable=log-rho]", "DEISMultistepScheduler", {"solver_order": 3}, clean=False),
    Pair("deis[degree=3,variable=rho]", "LMSDiscreteScheduler"),
    Pair("ipndm[variant=exact]", "LMSDiscreteScheduler"),
    Pair("ipndm", "IPNDMScheduler", betas=False),
    Pair("pndm", "PNDMScheduler"),
    Pair("pndm[variant=S]", "PNDMScheduler", {"skip_prk_steps": True}),
    Pair("unipc[solver_order=2,first_order_to=clean]", "UniPCMultistepScheduler", {"solver_order": 2}),
    Pair("unipc[solver_order=3,first_order_to=clean]", "UniPCMultistepScheduler", {"solver_order": 3}),
    Pair(
        "unipc[prediction=noise,lower_order_below=0]",
        "UniPCMultistepScheduler",
        {"solver_order": 3, "predict_x0": False, "final_sigmas_type": "sigma_min", "lower_order_final": False},
        clean=False,
    ),
    Pair("sa-solver", "SASolverScheduler", draws=True, clean=False),
    Pair("consistency", "LCMScheduler", {"original_inference_steps": 100}, draws=True),
]


def scheduler_class(pair: Pair) -> type[Any]:
    """The class of diffusers."""
    import diffusers.schedulers  # seconds of import: only where one is used
    from diffusers.schedulers.deprecated.scheduling_karras_ve import KarrasVeScheduler

    found: type[Any] = getattr(diffusers.schedulers, pair.theirs)
    return KarrasVeScheduler if pair.theirs == "KarrasVeScheduler" else found  # what is exported so is a placeholder


def pairs_of(spec: str) -> list[Pair]:
    """The pairs of a specification that can sample a model with betas; however it is spelled.

    Raises:
        UsageError: there is no such sampler, or diffusers has no counterpart of it; says what there is.
    """
    sampler = SAMPLERS.make(spec)
    found = [pair for pair in PAIRS if SAMPLERS.make(pair.ours) == sampler]
    usable = [pair for pair in found if pair.betas]
    if found and not usable:
        raise UsageError(
            f"{spec}: diffusers' {found[0].theirs} knows no betas and asks the network about levels of its own, so the "
            f"two cannot be timed on the same work; choose among: {', '.join(_comparable())}"
        )
    if not found:
        raise unknown("method with a counterpart in diffusers", spec, _comparable())
    return usable


def _comparable() -> list[str]:
    return list(dict.fromkeys(pair.ours for pair in PAIRS if pair.betas))

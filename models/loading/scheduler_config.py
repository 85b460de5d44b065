"""What a checkpoint's `scheduler_config.json` says about its network: diffusers keeps there what the network predicts,
the noise schedule that it was trained on, and whether x_0 is clipped.

How a scheduler walks (spacing, order, Karras sigmas, shifts) is no property of the network: here that is the sampler's
and the grid's. Defaults are the scheduler class's own, because files leave out what was default when they were written.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from models.cards.changes import Changes
from models.common.errors import UsageError
from models.plugins.registry import unknown
from models.schedule import DiscreteVP

OVERRIDE = "or say otherwise in the study's [checkpoint] table"

_BETAS = (
    *("DDPM", "DDPMParallel", "DDIM", "DDIMParallel", "PNDM", "DEISMultistep", "DPMSolverMultistep", "LMSDiscrete"),
    *("DPMSolverSinglestep", "DPMSolverSDE", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "SASolver"),
    *("KDPM2Discrete", "KDPM2AncestralDiscrete", "UniPCMultistep"),
)
_PREDICTIONS = ("epsilon", "sample", "v_prediction")
_MAKERS: dict[str, Callable[..., DiscreteVP]] = {
    "linear": DiscreteVP.linear,
    "scaled_linear": DiscreteVP.scaled_linear,
    "cosine": DiscreteVP.cosine,
    "betas": DiscreteVP,
}


def read_scheduler(config: dict[str, Any], changes: Changes, origin: str) -> dict[str, Any]:
    """The fields of a card that a scheduler's configuration settles; what the study changes is not asked for.

    UsageError, which begins with the file `origin`, for what cannot be represented here.
    """
    name = config.get("_class_name")
    if not isinstance(name, str) or name not in _READERS:
        raise UsageError(f"{origin}: {unknown('scheduler', str(name), _READERS)} Others belong to other networks")
    import diffusers  # seconds of import: only where a folder of diffusers is read

    try:
        scheduler = getattr(diffusers, name).from_config(config)
    except Exception as error:  # diffusers' classes check their arguments each in its own way
        raise UsageError(f"{origin} is no configuration of diffusers' {name}: {error}") from None
    found = dict(scheduler.config)
    _check_flags(type(scheduler), found, origin)
    if config.get("predict_epsilon") is False and "prediction_type" not in config:
        found["prediction_type"] = "sample"  # what it was called before diffusers 0.10, which ignores it today
    return _READERS[name](scheduler, found, changes, origin)


def _check_flags(scheduler: type, config: dict[str, Any], origin: str) -> None:
    """UsageError for flags that are none: Python takes the word "false" for true."""
    defaults = {each.name: each.default for each in inspect.signature(scheduler).parameters.values()}
    for key, value in config.items():
        if isinstance(defaults.get(key), bool) and not isinstance(value, bool | None):
            raise UsageError(f"{origin}: {key} {value!r}; expected true or false")


def _prediction(config: dict[str, Any], changes: Changes, origin: str) -> str:
    said = changes.parametrisation or config["prediction_type"]
    if changes.parametrisation is None and said not in _PREDICTIONS:
        raise UsageError(f"{origin}: prediction_type {said!r}; expected one of {', '.join(_PREDICTIONS)}, {OVERRIDE}")
    return str(said)


def _clip(config: dict[str, Any], changes: Changes, origin: str) -> tuple[float, float] | None:
    if changes.clip is None and config.get("thresholding"):
        raise UsageError(
            f"{origin}: dynamic thresholding of x_0, which is an error floor of its own, has to be asked for: give "
            'checkpoint = { clip = [-1.0, 1.0] } in the study, and clip = "dynamic" to have it; or clip = false'
        )
    if not config.get("clip_sample"):
        return None
    bound = _number(config, "clip_sample_range", origin, default=1.0)
    return (-bound, bound)


def _steps(config: dict[str, Any], origin: str) -> int:
    found = config.get("num_train_timesteps")
    if type(found) is not int or found < 1:
        raise UsageError(f"{origin}: num_train_timesteps {found!r}; expected a whole number above zero")
    return found


def _number(config: dict[str, Any], name: str, origin: str, default: float | None = None) -> float:
    found = config.get(name, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0.0 < found < math.inf:
        raise UsageError(f"{origin}: {name} {found!r}; expected a finite number above zero")
    return float(found)


def _with_betas(scheduler: Any, config: dict[str, Any], changes: Changes, origin: str) -> dict[str, Any]:
    if config.get("use_flow_sigmas"):
        return _multistep_flow(scheduler, config, changes, origin)
    if config.get("timestep_type", "discrete") != "discrete":
        raise UsageError(f"{origin}: a network conditioned on continuous sigmas (timestep_type) is not supported")
    read: dict[str, Any] = {
        "network": "unet",
        "parametrisation": _prediction(config, changes, origin),
        "clip": _clip(config, changes, origin),
        "variance": config.get("variance_type"),
    }
    return read | {"schedule": changes.schedule or _betas(scheduler, config, origin)}


def _betas(scheduler: Any, config: dict[str, Any], origin: str) -> dict[str, Any]:
    if config.get("rescale_betas_zero_snr"):
        raise UsageError(
            f"{origin}: rescale_betas_zero_snr, a terminal SNR of exactly zero is not supported, as nothing of the "
            "image is left there. Give a schedule that ends above it in the study's [checkpoint] table"
        )
    total, trained, kind = _steps(config, origin), config.get("trained_betas"), config["beta_schedule"]
    if trained is not None and not isinstance(trained, list):
        raise UsageError(f"{origin}: trained_betas {trained!r}; expected a list of {total} numbers")
    ends = {"beta_start": float(config["beta_start"]), "beta_end": float(config["beta_end"])}
    schedule: dict[str, Any]
    if trained is not None:
        schedule = {"kind": "betas", "betas": tuple(float(beta) for beta in np.ravel(trained))}
    elif kind in ("linear", "scaled_linear"):
        schedule = {"kind": kind, "train_steps": total} | ends
    elif kind == "squaredcos_cap_v2":
        schedule = {"kind": "cosine", "train_steps": total}
    else:  # of sigmoid, laplace and what may come, diffusers' own table
        schedule = {"kind": "betas", "betas": tuple(scheduler.betas.double().tolist())}
    _compare(schedule, scheduler, total, origin)
    return schedule


def _compare(schedule: dict[str, Any], scheduler: Any, total: int, origin: str) -> None:
    """UsageError unless diffusers makes the same levels of its configuration, up to its float32."""
    theirs = scheduler.alphas_cumprod.double().numpy()
    try:
        made = _MAKERS[schedule["kind"]](**{key: value for key, value in schedule.items() if key != "kind"})
    except ValueError as error:
        raise UsageError(f"{origin}: {error}") from None
    ours = np.exp(2.0 * np.array([made.log_alpha((n + 1) / made.train_steps) for n in range(made.train_steps)]))
    if len(theirs) != total or len(ours) != total or not np.allclose(ours, theirs, rtol=2e-3, atol=1e-9):
        raise UsageError(
            f"{origin}: diffusers' {type(scheduler).__name__} makes {len(theirs)} other levels of it than a "
            f"{schedule['kind']} schedule of {total} has; give the schedule in the study's [checkpoint] table"
        )


def _multistep_flow(scheduler: Any, config: dict[str, Any], changes: Changes, origin: str) -> dict[str, Any]:
    if changes.parametrisation is None and config["prediction_type"] != "flow_prediction":
        raise UsageError(
            f"{origin}: use_flow_sigmas with prediction_type {config['prediction_type']!r}; expected "
            f"'flow_prediction', {OVERRIDE}"
        )
    return _flow(scheduler, config, changes, origin) | {"clip": _clip(config, changes, origin)}


def _flow(scheduler: Any, config: dict[str, Any], changes: Changes, origin: str) -> dict[str, Any]:
    if config.get("invert_sigmas"):
        raise UsageError(f"{origin}: invert_sigmas, a path that runs the other way, is not supported")
    total = _steps(config, origin)
    return {
        "network": "flow",
        "parametrisation": changes.parametrisation or "flow",
        "time_scale": float(total),
        "schedule": changes.schedule or {"kind": "flow", "t_min": 1.0 / total},
    }


def _edm(scheduler: Any, config: dict[str, Any], changes: Changes, origin: str) -> dict[str, Any]:
    raw = config["prediction_type"]
    if raw not in ("epsilon", "v_prediction"):
        raise UsageError(f"{origin}: prediction_type {raw!r}; expected epsilon or v_prediction of an EDM scheduler")
    return {
        "network": "edm",
        "parametrisation": "sample",
        "raw_prediction": None if raw == "epsilon" else raw,
        "sigma_data": _number(config, "sigma_data", origin),
        "clip": _clip(config, changes, origin),
        "schedule": changes.schedule or _exploding(config, origin),
    }


def _consistency(scheduler: Any, config: dict[str, Any], changes: Changes, origin: str) -> dict[str, Any]:
    return {
        "network": "consistency",
        "parametrisation": "sample",
        "sigma_data": _number(config, "sigma_data", origin),
        "clip": (-1.0, 1.0) if config["clip_denoised"] else None,
        "schedule": changes.schedule or _exploding(config, origin),
    }


def _score(scheduler: Any, config: dict[str, Any], changes: Changes, origin: str) -> dict[str, Any]:
    return {
        "network": "sigma",
        "parametrisation": changes.parametrisation or "score",
        "value_range": (0.0, 1.0),  # as ScoreSdeVePipeline reads its images
        "schedule": changes.schedule
        or _exploding(config, origin) | {"kind": "ve-geometric", "t_min": _number(config, "sampling_eps", origin)},
    }


def _exploding(config: dict[str, Any], origin: str) -> dict[str, Any]:
    return {"kind": "ve"} | {name: _number(config, name, origin) for name in ("sigma_min", "sigma_max")}


_Reader = Callable[[Any, dict[str, Any], Changes, str], dict[str, Any]]
_READERS: dict[str, _Reader] = {
    **{f"{name}Scheduler": _with_betas for name in _BETAS},
    "EDMEulerScheduler": _edm,
    "EDMDPMSolverMultistepScheduler": _edm,
    "FlowMatchEulerDiscreteScheduler": _flow,
    "FlowMatchHeunDiscreteScheduler": _flow,
    "ScoreSdeVeScheduler": _score,
    "CMStochasticIterativeScheduler": _consistency,
}

"""What samplers and grids are called elsewhere: all have names or a reason, and diffusers' make our images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import diffusers
import pytest
import torch
from diffusers_runs import (
    SCHEDULE,
    NoiseOf,
    Stepped,
    Theirs,
    as_sigmas,
    as_sigmas_twice,
    as_table,
    as_timesteps,
    ipndm,
    karras_ve,
    kdpm2,
    kdpm2_ancestral,
)
from torch import Tensor

import samplers.known_as as file
from bench.conformance import laws
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.plugins.registry import Registry
from models.plugins.specs import parse_spec
from models.schedule import Flow, Level
from samplers import SAMPLERS
from samplers.known_as import Known, Names, differences, known, names_of, unnamed

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*dpmsolver.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::models.common.errors.Notice"),
]

REGISTRIES: dict[file.Kind, Registry[Any]] = {"samplers": SAMPLERS, "grids": GRIDS}
each_kind = pytest.mark.parametrize("kind", REGISTRIES)


# the file


@each_kind
def test_everything_in_the_tree_has_its_names_or_a_reason(kind: file.Kind) -> None:
    """Fails with what has neither: enter its names in samplers/known_as.toml, or under [unnamed] why it has none."""
    registry = REGISTRIES[kind]
    tree = {name for name in registry.names() if registry.get(name).__module__.startswith(("samplers.", "models."))}
    named = {each.ours.partition("[")[0] for each in known(kind)}
    assert tree - named - set(unnamed(kind)) == set()
    assert not named & set(unnamed(kind))
    assert named | set(unnamed(kind)) <= set(registry.names())
    assert all(reason.strip() for reason in unnamed(kind).values())


@each_kind
def test_entries_are_specifications_in_their_shortest_form_and_each_name_leads_to_its_own(kind: file.Kind) -> None:
    registry, names = REGISTRIES[kind], Names(kind)
    for each in known(kind):
        assert registry.spec_of(registry.make(each.ours)) == each.ours
        found = names.find(each.name)
        assert found is not None
        assert (found.ours, found.differs) == (each.ours, each.differs), each.name
    for name in registry.names():
        listed = [each for places in names_of(kind, name).values() for some in places.values() for each in some]
        assert set(differences(kind, name)) <= set(listed), name
    for ours, entry in file._file()[kind].items():
        assert entry.keys() <= {*file.PLACES, "differs"}, ours
        assert set(entry.get("differs", ())) <= {each.name for each in known(kind) if each.ours == ours}, ours
    for how, several in file._file()["differ"].get(kind, {}).items():
        assert all(how in (each.differs or "") for each in known(kind) if each.name in several), how
        assert set(several) <= {each.name for each in known(kind)}, how


# diffusers


class _Mixture:
    """An exact mixture as diffusers calls a network: eps at a timestep."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.law = laws.mixture_law().network

    def at(self, x: Tensor, level: Level) -> Tensor:
        wide = x.double()
        return ((wide - level.alpha * self.law(wide, level)) / level.sigma).to(x.dtype)

    def unet(self, x: Tensor, timesteps: Tensor, **_: Any) -> tuple[Tensor]:
        (t,) = timesteps.unique().tolist()
        return (self.at(x, SCHEDULE.level((t + 1.0) / 1000)),)


_NETWORK: Any = _Mixture

TO_DATA, TO_NOISE = "quad", "quad[clean=false]"


@dataclass(frozen=True)
class _Way:
    """How levels of ours get into a class of diffusers, and on which grid they are.

    Attributes:
        place, scaled: as `Stepped` has them.
        grid: that the class can walk.
        of_step: arguments of its `step`, which are parameters of the adapter.
        options: of its `__init__`, where its own would do something else that has nothing to do with the method.
    """

    place: Callable[[Any, Sequence[Level], torch.dtype], None] = as_sigmas
    scaled: bool = False
    grid: str = TO_DATA
    of_step: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


_DDIM = _Way(as_table, grid="leading", of_step={"eta": 0.0, "use_clipped_model_output": True})
WAYS = {
    "DDIMScheduler": _DDIM,
    "DDIMParallelScheduler": _DDIM,
    "DDPMScheduler": _Way(as_timesteps),
    "DDPMParallelScheduler": _Way(as_timesteps),
    "DEISMultistepScheduler": _Way(grid=TO_NOISE),
    "DPMSolverMultistepScheduler": _Way(),
    "DPMSolverSinglestepScheduler": _Way(),
    "EulerAncestralDiscreteScheduler": _Way(scaled=True),
    "EulerDiscreteScheduler": _Way(scaled=True),
    "HeunDiscreteScheduler": _Way(as_sigmas_twice, scaled=True),
    "LMSDiscreteScheduler": _Way(scaled=True),
    "PNDMScheduler": _Way(as_table, grid="leading"),
    "SASolverScheduler": _Way(grid=TO_NOISE, options={"tau_func": lambda t: float(200 <= t + 1 <= 800)}),
    "UniPCMultistepScheduler": _Way(),
}
UNLIKE = {"LCMScheduler", "CMStochasticIterativeScheduler", "ScoreSdeVeScheduler", "DPMSolverSDEScheduler"}
"""Those that have to say how they differ, as they cannot be asked about a network without what they were made for, or
without a package that is not there.
"""


def theirs_of(name: str) -> tuple[Theirs, str]:
    """What a class of diffusers makes, and the grid that it is compared on."""
    cls, given = parse_spec(name)
    if cls == "IPNDMScheduler":
        return replace(ipndm(), network=_NETWORK), TO_DATA
    way = WAYS[cls]
    step = way.of_step | {key: value for key, value in given.items() if key in way.of_step}
    options = way.options | {key: value for key, value in given.items() if key not in way.of_step}
    grid = TO_NOISE if options.get("final_sigmas_type") == "sigma_min" else way.grid
    scheduler = getattr(diffusers, cls)
    return Stepped(scheduler, options, way.place, way.scaled, before=lambda _: step, network=_NETWORK), grid


def difference(each: Known, steps: int, noise: NoiseOf, dtype: torch.dtype) -> float:
    """Between the images of a class of diffusers and ours, relative to the largest pixel."""
    cls = each.name.partition("[")[0]
    if cls.startswith("FlowMatch"):
        return _of_flow(each, steps, noise)
    x = noise(1)(torch.empty(2, 1, 8, 8, dtype=dtype))
    of_rho: dict[str, Theirs] = {
        "KarrasVeScheduler": karras_ve(s_churn=80.0, s_noise=1.007, network=_Mixture(dtype).at),
        "KDPM2AncestralDiscreteScheduler": kdpm2_ancestral(_Mixture(dtype).at),
        "KDPM2DiscreteScheduler": kdpm2(_Mixture(dtype).at),
    }
    if cls in of_rho:
        theirs, grid = of_rho[cls], TO_DATA
    else:
        theirs, grid = theirs_of(each.name)
    levels = GRIDS.make(grid)(SCHEDULE, steps)
    model = Denoiser(_Mixture(dtype).at, "epsilon", SCHEDULE)
    ours = SAMPLERS.make(each.ours).sample(model, x, levels, noise(2))
    expected = theirs(x, levels, noise(2))
    return float((ours - expected).abs().max() / expected.abs().max())


def _of_flow(each: Known, steps: int, noise: NoiseOf) -> float:
    """On the levels that it places, but for the start, which not all of ours can have."""
    flow = Flow()
    model, native = Denoiser(laws.mixture_law().network, "sample", flow), GRIDS.make("native")(flow, steps)
    x = noise(1)(torch.empty(2, 1, 8, 8, dtype=torch.float64))
    expected = SAMPLERS.make(f"diffusers:{each.name}").sample(model, x * native[0].sigma, native, noise(2))
    start = "1" if SAMPLERS.make(each.ours).starts_at_noise else "0.9999"
    levels = GRIDS.make(f"linspace[t_start={start},t_end=0.001]")(flow, steps)
    ours = SAMPLERS.make(each.ours).sample(model, x * levels[0].sigma, levels, noise(2))
    return float((ours - expected).abs().max() / expected.abs().max())


CLASSES = [each for each in known("samplers") if each.place == "diffusers"]


@pytest.mark.parametrize("each", CLASSES, ids=[each.name for each in CLASSES])
def test_a_class_of_diffusers_makes_our_images_or_the_entry_says_how_it_differs(each: Known, noise: NoiseOf) -> None:
    if each.name in UNLIKE:
        assert each.differs
        return
    found = max(difference(each, steps, noise, torch.float32) for steps in (5, 6, 10, 20))
    if each.differs is None:
        assert found < 1e-4
    else:
        assert found > 1e-4


def test_every_scheduler_that_can_be_a_sampler_is_known_here_or_not_there_yet() -> None:
    """Those that are under no name of ours: their methods are not in the tree."""
    from samplers.diffusers_schedulers import SCHEDULERS

    missing = set(SCHEDULERS) - {each.name.partition("[")[0] for each in CLASSES}
    assert missing <= {"TCDScheduler"}

"""All images of a cell, whatever the batch: halved where it does not fit, filled up where all have to be alike."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from bench.fitting.model import fitted_to
from bench.noise.stream import ImageNoise
from bench.running.generation import Generation
from bench.running.resolve import Resolved, resolve
from bench.running.session import Session
from bench.running.trajectory import Trajectory
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from bench.timing.memory import fastest_batch
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.loading.model import Model
from models.loading.zoo import load_model
from models.networks.network import IndexedUNet
from models.schedule import Level
from samplers import SAMPLERS, Noise, Sampler

_STUDY = """
name = "test"
title = "Test"
model = "digits-mixture"
metrics = ["law"]
images = 23
batch = 16
device = "cpu"
baseline = { sampler = "ddpm", grid = "trailing", steps = 3 }
[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [3]
"""


@pytest.fixture(scope="module")
def session() -> Session:
    return Session.load(parse_study(_STUDY, "test", Overrides()))


@pytest.fixture(scope="module")
def cell(session: Session) -> Resolved:
    return resolve(plan(session.study)[0], session)


@dataclass(frozen=True)
class _Greedy(Sampler):
    """Runs out of memory with more than so many images."""

    fits: int
    error: type[Exception] = torch.OutOfMemoryError
    said: str = "CUDA out of memory"
    paper = "none"
    order = None
    stochastic = True

    def nfe(self, levels: Sequence[Level]) -> int:
        return 1

    def sample(self, model: Denoiser, x: Tensor, levels: Sequence[Level], noise: Noise) -> Tensor:
        if len(x) > self.fits:
            raise self.error(self.said)
        return model(x, levels[0]).x0 + noise(x)


def _generation(
    session: Session, cell: Resolved, batch: int = 16, *, fixed: bool = False
) -> tuple[Generation, Trajectory]:
    trajectory = Trajectory(session, cell, None)
    return Generation(trajectory, range(session.study.most_images), batch, fixed=fixed), trajectory


def _images(generation: Generation) -> Tensor:
    with torch.inference_mode():
        return torch.cat(list(generation))


@pytest.mark.parametrize("fixed", [False, True])
def test_images_are_the_same_whatever_the_batch_and_however_it_is_filled_up(
    session: Session, cell: Resolved, fixed: bool
) -> None:
    whole, _ = _generation(session, cell, 23)
    parts, trajectory = _generation(session, cell, 16, fixed=fixed)
    images = _images(parts)
    torch.testing.assert_close(images, _images(whole), rtol=0.0, atol=1e-5)
    assert len(images) == 23
    assert parts.drawn == (32 if fixed else 23)
    assert trajectory.evaluations == 3 * parts.drawn


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory"),
        (RuntimeError, "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        (MemoryError, ""),
        (RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_until_it_does(
    session: Session, cell: Resolved, error: type[Exception], said: str
) -> None:
    generation, trajectory = _generation(session, replace(cell, sampler=_Greedy(5, error, said)))
    expected, _ = _generation(session, replace(cell, sampler=_Greedy(23)), 23)
    torch.testing.assert_close(_images(generation), _images(expected), rtol=0.0, atol=1e-5)
    assert (generation.fitting.size, generation.fitting.halvings) == (4, 2)
    assert trajectory.evaluations == generation.drawn == 23


def test_memory_for_less_than_one_image_and_other_errors_end_the_generation(session: Session, cell: Resolved) -> None:
    generation, _ = _generation(session, replace(cell, sampler=_Greedy(0)))
    with pytest.raises(torch.OutOfMemoryError):
        _images(generation)
    assert generation.fitting.size == 1
    generation, _ = _generation(session, replace(cell, sampler=_Greedy(0, RuntimeError, "a sampler broke")))
    with pytest.raises(RuntimeError, match="a sampler broke"):
        _images(generation)
    assert generation.fitting.size == 16


def test_auto_takes_the_batch_with_the_least_time_an_image_that_fits() -> None:
    def seconds(size: int) -> float:
        if size > 256:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0 + 100.0 / size

    def worst_in_between(size: int) -> float:
        return {16: 1.0, 32: 1.1, 64: 0.5, 128: 0.6, 256: 0.6}[size]

    assert fastest_batch(seconds, 50_000) == 256
    assert fastest_batch(seconds, 100) == 64
    assert fastest_batch(seconds, 10) == 10
    assert fastest_batch(worst_in_between, 50_000) == 64
    assert fastest_batch(lambda size: 1.0, 50_000) == 16


@pytest.fixture(scope="module")
def precise() -> Model:
    """The digits network in float64."""
    model = load_model("digits", torch.device("cpu"))
    assert isinstance(model.network, IndexedUNet)
    model.network.unet.double()
    return model


@pytest.mark.parametrize(
    "spec",
    [
        *("heun", "ddpm", "dpm++2m-sde", "rk45[rtol=0.1,atol=0.1]", "dpm-adaptive"),
        "dpm-solver-v3[images=16,nodes=8]",
    ],
)
def test_images_of_a_seed_do_not_depend_on_the_batch(spec: str, precise: Model) -> None:
    """To 1e-9 with the digits network in float64; in float32 it differs by 1e-6 between batch sizes in itself.

    Every sampler is asked for this in closed form, by the conformance suite: here it is the network's part, under one
    sampler of each kind: without noise, with it, with a past, with its own steps, an image or a batch, and fitted.
    """
    model, levels = precise, GRIDS.make("trailing")(precise.schedule, 6)

    def denoiser_of(numbers: Tensor, fitted: object = None) -> Denoiser:
        return Denoiser(model.network, model.card.parametrisation, model.schedule, model.card.clip, fitted=fitted)

    fitted = fitted_to(SAMPLERS.make(spec), denoiser_of, model.card.shape)

    def draw(numbers: Tensor) -> Tensor:
        noise = ImageNoise(0, numbers)
        x = noise(torch.empty(len(numbers), *model.card.shape, dtype=torch.float64))
        denoiser = denoiser_of(numbers, fitted)
        with torch.inference_mode():
            return SAMPLERS.make(spec).sample(denoiser, x, levels, noise)

    one_by_one = spec.startswith(("rk45", "dpm-adaptive"))  # in any case
    numbers, few = torch.arange(4 if one_by_one else 8), 3
    whole = draw(numbers)
    for batch in (1, few):
        parts = torch.cat([draw(part) for part in numbers[:few].split(batch)])
        torch.testing.assert_close(parts, whole[:few], rtol=0, atol=1e-9)

"""Reference solutions against a closed form and scipy's eighth-order method, and what is kept of them."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from scipy.integrate import solve_ivp
from torch import Tensor

from bench.conformance import laws
from bench.fitting.flow import solve
from bench.noise.stream import ImageNoise
from bench.running import solution
from bench.running.solution import Problem, Solutions, decibels, evaluations, has_solver_error
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.loading.zoo import load_model
from models.networks.network import counted as count
from models.schedule import DiscreteVP, Flow, Level, Schedule
from samplers import SAMPLERS

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def noise(count: int, seed: int = 0) -> Tensor:
    return ImageNoise(seed, torch.arange(count))(torch.empty(count, *SHAPE, dtype=torch.float64))


def problem(network: object = None, *, first: float = 1.0, last: float = 0.0, **changes: object) -> Problem:
    """On a Gaussian, from time to time of the linear discrete schedule."""
    schedule, law = DiscreteVP.linear(), network or laws.gaussian()
    values = {"identity": {"model_sha256": "a1"}, "shape": SHAPE, "seed": 0, "count": 6, "batch": 4, "device": CPU}
    values |= {"denoiser": lambda numbers: Denoiser(law, "sample", schedule)}  # type: ignore[arg-type]
    values |= {"first": schedule.level(first), "last": schedule.level(last)}
    return Problem(**(values | changes))  # type: ignore[arg-type]


def rms(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())


def test_the_solution_is_the_closed_form_on_a_gaussian(schedule: Schedule) -> None:
    """On every kind of schedule, flow matching's alpha = 0 among them, down to a noisy level and to clean data."""
    law, start = laws.gaussian(), schedule.level(1.0)
    x, model = noise(4) * schedule.prior_std(start), Denoiser(law, "sample", schedule)
    middle, lowest = schedule.level(max(0.1, 2 * schedule.t_min)), schedule.level(schedule.t_min)
    for last, expected in (
        (middle, law.flow(x, start, middle)),
        (schedule.level(0.0), law(law.flow(x, start, lowest), lowest)),
    ):
        found = [rms(solve(model, x, start, last, steps), expected) for steps in (60, 120)]
        assert found[1] < 1e-5
        assert found[1] < found[0] / 6.0  # order 4 but for the kinks of discrete schedules


def test_twice_the_steps_have_a_sixteenth_of_the_error_where_the_schedule_is_smooth() -> None:
    schedule, law = Flow(), laws.gaussian()
    start, end = schedule.level(1.0), schedule.level(1e-3)
    x = noise(4)
    expected = law.flow(x, start, end)
    found = [rms(solve(Denoiser(law, "sample", schedule), x, start, end, steps), expected) for steps in (50, 100)]
    assert 14.0 < found[0] / found[1] < 18.0


def test_it_agrees_with_scipys_eighth_order_method_on_the_mixture_of_digits() -> None:
    """In another state and variable: d(x / alpha) / d log rho = rho eps, rho = sigma / alpha."""
    model = load_model("digits-mixture", CPU)
    denoiser = Denoiser(model.network, "sample", model.schedule)
    start, end = model.schedule.level(1.0), model.schedule.level(0.02)
    x = noise(2)

    def slope(log_ratio: float, flat: np.ndarray) -> np.ndarray:
        level = model.schedule.at_ratio(math.exp(log_ratio))
        state = torch.from_numpy(level.alpha * flat).reshape(x.shape)
        return level.ratio * denoiser(state, level).eps.flatten().numpy()

    span, flat = (math.log(start.ratio), math.log(end.ratio)), x.flatten().numpy() / start.alpha
    found = solve_ivp(slope, span, flat, method="DOP853", rtol=1e-9, atol=1e-9)
    expected = end.alpha * torch.from_numpy(found.y[:, -1]).reshape(x.shape)
    assert rms(solve(denoiser, x, start, end), expected) < 2e-6


def test_the_stated_error_is_above_the_true_one(tmp_path: Path) -> None:
    law, given = laws.gaussian(), problem()
    schedule = DiscreteVP.linear()
    lowest = schedule.level(schedule.t_min)
    found = Solutions(tmp_path).of(given)
    expected = law(law.flow(noise(6).float().double(), given.first, lowest), lowest)
    assert rms(found.images.double(), expected) < found.error + 3e-7  # float32 of the stored images
    assert found.error < 1e-5


def test_a_better_solver_is_nearer_to_the_solution_and_the_columns_say_how_near(tmp_path: Path) -> None:
    schedule, solutions, count = DiscreteVP.linear(), Solutions(tmp_path), 6
    errors = {}
    for name in ("ddim", "dpm++2m", "unipc"):
        levels = GRIDS.make("logsnr")(schedule, 20)
        given = problem(first=levels[0].t, last=levels[-1].t)
        source = ImageNoise(0, torch.arange(8))
        x = source(torch.empty(8, *SHAPE))
        samples = SAMPLERS.make(name).sample(given.denoiser(torch.arange(8)), x, levels, source)
        columns = solutions.columns(given, samples)
        assert columns["solver_images"] == count
        difference = samples[:count].double() - solutions.of(given).images.double()
        each = difference.square().flatten(1).mean(1)
        assert columns["solver_rmse"] == pytest.approx(float(each.mean().sqrt()), rel=1e-9)
        assert columns["solver_rmse_median"] == pytest.approx(float(each.sort().values[2].sqrt()), rel=1e-9)
        errors[name] = columns["solver_rmse"]
    assert errors["unipc"] < errors["dpm++2m"] / 2 < errors["ddim"] / 4
    assert len(list(tmp_path.iterdir())) == 1  # one solution for all of them


def test_psnr_is_that_of_clamped_images_over_the_value_range(tmp_path: Path) -> None:
    given = problem(count=23, value_range=(-2.0, 2.0), steps=20)
    exact = Solutions(tmp_path).of(given).images
    noisy = exact + 0.1 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(0))
    noisy[3] += 50.0  # beyond the range, it is white
    found = Solutions(tmp_path).psnr(given, noisy)
    each = []
    for image, other in zip(noisy.double().numpy(), exact.double().numpy(), strict=True):
        mse = np.mean((np.clip(image, -2, 2) - np.clip(other, -2, 2)) ** 2)
        each.append(10 * math.log10(16 / mse))
    assert found["psnr"] == pytest.approx(np.mean(each), rel=1e-9)
    without = [np.mean([value for n, value in enumerate(each) if n % 10 != block]) for block in range(10)]
    assert found["psnr_left_out"] == pytest.approx(without, rel=1e-9)
    error = math.sqrt(0.9 * np.sum((np.array(without) - np.mean(without)) ** 2))
    assert found["psnr_std"] == pytest.approx(error, rel=1e-6)
    assert (found["solver_images"], found["solver_steps"]) == (23, 20)
    assert "solver_rmse" not in found
    assert Solutions(tmp_path).psnr(problem(count=9, steps=20), noisy)["psnr_left_out"] is None


def test_equal_images_have_120_db_and_others_less(tmp_path: Path) -> None:
    given = problem(steps=20)
    exact = Solutions(tmp_path).of(given).images
    assert Solutions(tmp_path).psnr(given, exact)["psnr"] == 120.0
    images = torch.zeros(3, *SHAPE)
    others = torch.stack([images[0] + 2e-7, images[0] + 2e-5, images[0] + 1.0])
    found = decibels(images, others, (-1.0, 1.0)).tolist()
    assert found == pytest.approx([120.0, 100.0, 10 * math.log10(4)], abs=1e-4)


def test_psnr_is_of_decoded_images_in_batches_and_solver_error_of_what_samplers_give(tmp_path: Path) -> None:
    seen = list[int]()

    def decoded(latents: Tensor) -> Tensor:
        seen.append(len(latents))
        return latents.repeat_interleave(2, dim=2).tanh()

    given = problem(decoded=decoded, steps=20)
    exact = Solutions(tmp_path).of(given).images
    samples = exact + 0.5
    found = Solutions(tmp_path).psnr(given, samples)
    assert seen == [4, 4, 2, 2]
    difference = (samples.double().tanh() - exact.double().tanh()).square().flatten(1).mean(1)
    assert found["psnr"] == pytest.approx(float((10 * (4 / difference).log10()).mean()), rel=1e-5)
    assert Solutions(tmp_path).columns(given, samples)["solver_rmse"] == pytest.approx(0.5)


def test_fewer_steps_are_another_solution_and_the_usual_ones_the_same(tmp_path: Path, counted: list[int]) -> None:
    """The usual number of steps is that of `counted`."""
    usual, said = (Solutions(tmp_path).place(problem(steps=steps)) for steps in (None, 8))
    assert usual == said
    coarse = Solutions(tmp_path).columns(problem(steps=4), torch.zeros(6, *SHAPE))
    fine = Solutions(tmp_path).columns(problem(), torch.zeros(6, *SHAPE))
    assert (coarse["solver_steps"], fine["solver_steps"]) == (4, 8)
    assert coarse["solver_rmse_reference"] > 2 * fine["solver_rmse_reference"]
    assert len(list(tmp_path.iterdir())) == 2
    last = problem().last
    assert [evaluations(last, steps) for steps in (None, 8, 20)] == [50, 50, 122]


def test_errors_without_a_tenth_of_the_images_are_those_of_the_others(tmp_path: Path) -> None:
    given = problem(count=23)
    images = Solutions(tmp_path).of(given).images
    samples = images + torch.arange(23).view(-1, 1, 1, 1)
    columns = Solutions(tmp_path).columns(given, samples)
    squares = torch.arange(23.0).double().square()
    expected = [float(squares[torch.arange(23) % 10 != block].mean().sqrt()) for block in range(10)]
    assert columns["solver_rmse_left_out"] == pytest.approx(expected, rel=1e-6)
    few = Solutions(tmp_path).columns(problem(count=9), samples)
    assert few["solver_rmse_left_out"] is None


def test_a_start_at_the_lowest_level_leaves_the_posterior_mean() -> None:
    law, schedule = laws.gaussian(), DiscreteVP.linear()
    x, lowest = noise(3), schedule.level(schedule.t_min)
    network, evaluated = count(law)
    model = Denoiser(network, "sample", schedule)
    assert torch.equal(solve(model, x, lowest, schedule.level(0.0)), law(x, lowest))
    assert evaluated() == len(x)


def test_the_network_sees_its_own_precision_and_as_many_states_as_stated() -> None:
    seen = set()

    def network(x: Tensor, at: Level) -> Tensor:
        seen.add(x.dtype)
        return torch.zeros_like(x)

    evaluate, evaluated = count(network)
    model = Denoiser(evaluate, "sample", DiscreteVP.linear())
    x = noise(2).float()
    kept = x.clone()
    found = solve(model, x, model.schedule.level(1.0), model.schedule.level(0.0), 10)
    assert (seen, found.dtype) == ({torch.float32}, torch.float64)
    assert evaluated() == 2 * (4 * 10 + 1)
    assert torch.equal(x, kept)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batches that are solved, each with its number of images; few steps, as it is about files."""
    monkeypatch.setattr(solution, "STEPS", 8)
    batches = list[int]()
    plain = solve

    def spy(model: Denoiser, x: Tensor, first: Level, last: Level, steps: int, jumps: Sequence[float]) -> Tensor:
        batches.append(len(x))
        return plain(model, x, first, last, steps, jumps)

    monkeypatch.setattr(solution, "solve", spy)
    return batches


def test_a_solution_is_solved_once_and_read_again_by_a_resumed_run(tmp_path: Path, counted: list[int]) -> None:
    first = Solutions(tmp_path / "run").of(problem())
    assert counted == [4, 4, 2, 2]  # images 0 ... 3 and 4, 5, each in all and in half of the steps
    again = Solutions(tmp_path / "run").of(problem())
    assert len(counted) == 4
    assert torch.equal(again.images, first.images)
    assert again.error == first.error
    assert [path.suffix for path in (tmp_path / "run").iterdir()] == [".safetensors"]


def test_an_image_of_a_solution_does_not_depend_on_its_batch(tmp_path: Path, counted: list[int]) -> None:
    found = [Solutions(tmp_path / str(batch)).of(problem(batch=batch)).images for batch in (1, 4)]
    torch.testing.assert_close(*found, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"count": 5}, {"first": 0.9}, {"last": 0.1}, {"identity": {"model_sha256": "a1", "clip": [-1, 1]}}],
    ids=lambda changes: next(iter(changes)),
)
def test_whatever_changes_the_solution_changes_its_name(
    tmp_path: Path, counted: list[int], changes: dict[str, object]
) -> None:
    Solutions(tmp_path).of(problem())
    Solutions(tmp_path).of(problem(**changes))  # type: ignore[arg-type]
    assert len(list(tmp_path.iterdir())) == 2


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


@pytest.mark.parametrize("damage", ["cut", "pixel", "exponent of the error", "empty", "nothing said", "another's"])
def test_a_damaged_file_is_solved_again(tmp_path: Path, counted: list[int], damage: str) -> None:
    expected = Solutions(tmp_path / "run").of(problem())
    (path,) = (tmp_path / "run").iterdir()
    Solutions(tmp_path / "other").of(problem(first=0.9))
    (other,) = (tmp_path / "other").iterdir()
    counted.clear()
    content = path.read_bytes()
    damaged = {
        "cut": content[:-10],
        "pixel": _flipped(content, len(content) - 3),
        "exponent of the error": content.replace(error := expected.error.hex().encode(), b"0x1.8p+9".ljust(len(error))),
        "empty": b"",
        "nothing said": save({"images": expected.images}),
        "another's": other.read_bytes(),
    }[damage]
    assert damaged != content
    path.write_bytes(damaged)
    found = Solutions(tmp_path / "run").of(problem())
    assert torch.equal(found.images, expected.images)
    assert found.error == expected.error
    assert len(counted) == 4
    Solutions(tmp_path / "run").of(problem())
    assert len(counted) == 4


def test_who_draws_noise_places_its_own_steps_or_has_no_flow_has_no_solver_error() -> None:
    """rk45 declares no order, but solves the flow; one-step is as far from it as its error says."""
    for name, is_generator, expected in (
        ("ddim", False, True),
        ("rk45", False, True),
        ("one-step", False, True),
        ("one-step", True, False),
        ("ddpm", False, False),
        ("ddim[eta=0.5]", False, False),
        ("diffusers:DDIMScheduler", False, False),
    ):
        assert has_solver_error(SAMPLERS.make(name), is_generator) is expected, name

"""How fast: DDPM's U-Net in every mode and batch beside diffusers' loop, a quality cell, and what a step costs."""

import statistics
from collections.abc import Callable
from functools import partial

import overhead
import torch

from bench.environment import device_name
from bench.record import RunFolder
from bench.running.resolve import resolve
from bench.running.session import Session
from bench.study.plan import plan
from bench.study.study import Baseline, Block, Study, Timing
from bench.timing.clock import Stopwatch
from bench.timing.flops import gflop_per_evaluation, vendor_peak_tflops
from bench.versus.ours import Ours
from bench.versus.pairs import PAIRS, pairs_of
from bench.versus.peers import Setting
from bench.versus.sampling import BARE, OURS, THEIRS, Sampling, compare
from bench.versus.turns import Ratio, in_turns
from models.loading.zoo import load_model
from models.networks.execution import arithmetic
from models.networks.modes import parse_mode

from .job import Job
from .prepare import COMPILED, compiled_batches, ddpm, speed_batches

_FASTEST, _REST = ("bf16+channels_last", "bf16+channels_last+graph"), ("bf16", "tf32", "fp32", "fp32+graph")
_COMPILED = (COMPILED, f"{COMPILED}+graph")
_LEAST_S = 12.0
"""What a mode takes; none is begun with less."""
_SAMPLER, _LARGE = "ddim", 128
_CELL_MODE = "bf16+channels_last"


def run(job: Job) -> None:
    """Measure; what is needed most first."""
    device = job.device
    job.put(device=device_name(device), gflop_per_evaluation=_gflop(job))
    with job.attempt("ceilings"):
        _ceilings(job)
    cuda, batches, ends = device.type == "cuda", speed_batches(job), compiled_batches(job)
    first = [(mode, batches) for mode in _FASTEST[: None if cuda else 1]]
    first += [(mode, ends) for mode in _COMPILED[: None if cuda else 1]]
    parts: list[tuple[str, Callable[[], None]]] = [(mode, partial(_mode, job, mode, each)) for mode, each in first]
    parts += [("quality cell", partial(_quality_cell, job)), ("overhead", partial(_overhead, job))]
    parts += [(mode, partial(_mode, job, mode, ends)) for mode in (_REST if cuda else _REST[2:3])]
    for what, part in parts:
        with job.attempt(what):
            if job.left_s < _LEAST_S:
                raise TimeoutError(f"not begun with {job.left_s:.0f} s left")
            part()


def _gflop(job: Job) -> float:
    """GFLOP of an evaluation of one image, counted on the CPU."""
    cpu = torch.device("cpu")
    model = load_model(ddpm(job), cpu)
    level = model.schedule.level(0.5)
    return gflop_per_evaluation(lambda x: model.network(x, level), model.card.state_shape, cpu)


def _ceilings(job: Job) -> None:
    """What the device does at most: bytes read and written by a copy, a large product in bf16."""
    device, side = job.device, 256 if job.rehearse else 8192
    stopwatch = Stopwatch(device)
    source = torch.randn(side * side * 16, device=device)
    x = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    copy = min(stopwatch.seconds(source.clone) for _ in range(5))
    product = min(stopwatch.seconds(lambda: x @ x) for _ in range(5))
    job.put(copy_tb_per_s=8 * source.numel() / copy / 1e12, bf16_product_tflops=2 * side**3 / product / 1e12)


def _mode(job: Job, name: str, batches: tuple[int, ...]) -> None:
    """A row a batch: evaluations alone, in our `sample` call, and in diffusers' pipeline, in the same rounds."""
    mode, (pair, *_) = parse_mode(name), pairs_of(_SAMPLER)
    steps = {batch: 2 if job.rehearse else 4 if batch >= _LARGE else 10 for batch in batches}
    setting = Setting(steps[batches[0]], batches[0], job.device)
    ours = Ours.load(ddpm(job), [_SAMPLER], mode, setting, ["solver_error"], 16)[0]
    for batch in batches:
        rounds = 2 if batch >= _LARGE else 5
        found = compare(ours, pair, Setting(steps[batch], batch, job.device), rounds, lambda: None)
        job.append("modes", _row(job, found, batch))


def _row(job: Job, found: Sampling, batch: int) -> dict[str, object]:
    evaluations = round(found.evaluations)
    ours, theirs, bare = (statistics.median(found.seconds[name]) for name in (OURS, THEIRS, BARE))
    # a captured call has the evaluations of the captured network, which cannot be timed by themselves
    rate = batch * evaluations / (ours if found.captured else bare)
    peak = vendor_peak_tflops(device_name(job.device), parse_mode(found.mode).precision)
    gflop = job.found("gflop_per_evaluation")
    return {
        "mode": found.mode,
        "batch": batch,
        "captured": found.captured,
        "ms_per_evaluation": 1000.0 * batch / rate,
        "image_evaluations_per_s": rate,
        "fraction_of_peak": None if peak is None else rate * gflop / 1000.0 / peak,
        "ours_over_bare": None if found.captured else ours / bare,  # a replay beside an eager network is no overhead
        "diffusers_over_ours": theirs / ours,
        "grey_levels_apart": found.apart,
        "seconds": found.seconds,
    }


def _quality_cell(job: Job) -> None:
    """A whole cell, from noise to its record, beside as many bare evaluations."""
    images, batch, steps = (32, 4, 2) if job.rehearse else (4096, 512, 10)
    study = Study(
        name="cell",
        title="cell",
        model=ddpm(job),
        extractor={"name": "cifar10"},  # type: ignore[arg-type]  # validated
        images=images,
        batch=batch,
        timing=Timing(repeats=0),
        device=str(job.device),
        modes=[_CELL_MODE],
        metrics=["fd"],
        baseline=Baseline(sampler=_SAMPLER, grid="trailing", steps=steps),
        block=[Block(samplers=[_SAMPLER], grids=["trailing"], steps=[steps])],
    )
    session, folder = Session.load(study), RunFolder(job.work / "cell")
    ours = Ours(session, resolve(plan(study)[0], session))
    folder.create()
    bare, stopwatch = ours.bare(batch, steps), Stopwatch(job.device)
    calls: dict[str, Callable[[], object]] = {
        "cell": partial(ours.measured, folder),
        BARE: lambda: [bare() for _ in range(images // batch)],
    }

    def timed(name: str, call: Callable[[], object], _: int) -> dict[str, float]:
        return {name: stopwatch.seconds(call)}

    with torch.inference_mode(), arithmetic(parse_mode(_CELL_MODE).precision):
        for call in calls.values():
            call()
        seconds = in_turns({name: partial(timed, name, call) for name, call in calls.items()}, 4, lambda: None)
    ratio = Ratio.of(seconds["cell"], seconds[BARE])
    job.put(quality_cell={"images": images, "steps": steps, "over_bare": ratio.median, "seconds": seconds})


def _overhead(job: Job) -> None:
    """Microseconds a step of every sampler and of diffusers' scheduler, on a network that is free."""
    pairs, repeats, kept = (PAIRS[:3], 2, 4.0) if job.rehearse else (PAIRS, 5, 25.0)
    for pair in pairs:
        if job.left_s < kept:
            job.append("errors", {"what": "overhead", "error": f"no time for {pair.ours} and those after it"})
            return
        with job.attempt(f"overhead of {pair.ours}"):
            size = overhead.SIZES["3x32x32"]
            ours, theirs = overhead.measure(pair, size, repeats, own_noise=pair.draws, device=job.device)
            least = {"us_per_step": 1e6 * float(ours.min()), "diffusers_us_per_step": 1e6 * float(theirs.min())}
            job.append("overhead", {"sampler": pair.ours, "diffusers": pair.theirs, **least})

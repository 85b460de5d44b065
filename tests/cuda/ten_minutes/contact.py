"""First contact: noise, samplers, graphs, clocks and memory of the device, each line with the number that decides it.

`tests/cuda` has the same and more as tests; here a line that is wrong stops no other, and says by how much it is wrong.
"""

import statistics
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import device_cells
import torch
from device_cells import apart, cell_of, drawn
from tape import Tape, noise_of_tensors
from torch import Tensor

from bench.environment import device_name
from bench.noise.stream import normal
from bench.running.generation import Generation
from bench.running.session import Session
from bench.running.trajectory import Trajectory
from bench.timing.capture import CudaGraph, Graph
from bench.timing.clock import Stopwatch
from models.networks.execution import arithmetic

from .job import Job

FIVE = ("ddim", "ddpm", "heun", "unipc", "langevin")
_CPU = torch.device("cpu")
_FIRST, _OTHER = torch.arange(8), torch.arange(500, 508)


class Line(NamedTuple):
    """What must be true: `measured` is at most `bound`."""

    what: str
    measured: float
    bound: float


def run(job: Job) -> None:
    """Go through all lines."""
    device = job.device
    job.put(device=device_name(device), torch=torch.__version__)
    session, on_cpu = (Session.load(device_cells.study_of(at)) for at in (device, _CPU))
    checks: list[tuple[str, Callable[[], Iterator[Line]]]] = [("noise", partial(_noise, device))]
    for name in FIVE:
        checks.append((f"{name} as on the CPU", partial(_as_on_cpu, session, on_cpu, name)))
        checks.append((f"{name} captured", partial(_captured, session, name)))
        checks.append((f"{name} without waiting", partial(_without_waiting, session, name)))
    checks += [("clocks", partial(_clocks, session)), ("memory", partial(_memory, session))]
    for what, check in checks:
        with job.attempt(what), torch.inference_mode(), arithmetic("fp32"):
            if device.type != "cuda" and what.endswith(_ON_CUDA):
                job.append("lines", {"what": what, "ok": None, "note": "means nothing on a CPU"})
                continue
            for line in check():
                ok = line.measured <= line.bound
                job.append("lines", {"what": line.what, "ok": ok, "measured": line.measured, "bound": line.bound})


_ON_CUDA = ("without waiting", "clocks", "memory")


def _noise(device: torch.device) -> Iterator[Line]:
    """Normal numbers are those of the CPU bit for bit."""
    images, unequal, ulps = torch.tensor([0, 5, 16, 2**32 - 1]), 0, 0
    for seed in (0, 1, 2**33 + 7, 2**64 - 1):
        for size, draws in ((192, range(3)), (3072, range(2**31 - 1, 2**31 + 2))):
            expected = normal(seed, images, draws, size, torch.float32)
            found = normal(seed, images.to(device), draws, size, torch.float32).cpu()
            distance = (found.view(torch.int32).long() - expected.view(torch.int32).long()).abs()
            unequal, ulps = unequal + int((distance > 0).sum()), max(ulps, int(distance.max()))
    # the kernel promises float64 to its last digits, which round to one float32 or, now and then, to the next
    yield Line(f"noise: units in the last place of float32 apart ({unequal} numbers are not the CPU's)", ulps, 1)


def _as_on_cpu(session: Session, on_cpu: Session, name: str) -> Iterator[Line]:
    """Root mean square, on a scale where black to white is 2."""
    found, expected = (drawn(Trajectory(at, cell_of(at, name), None), _FIRST) for at in (session, on_cpu))
    yield Line(f"{name}: apart from the CPU's images", apart(found, expected), 1e-4)


def _captured(session: Session, name: str) -> Iterator[Line]:
    """A graph gives other images as an eager call does."""
    on_cuda = session.device.type == "cuda"
    graphs: Callable[[], Graph] = CudaGraph if on_cuda else Tape
    with nullcontext() if on_cuda else noise_of_tensors():
        yield from _replayed(session, name, graphs)


def _replayed(session: Session, name: str, graphs: Callable[[], Graph]) -> Iterator[Line]:
    cell = cell_of(session, name)
    replayed, plain = Trajectory(session, cell, graphs), Trajectory(session, cell, None)
    replayed.prepare(_FIRST)
    if not replayed.captured:
        raise RuntimeError(replayed.refusal)
    other = drawn(replayed, _OTHER)
    yield Line(f"{name}: captured from eager, at most", _furthest(other, drawn(plain, _OTHER)), 1e-5)
    yield Line(f"{name}: replayed after other images, at most", _furthest(drawn(replayed, _OTHER), other), 0.0)


def _furthest(images: Tensor, others: Tensor) -> float:
    return float((images - others).abs().max())


def _without_waiting(session: Session, name: str) -> Iterator[Line]:
    """Nothing inside `sample` makes the host wait for the device."""
    trajectory = Trajectory(session, cell_of(session, name), None, clocked=True)
    start = trajectory.start(_FIRST)
    trajectory(start)  # what is done once only: choices of kernels, coefficients
    torch.cuda.set_sync_debug_mode("error")
    try:
        trajectory(start)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    yield Line(f"{name}: waits for the device", 0, 0)


def _clocks(session: Session) -> Iterator[Line]:
    """The device's events and the host's clock agree on a call of a large batch."""
    trajectory, stopwatch = Trajectory(session, cell_of(session, "ddim"), None, clocked=True), Stopwatch(session.device)
    start = trajectory.start(torch.arange(8192))
    trajectory(start)
    calls = [stopwatch.time(lambda: trajectory(start), trajectory.clocks) for _ in range(7)]
    off = [abs(1.0 - (call.device_seconds or 0.0) / call.seconds) for call in calls]
    yield Line("clocks: events from the host's clock, as a fraction", statistics.median(off), 0.02)
    inside = [(call.network_seconds or 0.0) / (call.device_seconds or 1.0) for call in calls]
    yield Line("clocks: time in the network of that of the call", statistics.median(inside), 1.0)


def _memory(session: Session) -> Iterator[Line]:
    """A batch that does not fit is halved, and the images stay what they are."""
    device, images = session.device, 20_000
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    allowed = torch.cuda.memory_reserved(device) + 128 * 2**20
    torch.cuda.set_per_process_memory_fraction(allowed / total, device)
    try:
        generation = Generation(Trajectory(session, cell_of(session, "ddim"), None), range(images), images, fixed=False)
        whole = torch.cat([batch.cpu() for batch in generation])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()
    yield Line("memory: halvings of a batch that does not fit, 1 at least", -generation.fitting.halvings, -1)
    plain = drawn(Trajectory(session, cell_of(session, "ddim"), None), torch.arange(images - 8, images))
    yield Line("memory: images of the halved batch apart from a small one's", apart(whole[-8:], plain), 1e-3)

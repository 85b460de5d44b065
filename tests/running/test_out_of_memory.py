"""A lack of memory is told by an error's class or words; wherever it comes, fewer images are worked on at a time."""

import dataclasses
import errno
import resource
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from quiet import Quiet
from torch import Tensor

from bench.quality.extractor import Extractor
from bench.quality.extractors import load_extractor
from bench.quality.features import extract
from bench.quality.metrics import QualityStream
from bench.quality.reference import load_reference
from bench.quality.reference_maker import write_statistics
from bench.record import RunFolder
from bench.running.estimate import estimate
from bench.running.runner import run_study
from bench.running.session import PLAIN, Session
from bench.running.solution import Problem, Solutions
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.timing import memory
from bench.timing.memory import Halving, is_out_of_memory
from models.common.sealed import load_sealed
from models.loading.zoo import load_model
from models.networks.modes import Mode

WARM_UP = Session.warm_up
"""As it is, which conftest takes away."""

_STUDY = """
name = "test"
title = "Test"
model = "digits-mixture"
metrics = ["solver_error"]
images = 23
batch = 16
device = "cpu"
timing = { repeats = 2, seconds = 0.0 }
baseline = { sampler = "ddim", grid = "trailing", steps = 3 }
[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [3]
"""


def _raised_from(cause: BaseException) -> RuntimeError:
    """As torch.compile raises what its compiler did not have the memory for."""
    error = RuntimeError("backend='inductor' raised:")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("FIND was unable to find an engine to execute this computation"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        _raised_from(MemoryError()),
        _raised_from(_raised_from(OSError(errno.ENOMEM, "fork"))),
    ],
    ids=repr,
)
def test_what_torch_and_cudnn_say_where_memory_does_not_suffice_is_understood(error: BaseException) -> None:
    """The engines' words stand in torch's library for CUDA: it swallows each workspace's lack of memory before."""
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "said", ["called a synchronizing CUDA operation", "operation not permitted when stream is capturing", "broke"]
)
def test_other_errors_of_a_device_are_none(said: str) -> None:
    assert not is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(OSError(errno.ENOSPC, "No space left on device"))


def _greedy(fits: int, images: int) -> None:
    if images > fits:
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_size_is_halved_until_it_fits_and_stays_so_and_a_remark_says_it() -> None:
    tried, released = list[int](), list[None]()

    def attempt(size: int) -> int:
        tried.append(size)
        _greedy(5, size)
        return size

    fitting = Halving(23, lambda: released.append(None))
    assert fitting.remarks("images were made") == []
    assert (fitting(attempt), fitting(attempt)) == (3, 3)
    assert (tried, len(released), fitting.halvings) == ([23, 12, 6, 3, 3], 3, 3)
    assert fitting.remarks("images were made") == ["images were made 3 at a time: 23 did not fit into the memory"]
    with pytest.raises(torch.OutOfMemoryError):
        Halving(4)(lambda size: _greedy(0, size))


def test_what_onednn_has_no_memory_for_is_tried_again_in_another_thread_where_it_may_make_code_again() -> None:
    first, inference = threading.get_ident(), list[bool]()

    def attempt(size: int) -> int:
        inference.append(torch.is_inference_mode_enabled())
        if size > 4 or threading.get_ident() == first:
            raise RuntimeError("could not create a primitive")
        return size

    with torch.inference_mode():
        assert Halving(16)(attempt) == 4
    assert inference == [True, True, True]


class _Network:
    """A network that runs out of memory with more than so many images.

    Attributes:
        network: what it stands before.
        fits: so many.
        seen: how many images each evaluation was asked for.
    """

    def __init__(self, network: Any, fits: int) -> None:
        self.network, self.fits, self.seen = network, fits, list[int]()

    def __call__(self, x: Tensor, *rest: Any) -> Tensor:
        self.seen.append(len(x))
        _greedy(self.fits, len(x))
        found: Tensor = self.network(x, *rest)
        return found


def _session(fits: int, mode: Mode = PLAIN) -> Session:
    session = Session.load(parse_study(_STUDY, "test", Overrides()))
    network: Any = _Network(session.subject.network, fits)
    greedy = dataclasses.replace(session.subject, network=network, mode=mode)
    return dataclasses.replace(session, subject=greedy, models=dict.fromkeys(session.models, greedy))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.running.estimate._CALIBRATION_S", 0.0)
    monkeypatch.setattr("bench.running.solution.STEPS", 4)


@pytest.mark.usefixtures("brief")
def test_a_run_is_warmed_up_and_estimated_with_as_many_images_as_fit() -> None:
    session = _session(5)
    WARM_UP(session, 0.0)
    (rate,) = estimate(session).rates.values()
    assert rate.batch == 4
    assert rate.seconds > 0.0


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("mode", [PLAIN, Mode(compile=True)])
def test_a_run_whose_batch_does_not_fit_ends_well_and_its_rows_say_what_the_batch_was(
    tmp_path: Path, mode: Mode
) -> None:
    """Images, reference solutions and times, and the compilation that comes before."""
    session = _session(5, mode)
    outcome = run_study(session.study, session, RunFolder(tmp_path), force=False, progress=Quiet())
    assert (outcome.measured, outcome.failed, outcome.untimed) == (1, 0, 0)
    (record,) = RunFolder(tmp_path).load().to_dict("records")
    assert (record["generation_batch"], record["batch_halvings"], record["timed_batch"]) == (4, 2, 4)
    assert "images were made 4 at a time: 16 did not fit into the memory" in record["note"]
    assert record["solver_rmse"] < 1.0
    assert (record["compile_s"] is not None) == mode.compile


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(("fits", "batch"), [(1, 1), (3, 2)])
def test_where_fewer_fit_than_are_made_again_these_are_made_in_parts(tmp_path: Path, fits: int, batch: int) -> None:
    session = _session(fits)
    outcome = run_study(session.study, session, RunFolder(tmp_path), force=False, progress=Quiet())
    assert (outcome.measured, outcome.failed, outcome.untimed) == (1, 0, 0)
    (record,) = RunFolder(tmp_path).load().to_dict("records")
    assert record["generation_batch"] == batch


@pytest.mark.usefixtures("brief")
def test_images_of_a_first_batch_that_fitted_are_made_again_where_less_does_now(tmp_path: Path) -> None:
    session = _session(16)
    network: Any = session.subject.network

    def shrinking(x: Tensor, *rest: Any) -> Tensor:
        network.fits = 16 if len(network.seen) < 3 else 6
        found: Tensor = network(x, *rest)
        return found

    greedy = dataclasses.replace(session.subject, network=shrinking)  # type: ignore[arg-type]
    session = dataclasses.replace(session, subject=greedy, models=dict.fromkeys(session.models, greedy))
    outcome = run_study(session.study, session, RunFolder(tmp_path), force=False, progress=Quiet())
    assert (outcome.measured, outcome.failed) == (1, 0)


@pytest.mark.usefixtures("brief")
def test_a_reference_solution_is_the_same_in_parts_that_fit(tmp_path: Path) -> None:
    session, schedule = _session(5), load_model("digits-mixture", torch.device("cpu")).schedule
    levels = [schedule.level(t) for t in (1.0, 0.4)]
    whole, parts = (
        Solutions(tmp_path / name).of(
            Problem(
                {"fits": fits}, lambda numbers, session=each: session.denoiser(session.subject, 0, numbers, None),  # type: ignore[misc]
                (1, 8, 8), levels[0], levels[1], seed=0, count=7, batch=7, device=session.device,
            )
        )
        for name, fits, each in (("whole", 7, _session(7)), ("parts", 5, session))
    )  # fmt: skip
    torch.testing.assert_close(parts.images, whole.images, rtol=0.0, atol=1e-5)


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    cpu = torch.device("cpu")
    return load_extractor(None, load_model("digits", cpu), cpu)


class _Seeing:
    """Stands before an extractor's module, as `_Network` before a network."""

    def __init__(self, module: Any, fits: int) -> None:
        self.module, self.fits = module, fits

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        _greedy(self.fits, len(images))
        found: Sequence[Tensor] = self.module(images)
        return found


def test_features_and_statistics_of_them_are_taken_of_as_many_images_as_fit(
    tmp_path: Path, extractor: Extractor
) -> None:
    images = torch.randint(0, 256, (100, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    small: Any = dataclasses.replace(extractor, batch=64, module=_Seeing(extractor.module, 20))
    torch.testing.assert_close(extract(small, images).features, extract(extractor, images).features)
    stream = QualityStream(small, load_reference(None, extractor), ["fd"])
    stream.add(images)
    assert set(stream.values()) == {"fd_digits", "fd_digits_std", "fd_digits_left_out"}
    assert stream.remarks == ["the extractor saw images 16 at a time: 64 did not fit into the memory"]
    write_statistics(tmp_path / "halved.safetensors", small, images, about={})
    tensors, said, _ = load_sealed(tmp_path / "halved.safetensors")
    assert said["extractor_batch"] == "16"
    torch.testing.assert_close(tensors["mean"], extract(extractor, images).features.mean(0))


@contextmanager
def _scarce(mib: int) -> Iterator[None]:
    """No more than so much memory beside what this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + mib * 2**20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_thread_that_never_begins_is_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_BEGINS_WITHIN", 0.01)
    monkeypatch.setattr(memory, "start_new_thread", lambda work, arguments: None)
    with pytest.raises(MemoryError, match="another thread"):
        memory._in_another_thread(int)(1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its limit of memory")
def test_where_the_system_gives_no_more_memory_a_convolution_is_worked_out_in_smaller_batches() -> None:
    """In a thread of its own, in which alone oneDNN makes no more code if that is what there is no memory for."""
    conv = torch.nn.Conv2d(64, 64, 3, padding=1).requires_grad_(False)
    fitting = Halving(4096)

    def attempt(size: int) -> int:
        return len(conv(torch.zeros(size, 64, 8, 8)))

    with ThreadPoolExecutor(1) as threads:
        threads.submit(int).result()  # there before memory is scarce
        with _scarce(64):
            assert threads.submit(fitting, attempt).result() == fitting.size < 4096
    assert fitting.halvings > 0

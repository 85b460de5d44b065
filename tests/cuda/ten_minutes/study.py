"""The study of CIFAR-10, cut to what fits: quality of every sampler at equal evaluations, then the times of six."""

import time
from dataclasses import replace

from bench.record import Record, RunFolder
from bench.running.estimate import estimate
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import load_study
from bench.study.overrides import Overrides
from bench.study.plan import Cell
from bench.study.study import Baseline, Block, Study, Timing

from .job import Job
from .training import trained

_MODE = "bf16+channels_last"
_SIX = ["ddim", "ddpm", "heun", "dpm++2m", "unipc", "langevin[snr=0.5]"]
_LADDER = (500, 1000, 2000, 5000, 10_000, 20_000)
"""Numbers of images, of which the largest that fits is taken."""
_FILLS = 0.85
"""The part of the time that the estimate, which leaves out metrics and loading, may take."""


class OutOfTime(BaseException):
    """The end of a study whose time is up; what is recorded stays. No Exception, which would be a cell's failure."""


def run(job: Job) -> None:
    """Both parts, each in a run folder of its own."""
    kept = 8.0 if job.rehearse else 35.0
    with job.attempt("quality"):
        _run(job, _quality(job), "quality", job.left_s - kept)
    with job.attempt("times"):
        _run(job, _times(job), "times", job.left_s - 3.0)


def _shipped(job: Job) -> Study:
    return load_study("cifar10", Overrides(model=str(trained(job))))


def _cut(job: Job, study: Study, **changes: object) -> Study:
    common = {"checkpoint": None, "device": str(job.device), "metrics": ["fd"]}
    return study.model_copy(update=common | changes)


def _quality(job: Job) -> Study:
    """Ancestral DDPM first, then all samplers of the shipped study at few evaluations, then at more."""
    study = _shipped(job)
    budgets, steps = ((2,), 3) if job.rehearse else ((10, 20, 50), 200)
    samplers = study.block[0].samplers[: 3 if job.rehearse else None]
    return _cut(
        job,
        study,
        title="CIFAR-10 (JPEG), quality",
        images=_LADDER[0],
        batch=16 if job.rehearse else 1000,
        modes=["fp32" if job.rehearse else _MODE],
        timing=Timing(repeats=0),
        baseline=Baseline(sampler="ddpm", grid="trailing", steps=steps),
        block=[Block(samplers=samplers, grids=["trailing"], evaluations=[each]) for each in budgets],
    )


def _times(job: Job) -> Study:
    """Six samplers, eager and captured, at one image and at a batch; short, since each round captures anew."""
    evaluations, batch = (4, 4) if job.rehearse else (10, 128)
    return _cut(
        job,
        _shipped(job),
        title="CIFAR-10 (JPEG), times",
        images=16 if job.rehearse else 256,
        batch=batch,
        modes=["fp32"] if job.rehearse else [_MODE, f"{_MODE}+graph"],
        timing=Timing(repeats=2, seconds=0.0, batches=[1]),
        baseline=Baseline(sampler="ddpm", grid="trailing", steps=evaluations),
        block=[Block(samplers=_SIX[: 2 if job.rehearse else None], grids=["trailing"], evaluations=[evaluations])],
    )


def _run(job: Job, study: Study, name: str, seconds: float) -> None:
    began = time.monotonic()
    session = Session.load(study)
    if name == "quality":
        session = _largest(job, session, seconds - (time.monotonic() - began))
    folder = RunFolder(job.work / "study" / name)
    progress = _UntilDeadline(job, name, began + seconds)
    try:
        outcome = run_study(session.study, session, folder, False, progress)
        job.put(**{name: {"measured": outcome.measured, "failed": outcome.failed, "untimed": outcome.untimed}})
    except OutOfTime:
        job.put(**{name: {"measured": progress.measured, "ended": "time was up"}})


def _largest(job: Job, session: Session, seconds: float) -> Session:
    """The same with as many images as fit into the time."""
    if job.rehearse:
        return replace(session, study=session.study.model_copy(update={"images": 16}))
    found = estimate(session)
    an_image = found.seconds / session.study.most_images
    fitting = [images for images in _LADDER if images * an_image <= _FILLS * seconds]
    images = max(fitting, default=_LADDER[0])
    each = {name: rate.seconds for name, rate in found.rates.items()}
    job.put(images=images, estimated_s=images * an_image, seconds_an_evaluation=each)
    return replace(session, study=session.study.model_copy(update={"images": images}), batch=min(1000, images))


class _UntilDeadline:
    """A `bench.running.runner.Progress` that keeps what is done, and ends a run when its time is up."""

    def __init__(self, job: Job, name: str, deadline: float) -> None:
        self._job, self._name, self._deadline, self.measured = job, name, deadline, 0

    def planned(self, cells: int, evaluations: int) -> None: ...

    def advanced(self, evaluations: int) -> None:
        self._check()

    def finished(self, cell: Cell, record: Record, kept: bool) -> None:
        self.measured += 1
        quality = next((record[name] for name in record if name.startswith("fd_")), None)
        row = {"cell": cell.words, "nfe": record.get("nfe"), "fd": quality, "error": record["error"]}
        self._job.append(f"{self._name}_cells", {key: value for key, value in row.items() if value is not None})
        self._check()

    def timed(self, cell: Cell, record: Record) -> None:
        names = ("latency_s_median", "evaluations_per_s", "captured", "timing_valid", "timing_note")
        row = {name: record.get(name) for name in names}
        self._job.append("timed", {"cell": cell.words} | row)
        self._check()

    def _check(self) -> None:
        if time.monotonic() > self._deadline:
            raise OutOfTime

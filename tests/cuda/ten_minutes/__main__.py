"""Runs the stages, each in a process of its own that is ended when its time is up, and packs what they leave."""

import argparse
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from bench.sealed_json import write_json

from .job import Job, age_s, share_caches
from .stages import ARCHIVES, DATA, MAIN, STAGES, Stage
from .summary import read_findings, summary

_PART = 15 * 2**20
_GRACE_S = 2.0
_LAST_S = 4.0
"""Kept for packing the last stage and for the summary."""
_NOT_PACKED = {"denoiser", "solutions"}
"""Checkpoints with their optimiser, and reference solutions: too large, and of no use at home."""
_RUNS: dict[str, tuple[str, str]] = {
    "data": ("prepare", "data"),
    "warm-training": ("prepare", "warm_training"),
    "warm-speed": ("prepare", "warm_speed"),
    "contact": ("contact", "run"),
    "speed": ("speed", "run"),
    "train": ("training", "run"),
    "study": ("study", "run"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 if every stage ended by itself and found no error."""
    given = _arguments(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.stage is not None:
        return _run_stage(given)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary) if given.rehearse else given.work
        work.mkdir(parents=True, exist_ok=True)
        return Program(given.out, work, given.data, given.rehearse, 60.0 * given.minutes).run(given.only)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ten_minutes", description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.3, help="that all of it may take")
    parser.add_argument("--out", type=Path, required=True, help="folder that comes home")
    parser.add_argument("--data", type=Path, help="folder of cifar10-jpeg-{train,test}.tar.xz")
    parser.add_argument("--only", default=",".join(MAIN), help=f"some of {', '.join(MAIN)}")
    parser.add_argument("--rehearse", action="store_true", help="tiny budgets, on the CPU")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ten-minutes", help="stays there")
    parser.add_argument("--stage", choices=_RUNS, help=argparse.SUPPRESS)
    parser.add_argument("--box", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    given.only = given.only.split(",")
    if unknown := set(given.only) - set(MAIN):
        parser.error(f"--only {','.join(sorted(unknown))}: expected some of {', '.join(MAIN)}")
    if not given.rehearse and given.stage is None:
        _check(parser, given)
    return given


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """What would cost minutes of a device to find out."""
    import torch

    if not torch.cuda.is_available():
        parser.error("there is no CUDA device; --rehearse runs all of it on a CPU")
    if "train" in given.only and not (given.work / DATA).is_dir():
        missing = [name for name in ARCHIVES.values() if given.data is None or not (given.data / name).is_file()]
        if missing:
            parser.error(f"--data {given.data}: {' and '.join(missing)} not found there")


def _run_stage(given: argparse.Namespace) -> int:
    share_caches(given.work)
    module, function = _RUNS[given.stage]
    job = Job(given.stage, given.out, given.work, given.data, given.rehearse, given.box)
    getattr(import_module(f".{module}", __package__), function)(job)
    return 0


@dataclass
class _Running:
    """A stage's process, and when it is ended."""

    stage: Stage
    process: subprocess.Popen[bytes]
    log: Path
    began: float
    ends: float


@dataclass
class Program:
    """All stages.

    Attributes:
        out, work, data, rehearse: as `Job` has them.
        seconds: that all may take.
        stages: what there is.
        command: starts a stage's process, from its name, folder of findings and box.
    """

    out: Path
    work: Path
    data: Path | None
    rehearse: bool
    seconds: float
    stages: Sequence[Stage] = STAGES
    command: Callable[["Program", Stage, Path, float], list[str]] = field(default=lambda *given: _command(*given))
    began: float = field(default_factory=lambda: time.monotonic() - age_s())

    def run(self, only: Sequence[str]) -> int:
        """Those that are named, and what has to be there for them; the exit status."""
        wanted = [stage for stage in self.stages if stage.name in only]
        beside = [self._start(stage, self.work) for stage in self.stages if stage.serves in only]
        good = True
        for number, stage in enumerate(wanted):
            if number or stage.name != MAIN[0]:  # the first stage alone runs beside them
                for each in beside:
                    self._finish(each)
                beside = []
            good &= self._whole(stage)
        for each in beside:
            self._finish(each)
        print(summary(self.out, tuple(stage.name for stage in wanted)), flush=True)
        return 0 if good else 1

    def _whole(self, stage: Stage) -> bool:
        """Run a stage, keep how it ended, pack its folder; whether nothing went wrong."""
        running = self._start(stage, self.out)
        ended = self._finish(running)
        findings = self.out / f"{stage.name}.json"
        found = read_findings(findings)
        found |= {"ended": ended, "stage_s": time.monotonic() - running.began, "log": _end_of(running.log)}
        try:
            left_out = self._pack(stage) if stage.parts else None
        except Exception as error:  # a full disk, a file that is gone: the next stage is run all the same
            left_out = f"not packed: {type(error).__name__}: {error}"
        found |= {} if left_out is None else {"left_out": left_out}
        write_json(findings, found)
        print(f"-- {stage.name}: {ended} after {found['stage_s']:.1f} s", flush=True)
        lines = found.get("lines", [])
        return ended == "done" and not found.get("errors") and all(line["ok"] in (True, None) for line in lines)

    def _start(self, stage: Stage, out: Path) -> _Running:
        now = time.monotonic()
        left = self.began + self.seconds - _LAST_S - now
        box = max(1.0, min(self._box(stage), left))
        log = self.work / f"{stage.name}.log"
        # stages beside one another that each take all processors of a CPU wait for one another, five times as long
        environment = os.environ | ({"OMP_NUM_THREADS": "1"} if self.rehearse else {})
        with log.open("wb") as file:
            process = subprocess.Popen(
                self.command(self, stage, out, box),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )
        return _Running(stage, process, log, now, now + box)

    def _box(self, stage: Stage) -> float:
        """What a stage may take; the last one may have what the others left."""
        box = stage.rehearsal_s if self.rehearse else stage.box_s
        return self.seconds if stage is self.stages[-1] and not self.rehearse else box

    def _finish(self, running: _Running) -> str:
        """Wait until a process ends or its time is up; how it ended."""
        try:
            status = running.process.wait(max(0.0, running.ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            _end(running.process)
            return f"ended after its {running.ends - running.began:.0f} s"
        return "done" if status == 0 else f"failed with status {status}"

    def _pack(self, stage: Stage) -> str | None:
        """Pack the stage's folder into files that come home; what was left out, if it is too much."""
        folder, archive = self.work / stage.name, self.work / f"{stage.name}.tar.gz"
        if not folder.is_dir():
            return f"{folder.name} is not there"
        with tarfile.open(archive, "w:gz", compresslevel=3) as tar:
            tar.add(
                folder, stage.name, filter=lambda member: None if _NOT_PACKED & {*Path(member.name).parts} else member
            )
            tar.add(self.work / f"{stage.name}.log", f"{stage.name}/{stage.name}.log")
        content = archive.read_bytes()
        parts = [content[at : at + _PART] for at in range(0, len(content), _PART)]
        for number, part in enumerate(parts[: stage.parts]):
            (self.out / f"{archive.name}.{number:02d}").write_bytes(part)
        return f"{len(content)} bytes are more than {stage.parts} files hold" if len(parts) > stage.parts else None


def _command(program: Program, stage: Stage, out: Path, box: float) -> list[str]:
    options = ["--stage", stage.name, "--out", str(out), "--work", str(program.work), "--box", f"{box:.1f}"]
    options += ["--data", str(program.data)] if program.data is not None else []
    options += ["--rehearse"] if program.rehearse else []
    return [sys.executable, "-u", "-m", str(__package__), *options]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_GRACE_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        else:
            return


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:] if log.exists() else ""


if __name__ == "__main__":
    sys.exit(main())

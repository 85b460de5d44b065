"""Workers of a Ray cluster: the same records as in this process, whatever becomes of the machines.

    pytest -m ray -n 0 tests/running/test_cluster.py

Deselected otherwise: a cluster takes seconds to start, and as many processors as it has nodes.
"""

import logging
import math
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from clusters import cluster, eventually, harmful, is_idle, lose, workers
from commands import Cli, heeding_ctrl_c
from studies import study_toml

import bench
from bench.record import Record, RunFolder
from bench.report.data.runs import TIMES
from bench.running.executors import crew
from bench.running.executors.choice import Workers, carried_out
from bench.running.executors.cluster import RaySlot
from bench.running.executors.crew import Lost
from bench.running.executors.remote import Remote
from bench.study.file import parse_study
from models.common.errors import UsageError

pytestmark = pytest.mark.ray
ray = pytest.importorskip("ray")

_ROOT = Path(__file__).parents[2]
_EACH_RUN = {*TIMES, "command", "finished", "load_average_1min", "timing_watches", "made_on"}
"""Columns that no two runs have alike."""
_UNTIMED = {"repeats": 0}


@pytest.fixture(scope="module")
def two() -> Iterator[Any]:
    """A cluster of two nodes; a test that takes one away gives one back."""
    with cluster(2) as made:
        yield made


@pytest.fixture
def samplers(tmp_path: Path) -> tuple[Path, Path]:
    return harmful(tmp_path)


def _run(path: Path, toml: str, plugin: Path, made: Any = None, quiet: bool = True) -> bench.Run:
    study = path.with_suffix(".toml")
    study.write_text(toml)
    where = Workers() if made is None else Workers(ray=made.address)
    return bench.run(study, {"threads": 1}, out=path, plugins=[plugin], workers=where, quiet=quiet)


def _records(path: Path) -> dict[str, Record]:
    return {
        each["id"]: {name: value for name, value in each.items() if name not in _EACH_RUN}
        for each in RunFolder(path).records()
    }


def _equal(path: Path, expected: Path) -> None:
    """Numbers of quality to 1e-12, and all else exactly."""
    ours, theirs = _records(path), _records(expected)
    assert list(ours) == list(theirs)
    for name, record in theirs.items():
        assert record["status"] == "ok"
        assert ours[name].keys() == record.keys()
        for column, value in record.items():
            assert _alike(ours[name][column], value), column


def _alike(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, float):
        return isinstance(ours, float) and math.isclose(ours, theirs, rel_tol=1e-12)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_alike, ours, theirs))
    return bool(ours == theirs)


def _attempts(path: Path) -> list[Path]:
    return [*path.glob("cells/*.attempts")]


def test_two_workers_give_the_records_of_one_process(
    two: Any, samplers: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    given, original = list[Any](), Remote._given

    def watched(remote: Remote, slot: Any, piece: Any) -> Any:
        given.append(piece)
        return original(remote, slot, piece)

    monkeypatch.setattr(Remote, "_given", watched)
    toml = study_toml(("ddim", "prints"), (2,), images=640, timing={"repeats": 1, "seconds": 0})
    _run(tmp_path / "here", toml, samplers[0])
    assert "printed by a sampler" in capfd.readouterr().out
    ray.init(two.address, log_to_driver=False, logging_level=logging.ERROR)  # which stays, and is used
    try:
        _run(tmp_path / "ray", toml, samplers[0], two)
        assert ray.get(ray.put(1)) == 1
        with pytest.raises(UsageError, match="is connected to the Ray cluster at"):
            bench.run(tmp_path / "ray.toml", out=tmp_path / "other", workers=Workers(ray="10.0.0.1:6379"))
    finally:
        ray.shutdown()
    _equal(tmp_path / "ray", tmp_path / "here")
    assert sum(piece.images is not None for piece in given) == 8
    assert {sum(each["made_on"].values()) for each in RunFolder(tmp_path / "ray").records()} == {640}
    assert all(each["timing_rounds"] == 1 for each in RunFolder(tmp_path / "ray").records())
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_lost_machines_cost_nothing_but_time(
    two: Any, samplers: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """One after the other; a run without any says so, and one that comes ends it although the other is missing."""
    monkeypatch.setattr(crew, "_PATIENCE_S", 1.0)
    toml, path = study_toml(("slow",), (2, 3, 4), "ddim", 5, seeds=[0, 1], timing=_UNTIMED), tmp_path / "ray"
    said = list[str]()

    def count() -> int:
        return len(list(path.glob("cells/*.json")))

    def told() -> bool:
        said.append(capfd.readouterr().err)
        return "waiting for workers: none is ready yet" in "".join(said)

    with ThreadPoolExecutor(1) as thread:  # nodes are added by the main one
        running = thread.submit(_run, path, toml, samplers[0], two, quiet=False)
        try:
            eventually(lambda: count() >= 1)
            lose(two)
            now = count()
            eventually(lambda: count() > now + 1)
            lose(two)
            eventually(told)
        finally:
            two.add_node(num_cpus=1)
            outcome = running.result(timeout=60).outcome
            two.add_node(num_cpus=1)
    assert outcome is not None
    assert (outcome.measured, outcome.failed, _attempts(path)) == (8, 0, [])
    _run(tmp_path / "here", toml, samplers[0])
    _equal(path, tmp_path / "here")


def test_what_raises_is_not_tried_again_and_what_ends_its_process_is_once(
    two: Any, samplers: tuple[Path, Path], tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `uv run` too, where Ray would send a copy of the working directory to all machines, and run that."""
    monkeypatch.setattr("ray._private.ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV", True)
    monkeypatch.setattr("ray._private.runtime_env.uv_runtime_env_hook._get_uv_run_cmdline", pytest.fail)
    study, (plugin, log) = tmp_path / "study.toml", samplers
    study.write_text(study_toml(("ddim", "raises", "exits"), (2,), timing=_UNTIMED))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    cli(*("run", study, "--plugin", plugin, "--ray", two.address, "--threads", 1, "--out", tmp_path / "run"), status=1)
    assert {number: signal.getsignal(number) for number in before} == before
    assert not ray.is_initialized()
    assert sorted(log.read_text().split()) == ["exits", "exits", "raises"]
    found = {each["sampler"]: each for each in RunFolder(tmp_path / "run").records()}
    assert {name: each["status"] for name, each in found.items()} == {
        "raises": "failed",
        "exits": "failed",
        "ddim": "ok",
    }
    assert found["raises"]["error"].startswith("ValueError: no such thing")
    assert found["exits"]["error"] == "it ended its process, as it did when it was tried before (2 attempts)"
    (note,) = _attempts(tmp_path / "run")
    assert len(note.read_text().splitlines()) == 2


def _command(two: Any, study: Path, plugin: Path, out: Path) -> list[str]:
    options = ["--plugin", str(plugin), "--ray", two.address, "--threads", "1", "--out", str(out)]
    return [sys.executable, "run_bench.py", "run", str(study), *options]


def test_an_interrupted_run_leaves_nobody_behind(two: Any, samplers: tuple[Path, Path], tmp_path: Path) -> None:
    study, out = tmp_path / "study.toml", tmp_path / "run"
    study.write_text(study_toml(("ddim", "slow[seconds=30]"), (2,), timing=_UNTIMED))
    command = _command(two, study, samplers[0], out)
    with heeding_ctrl_c():
        started = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with started as process:
        eventually(lambda: list(out.glob("cells/*.json")) or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    lines = [line for line in said.splitlines() if line.strip()]
    assert any(line.startswith("interrupted") for line in lines)
    ours = [line for line in lines if "--ray" not in line]
    assert not [line for line in ours if "Traceback" in line or "ray" in line.lower()], said
    eventually(lambda: is_idle(two), 5.0)
    assert not _attempts(out)
    assert not workers()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ray", "127.0.0.1:1"], r"no Ray cluster at '127\.0\.0\.1:1' \(.*Connection refused\)"),
        (["--ray", "local"], r"no Ray cluster at 'local' \(expected host:port, or auto\)"),
        (["--ray", "auto", "--devices", "cpu"], "leave out --isolate and --devices"),
        (["--ray", "HERE", "--accelerator", "H100"], "has no GPU of the kind 'H100'"),
        (["--ray", "HERE", "--threads", "64"], "no machine of the Ray cluster has the 64 CPUs of a worker"),
        (["--accelerator", "H100"], "name one with --ray"),
    ],
)
def test_workers_that_cannot_be_had_are_refused(
    options: Sequence[str], said: str, two: Any, tmp_path: Path, cli: Cli
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(study_toml(device="auto"))
    given = [two.address if each == "HERE" else each for each in options]
    printed = cli("run", study, *given, "--out", tmp_path / "run", status=2)
    assert re.search(said, " ".join(printed.err.split())), printed.err
    assert not (tmp_path / "run").exists()
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cuda:1", "device 'cuda:1' on a Ray cluster, which places workers itself"),
        ("cuda", "the Ray cluster has no GPU; it has kinds: none"),
    ],
)
def test_devices_that_no_machine_has_are_refused(device: str, said: str, two: Any) -> None:
    study = parse_study(study_toml(), "test").model_copy(update={"device": device})
    with pytest.raises(UsageError, match=said), carried_out(study, Workers(ray=two.address), None):
        pass
    assert not ray.is_initialized()


def test_who_waits_for_an_actor_that_was_ended_is_let_go_whatever_ray_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray says nothing of one that is killed while its process is being started."""
    slot, asked = RaySlot({}), threading.Event()

    def nothing_yet(reference: object, timeout: float) -> None:
        asked.set()
        time.sleep(timeout)
        raise ray.exceptions.GetTimeoutError

    monkeypatch.setattr(ray, "get", nothing_yet)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    slot._actor = object()
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(slot._got, object(), None)
        assert asked.wait(5.0)
        slot.end()
        assert isinstance(waiting.exception(timeout=5.0), Lost)


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Cli) -> None:
    monkeypatch.delitem(sys.modules, "bench.running.executors.cluster", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    study = tmp_path / "study.toml"
    study.write_text(study_toml())
    printed = cli("run", study, "--ray", "auto", "--out", tmp_path / "run", status=2)
    assert "pip install 'sampler-bench[ray]'" in " ".join(printed.err.split())

"""What workers are told, refuse, and may write."""

import re
from pathlib import Path

import pytest
from commands import Cli
from worker_runs import Here, worker_study

import bench
from bench.record import RunFolder
from bench.running.executors.messages import Job, Order
from bench.running.executors.worker import Worker
from bench.running.resolve import Resolved
from bench.study.file import load_study
from bench.study.overrides import Overrides
from models.common.errors import UsageError
from models.common.files import sha256_of


def test_workers_load_the_plugins_of_earlier_calls_too(tmp_path: Path, here: type[Here]) -> None:
    """In a notebook one that is loaded stays so: its samplers are known from then on."""
    plugin, toml = tmp_path / "mine.py", str(worker_study(tmp_path, ["of-an-earlier-call"], metrics=["law"]))
    plugin.write_text(
        "from samplers import register\nfrom samplers.ddim import DDIM\n"
        "@register('of-an-earlier-call')\nclass Mine(DDIM):\n    ...\n"
    )
    orders, real = list[Order](), here.start

    def start(slot: Here, order: Order) -> None:
        orders.append(order)
        real(slot, order)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(here, "start", start)
        bench.run(toml, out=tmp_path / "a", plugins=[plugin], quiet=True)
        run = bench.run(toml, out=tmp_path / "b", workers=bench.Workers(isolate=True), quiet=True)
    assert run.failed.empty
    assert (str(plugin), sha256_of(plugin)) in orders[0].plugins


def test_a_worker_writes_nothing_into_a_run_but_what_its_cell_has_asked_for(
    cli: Cli, tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["../outside.txt", "study.json", "cells/0.json", str(tmp_path / "absolute.txt")]
    monkeypatch.setattr(Worker, "_made", lambda worker: dict.fromkeys(names, b"whatever a worker says"))
    out = tmp_path / "runs" / "run"
    cli("run", worker_study(tmp_path, ["heun"]), "--out", out, "--isolate")
    assert {each["status"] for each in RunFolder(out).records()} == {"ok"}
    assert not list(tmp_path.rglob("outside.txt")) + list(tmp_path.rglob("absolute.txt")) + list(out.rglob("0.json"))


def test_a_worker_that_does_not_know_a_sampler_says_what_workers_know(tmp_path: Path) -> None:
    """As of one that a notebook has registered."""
    study = load_study(str(worker_study(tmp_path, ["heun"])), Overrides())
    order = Order(study.model_dump_json().replace("heun", "mine"), "cpu", 10, ())
    with pytest.raises(UsageError, match=r"unknown sampler 'mine'.* Workers know only what plugin files .* register"):
        Worker(order)


@pytest.mark.parametrize(
    ("content", "said"), [(None, r"no plugin file '.*here_only\.py'"), ("", r"here_only\.py' on .* is another file")]
)
def test_a_plugin_that_a_machine_does_not_have_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    study, plugin = load_study(str(worker_study(tmp_path, ["heun"])), Overrides()), tmp_path / "here_only.py"
    if content is not None:
        plugin.write_text(content)
    with pytest.raises(UsageError, match=said):
        Worker(Order(study.model_dump_json(), "cpu", 10, ((str(plugin), "0123"),)))


def test_a_machine_that_would_measure_something_else_is_refused(
    cli: Cli, tmp_path: Path, here: type[Here], monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(resolved: Resolved) -> Job:
        return Job(resolved.cell, resolved.identity | {"sampler_parameters": {"eta": 2.0}})

    monkeypatch.setattr(Job, "of", elsewhere)
    shown = cli("run", worker_study(tmp_path, ["heun"]), "--out", tmp_path / "run", "--isolate", status=2)
    said = " ".join(shown.err.split())
    assert re.search(r"would measure another cell than .*: sampler_parameters: .* here, \{'eta': 2\.0\} there", said)
    assert not (tmp_path / "run").exists()

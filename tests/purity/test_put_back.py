"""What is changed inside of a guard is put back and told: settings, exceptions' notes, weights bit for bit."""

import importlib
import math
import os
import random
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from poison import WEIGHTS
from studies import study_toml
from torch import Tensor, nn

from bench.purity.aspect import Aspect
from bench.purity.unchanged import TORCH, Impure, KeptNames, ProcessState, unchanged
from bench.purity.weights import KeptWeights
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.timing.host_load import HostLoad
from bench.timing.monitor import LEFT, Monitor, Watch
from models.denoiser import PARAMETRISATIONS
from models.loading.zoo import load_model
from models.schedule import Level
from samplers import er_sde
from samplers.heun import Heun


def test_filters_of_warnings_which_a_first_import_sets_are_put_back_and_accuse_nobody() -> None:
    """As scipy does where `rk45` imports it in its first call."""
    before = list(warnings.filters)
    with unchanged("mine", ProcessState()):
        warnings.simplefilter("error")
    assert list(warnings.filters) == before


def test_what_is_changed_before_an_exception_is_put_back_and_told_beside_it() -> None:
    def breaks() -> None:
        with unchanged("mine", ProcessState()):
            torch.set_default_dtype(torch.float64)
            raise ValueError("a sampler broke")

    with pytest.raises(ValueError, match="a sampler broke") as found:
        breaks()
    assert torch.get_default_dtype() == torch.float32
    said = "mine changed the default dtype from torch.float32 to torch.float64; it was put back"
    assert found.value.__notes__ == [said]


def test_what_cannot_be_put_back_is_said_to_be_so_and_stops_nothing_else_from_it() -> None:
    """As the number of interop threads, which torch sets once in a process."""
    value = [2]

    def refuses(_: object) -> None:
        raise RuntimeError("once only")

    once = Aspect("a thing", "torch", lambda: value[0], refuses)

    def changes() -> None:
        with unchanged("mine", ProcessState((once, *TORCH))):
            value[0] = 3
            torch.set_default_dtype(torch.float64)

    said = (
        r"mine changed a thing from 2 to 3 \(which cannot be put back: once only\), and the default dtype from [^;]*$"
    )
    with pytest.raises(Impure, match=said):
        changes()
    assert torch.get_default_dtype() == torch.float32


def test_what_is_put_back_is_told_all_at_once() -> None:
    network = nn.Linear(2, 2)

    def changes() -> None:
        with unchanged("mine", ProcessState(), KeptWeights({"it": network})):
            torch.set_grad_enabled(False)
            network.weight.mul_(2.0)
            network.bias.fill_(0.0)

    said = "mine changed grad mode from True to False, and the weights of it: weight and 1 more; it was put back"
    with pytest.raises(Impure, match=said):
        changes()


@pytest.mark.parametrize("how", WEIGHTS)
def test_a_network_is_put_back_bit_for_bit(how: str) -> None:
    model = load_model("digits", torch.device("cpu"))
    x, at = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8), model.schedule.level(0.5)
    with torch.inference_mode():
        expected, kept = model.network(x, at), KeptWeights({"it": model.network})
        WEIGHTS[how][0](model.network.unet)  # type: ignore[attr-defined]
        (change,) = kept.put_back()
        assert change.words.startswith(f"the {WEIGHTS[how][1]} of it: unet")
        assert torch.equal(model.network(x, at), expected)
        assert kept.put_back() == []
    assert not any(parameter.is_inference() for parameter in model.network.unet.parameters())  # type: ignore[attr-defined]


def test_laws_and_tables_of_schedules_are_put_back_too() -> None:
    model = load_model("digits-mixture", torch.device("cpu"))
    kept = KeptWeights({"it": {"network": model.network, "schedule": model.schedule}})
    means, table = model.network.means, model.schedule._log_alpha  # type: ignore[attr-defined]
    expected = (means.clone(), table.copy())
    means.mul_(2.0)
    table[3] = 0.0
    (change,) = kept.put_back()
    assert change.words == "the weights of it: network.means and 1 more"
    assert torch.equal(means, expected[0])
    assert np.array_equal(table, expected[1])


def test_attributes_of_modules_schedules_and_what_lies_around_a_network_are_put_back() -> None:
    model = load_model("digits", torch.device("cpu"))
    schedule, wrapper, norm = model.schedule, model.network, model.network.unet.conv_norm_out  # type: ignore[attr-defined]
    kept = KeptWeights({"it": {"network": model.network, "schedule": schedule}})
    before = (schedule.t_min, schedule.level(0.5), wrapper._call, norm.eps)  # type: ignore[attr-defined]
    for owner, name, value in (
        (schedule, "t_min", 0.5),
        (schedule, "level", lambda t: None),
        (wrapper, "_call", lambda x, at, labels: x),
        (norm, "eps", 1.0),
    ):
        setattr(owner, name, value)
    assert [change.words for change in kept.put_back()] == [
        "the attributes (_call) of it: network",
        "the attributes (t_min, level) of it: schedule",
        "the attributes (eps) of it: network.unet.conv_norm_out",
    ]
    assert (schedule.t_min, schedule.level(0.5), wrapper._call, norm.eps) == before  # type: ignore[attr-defined]
    assert kept.put_back() == []


class _Counts(nn.Module):
    """A network that keeps something of every evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))
        self.weight = nn.Parameter(torch.ones(()), requires_grad=False)
        self.latest: Tensor | None = None

    def forward(self, x: Tensor, at: Level) -> Tensor:
        self.calls += 1
        self.latest = x
        return self.weight * x


def test_no_sampler_is_accused_of_what_a_network_keeps_of_its_evaluations() -> None:
    study = parse_study(
        study_toml(["heun"], [3], model="digits", metrics=["solver_error"], batch=8), "test", Overrides()
    )
    session, network = Session.load(study), _Counts()
    models = {key: replace(each, network=network) for key, each in session.models.items()}
    session = replace(session, models=models, subject=next(iter(models.values())))
    kept = session.weights
    network(torch.ones(3, 1, 8, 8), Level(0.5, 0.5, 0.5, 0.0, 0.0))
    assert kept.put_back() == []
    network.weight.mul_(2.0)
    assert [change.words for change in kept.put_back()] == ["the weights of digits in fp32: network.weight"]


@pytest.mark.parametrize("owner", [nn.functional, Heun])
def test_functions_that_are_replaced_are_put_back_and_new_names_stay(owner: Any) -> None:
    name = "silu" if owner is nn.functional else "step"
    before, kept = getattr(owner, name), KeptNames()
    setattr(owner, name, print)
    owner.of_a_test = print
    try:
        (change,) = kept.put_back()
        assert (
            change.words == f"the function {'torch.nn.functional' if name == 'silu' else 'samplers.heun.Heun'}.{name}"
        )
        assert getattr(owner, name) is before
        assert owner.of_a_test is print
    finally:
        del owner.of_a_test


@pytest.mark.parametrize(
    ("change", "words", "restored"),
    [
        (lambda: setattr(math, "pi", 3.0), "math.pi", lambda: math.pi),
        (
            lambda: er_sde._SCALES.pop("er-sde-5"),
            "samplers.er_sde._SCALES",
            lambda: er_sde._SCALES["er-sde-5"],
        ),
        (lambda: setattr(er_sde, "_SCALES", {}), "samplers.er_sde._SCALES", lambda: er_sde._SCALES),
        (
            lambda: PARAMETRISATIONS.pop("v_prediction"),
            "models.denoiser.PARAMETRISATIONS",
            lambda: [*PARAMETRISATIONS],
        ),
        (lambda: setattr(Heun, "family", "other"), "samplers.heun.Heun.family", lambda: Heun.family),
    ],
)
def test_numbers_and_tables_of_shared_modules_are_put_back(
    change: Callable[[], object], words: str, restored: Callable[[], object]
) -> None:
    before, kept = restored(), KeptNames()
    assert kept.put_back() == []
    change()
    (changed,) = kept.put_back()
    assert changed.words == words
    assert restored() == before


def test_what_a_library_changes_where_it_is_first_imported_is_put_back_and_accuses_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As scikit-learn sets variables, and draws a number, where a sampler imports it in its first call."""
    (tmp_path / "test_put_back_library.py").write_text(
        "import os, random\ndef change():\n    os.environ['TEST_PUT_BACK'] = '1'\n    random.random()\nchange()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = random.getstate()
    with unchanged("mine", ProcessState()):
        library = importlib.import_module("test_put_back_library")
    assert ("TEST_PUT_BACK" in os.environ, random.getstate()) == (False, before)
    with pytest.raises(Impure, match=r"global generator of random, and environment variables \(TEST_PUT_BACK\)"):
        _within(library.change)
    assert ("TEST_PUT_BACK" in os.environ, random.getstate()) == (False, before)


def _within(change: Callable[[], object]) -> None:
    with unchanged("mine", ProcessState()):
        change()


def test_functions_that_torch_itself_replaces_where_it_first_compiles_stay_and_accuse_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module: Any = nn.Module
    kept = KeptNames()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "manual_seed", torch._disable_dynamo(torch.manual_seed))  # type: ignore[attr-defined]
        for name in ("__init__", "__setstate__"):
            patch.setattr(module, name, getattr(module, name))
        flag = "___has_generation_tag_patch"
        patch.setattr(module, flag, True, raising=False)  # so that it is absent again afterwards where it was
        patch.delattr(module, flag)
        guard = importlib.import_module("torch._dynamo.mutation_guard")
        guard.install_generation_tagging_init()
        patched = module.__init__
        assert patched.__module__ == guard.__name__
        assert kept.put_back() == []
        assert module.__init__ is patched


def test_threads_that_run_on_accuse_and_mark_what_is_timed_meanwhile() -> None:
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, args=(60,), name="mine")

    def leaves() -> None:
        with unchanged("it", ProcessState()):
            thread.start()

    try:
        said = r"^it changed the threads that run \(mine\) \(which cannot be put back: they run on\)"
        with pytest.raises(Impure, match=said):
            leaves()
        assert _watched().throttled == (LEFT,)
        with unchanged("another", ProcessState()):  # that ends one is no fault
            ended.set()
            thread.join()
    finally:
        ended.set()
    assert _watched().throttled == ()


def _watched() -> Watch:
    monitor = Monitor(HostLoad())
    monitor.start()
    return monitor.stop()

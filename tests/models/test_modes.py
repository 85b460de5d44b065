"""Execution modes: what is cast and what stays as it is, what cannot be had, and modes as an axis of studies."""

from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
import torch
from quiet import Quiet
from torch import nn

from bench.environment import versions
from bench.record import RunFolder
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
from bench.study.study import Study
from models.common.errors import UsageError
from models.loading.sources import ZOO, load_card
from models.loading.zoo import load_model
from models.networks.execution import arithmetic, check_mode, in_mode, prepared
from models.networks.modes import Mode, parse_mode

_CPU = torch.device("cpu")
_STUDY = """
name = "test"
title = "Test"
model = "digits"
images = 20
batch = 16
timing = { repeats = 1, seconds = 0.0 }
modes = ["fp32", "bf16"]
device = "cpu"
metrics = ["fd"]
baseline = { sampler = "ddpm", grid = "trailing", steps = 3 }
[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [2]
[[block]]
samplers = ["heun"]
grids = ["trailing"]
steps = [2]
modes = ["fp16"]
"""


def _study(**overrides: object) -> Study:
    return parse_study(_STUDY, "test", Overrides.model_validate(overrides))


def _run(study: Study, path: Path) -> pd.DataFrame:
    folder = RunFolder(path)
    run_study(study, Session.load(study), folder, force=False, progress=Quiet())
    return folder.load()


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("fp32", Mode()),
        ("compile", Mode(compile=True)),
        ("graph + bf16", Mode("bf16", graph=True)),
        ("compile+channels_last+fp16", Mode("fp16", channels_last=True, compile=True)),
    ],
)
def test_a_mode_is_read_in_any_order_and_written_in_one(text: str, mode: Mode) -> None:
    assert parse_mode(text) == mode
    assert parse_mode(str(mode)) == mode
    assert str(mode).partition("+")[0] == mode.precision


@pytest.mark.parametrize("text", ["", "eager", "fp32+bf16", "bf16+bf16", "fp32+", "FP32"])
def test_what_is_no_mode_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(UsageError, match="expected at most one of fp32, tf32, bf16, fp16 and any of channels_last"):
        parse_mode(text)


@pytest.mark.parametrize("model", ["digits", "digits-vae"])
@pytest.mark.parametrize(("mode", "far"), [("channels_last", 1e-5), ("bf16", 0.1), ("fp16+channels_last", 0.02)])
def test_a_network_in_a_mode_takes_and_gives_float32_and_says_nearly_the_same(
    model: str, mode: str, far: float
) -> None:
    plain, other = load_model(model, _CPU), load_model(model, _CPU, None, parse_mode(mode))
    x = torch.randn(4, *plain.card.state_shape, generator=torch.Generator().manual_seed(0))
    at = plain.schedule.level(0.9)
    with torch.inference_mode():
        expected, found = plain.network(x, at), other.network(x, at)
    assert (found.dtype, found.is_contiguous()) == (torch.float32, True)
    assert float((found - expected).abs().max()) < far
    assert torch.equal(found, expected) == (mode == "channels_last" and model == "digits-vae")
    assert other.sha256 == plain.sha256


def test_only_what_goes_through_the_network_is_cast() -> None:
    """The condition stays float32: bfloat16 has no 999."""
    seen: list[torch.dtype] = []

    class Seen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            seen.extend((x.dtype, condition.dtype, self.weight.dtype))
            return x * self.weight

    mode = Mode("bf16")
    found = in_mode(prepared(Seen(), mode), mode)(torch.ones(2, 1, 4, 4), torch.full((2,), 999.0))
    assert seen == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert found.dtype == torch.float32


@pytest.mark.parametrize("mode", ["tf32", "graph", "bf16+graph"])
def test_what_only_cuda_has_is_refused_on_a_cpu(mode: str) -> None:
    with pytest.raises(UsageError, match=r"needs a CUDA device, and this one is cpu"):
        load_model("digits", _CPU, None, parse_mode(mode))


def test_a_law_in_closed_form_is_worked_out_in_float64_or_not_at_all() -> None:
    with pytest.raises(UsageError, match=r"takes the modes fp32 and fp32\+graph, not bf16"):
        load_model("digits-mixture", _CPU, None, Mode("bf16"))


def test_tensor_float_32_is_used_in_its_own_mode_only_and_then_as_before() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32)
    with arithmetic("tf32"):
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (True, True)
        with arithmetic("fp32"):
            assert (matmul.allow_tf32, cudnn.allow_tf32) == (False, False)
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (True, True)
    assert (matmul.allow_tf32, cudnn.allow_tf32) == before


def test_products_on_a_cpu_are_float32_s_own_whatever_a_network_has_asked_for_as_it_was_built() -> None:
    def read() -> list[str]:
        return [torch._C._get_fp32_precision_getter("mkldnn", each) for each in ("matmul", "conv", "rnn")]

    try:
        torch.set_float32_matmul_precision("medium")
        assert (before := read())[0] == "bf16"
        with arithmetic("fp32"):
            assert read() == ["ieee"] * 3
            assert torch.get_float32_matmul_precision() == "highest"
        assert read() == before
    finally:
        torch.set_float32_matmul_precision("highest")


def test_modes_are_an_axis_and_the_baseline_runs_in_the_first() -> None:
    rows = [(cell.sampler, cell.mode) for cell in plan(_study())]
    assert rows == [("ddpm", "fp32"), ("ddim", "fp32"), ("ddim", "bf16"), ("heun", "fp16")]
    rows = [(cell.sampler, cell.mode) for cell in plan(_study(modes=["channels_last", "fp16", "fp16"]))]
    assert rows == [
        ("ddpm", "fp32+channels_last"),
        *(("ddim", mode) for mode in ("fp32+channels_last", "fp16")),
        *(("heun", mode) for mode in ("fp32+channels_last", "fp16")),
    ]
    assert [cell.mode for cell in plan(_study(precision="bf16"))] == ["bf16"] * 3


def test_every_row_says_in_which_mode_it_was_measured(tmp_path: Path) -> None:
    frame = _run(_study(), tmp_path)
    assert list(frame["mode"]) == ["fp32", "fp32", "bf16", "fp16"]
    assert list(frame["dtype"]) == list(frame["mode"])
    assert not frame[["channels_last", "compile", "graph"]].any(axis=None)
    assert frame[["compile_s", "captured"]].isna().all(axis=None)
    assert frame["id"].is_unique
    assert frame["fd_digits"].iloc[1] != frame["fd_digits"].iloc[2]


def test_solver_errors_of_every_mode_are_distances_from_one_solution_that_of_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.solution.STEPS", 40)  # coarse: what is looked at is whose solution it is
    text = _STUDY.replace('metrics = ["fd"]', 'metrics = ["solver_error"]\nsolver_images = 1')
    study = parse_study(text, "test", Overrides(modes=["fp32", "bf16"], samplers=["heun"], steps=[5], images=16))
    plain, coarse = (row for row in _run(study, tmp_path).to_dict("records") if row["sampler"] == "heun")
    assert (plain["mode"], coarse["mode"]) == ("fp32", "bf16")
    assert len(list((tmp_path / "solutions").iterdir())) == 1
    assert plain["solver_rmse_reference"] == coarse["solver_rmse_reference"]
    assert plain["solver_rmse"] != coarse["solver_rmse"]
    alone = _run(study.model_copy(update={"modes": ["bf16"]}), tmp_path / "alone")
    assert alone["solver_rmse"].tolist()[-1] == coarse["solver_rmse"]  # float32's solution all the same


def test_a_solution_is_solved_again_when_a_package_changes_that_its_network_is_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.running.solution.STEPS", 4)
    text = _STUDY.replace('metrics = ["fd"]', 'metrics = ["solver_error"]\nsolver_images = 1')
    study = parse_study(text, "test", Overrides(modes=["fp32"], samplers=["heun"], steps=[2], images=16))
    _run(study, tmp_path)
    monkeypatch.setattr("bench.running.resolve.versions", lambda: {**versions(), "version_diffusers": "another"})
    _run(study, tmp_path)
    assert len(list((tmp_path / "solutions").iterdir())) == 2


@pytest.mark.parametrize("variable", ["TORCHDYNAMO_DISABLE", "the configuration"])
def test_a_mode_is_not_called_compiled_where_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    configured = variable == "the configuration"
    if not configured:
        monkeypatch.setenv(variable, "1")
    # not by monkeypatch, which deletes the setting in undoing that, and torch then knows it no more
    switched = torch._dynamo.config.patch(disable=configured)
    with switched, pytest.raises(UsageError, match=r"mode fp32\+compile: torch.compile is switched off"):
        check_mode(parse_mode("compile"), load_card(ZOO / "digits"), _CPU)


@pytest.mark.parametrize(
    ("device", "mode", "name", "value", "refused"),
    [
        ("cpu", "fp32", "ONEDNN_DEFAULT_FPMATH_MODE", "BF16", True),
        ("cpu", "bf16", "DNNL_DEFAULT_FPMATH_MODE", "any", True),
        ("cpu", "fp32", "ONEDNN_DEFAULT_FPMATH_MODE", "strict", False),
        ("cpu", "fp32", "NVIDIA_TF32_OVERRIDE", "1", False),
        ("cuda", "fp32", "NVIDIA_TF32_OVERRIDE", "1", True),
        ("cuda", "fp32", "NVIDIA_TF32_OVERRIDE", "0", False),
        ("cuda", "tf32", "NVIDIA_TF32_OVERRIDE", "0", True),
    ],
)
def test_no_variable_of_the_environment_makes_another_precision_of_a_mode_s(
    monkeypatch: pytest.MonkeyPatch, device: str, mode: str, name: str, value: str, refused: bool
) -> None:
    """The first reaches every convolution of float32 (ONEDNN_VERBOSE: attr-fpmath:bf16), which some CPUs use."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{name} is '{value}'.*unset it") if refused else nullcontext():
        check_mode(parse_mode(mode), load_card(ZOO / "digits"), torch.device(device))

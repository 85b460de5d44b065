"""Samplers as they are listed: what each says about itself, whatever a stranger's sampler does when asked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import Tensor

from bench.cli.listing import rows, show
from bench.cli.sampler_list import source
from models.denoiser import Denoiser
from models.schedule import Level
from samplers import SAMPLERS, Noise, StepSampler
from samplers.ddim import DDIM
from samplers.registry import load_file


@dataclass(frozen=True)
class _Plain(StepSampler):
    paper = "none"
    family = "other"
    stochastic = False

    @property
    def order(self) -> int | None:
        return 1

    def nfe(self, levels: Sequence[Level]) -> int | None:
        return len(levels) - 1

    def step(self, model: Denoiser, x: Tensor, t: Level, s: Level, noise: Noise) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Adaptive(_Plain):
    def nfe(self, levels: Sequence[Level]) -> None:
        return None


@dataclass(frozen=True)
class RaisesAtOrder(_Plain):
    @property
    def order(self) -> int | None:
        raise KeyError("[/red]")


@dataclass(frozen=True)
class RaisesAtNfe(_Plain):
    def nfe(self, levels: Sequence[Level]) -> int:
        raise ZeroDivisionError("of two\nlines")


@dataclass(frozen=True)
class NeedsAParameter(_Plain):
    strength: float


@dataclass(frozen=True)
class HasEverything(_Plain):
    caveat: str | None = "known [defect]"
    way: str = "fast"
    at: tuple[float, ...] = (0.5, 0.25)
    clean: bool = True


@pytest.fixture(autouse=True)
def strangers(registered: None) -> None:
    for cls in (Adaptive, RaisesAtOrder, RaisesAtNfe, NeedsAParameter, HasEverything):
        SAMPLERS.register(f"test-{cls.__name__.lower()}")(cls)


def test_a_stranger_that_raises_is_listed_with_its_reason_and_where() -> None:
    found = {row["name"]: row for row in rows("samplers", 5)}
    assert found["ddim"]["nfe_at_5_steps"] == 5
    assert found["ddim"]["unavailable"] is None
    place = "\\(tests/cli/test_listing.py:\\d+\\)"
    reason = found["test-raisesatorder"]["unavailable"]
    assert re.fullmatch(rf"sampler 'test-raisesatorder': order: KeyError: '\[/red\]' {place}", reason)
    reason = found["test-raisesatnfe"]["unavailable"]
    assert re.fullmatch(rf"sampler 'test-raisesatnfe': nfe\(\): ZeroDivisionError: of two lines {place}", reason)
    assert found["test-raisesatnfe"]["order"] == 1
    assert "strength: is missing" in found["test-needsaparameter"]["unavailable"]
    assert found["test-needsaparameter"]["parameters"] == "strength (required)"


def test_evaluations_that_nobody_can_know_before_are_blank() -> None:
    found = {row["name"]: row for row in rows("samplers")}
    assert found["test-adaptive"]["nfe_at_10_steps"] is None
    assert found["test-adaptive"]["unavailable"] is None


def test_parameters_are_listed_as_a_specification_takes_them() -> None:
    for row in rows("samplers"):
        if row["origin"] is not None and row["unavailable"] is None:
            default = SAMPLERS.make(row["name"])
            assert SAMPLERS.make(f"{row['name']}[{row['parameters']}]") == default


def test_a_librarys_adapters_are_listed_without_importing_it() -> None:
    named = {name for names in SAMPLERS.families().values() for name in names}
    assert {row["name"] for row in rows("samplers") if row["family"] == "library"} >= named


def test_the_table_fits_a_log_and_says_why_what_is_missing_is(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows("samplers")
    show("samplers", found)
    shown = capsys.readouterr().out.splitlines()
    table = shown[2 : shown.index("", 2)]
    assert max(map(len, table)) <= 120
    for row in found:
        if row["origin"] is not None:
            (line,) = (line for line in table if line.split("  ")[0] == row["name"])
            assert row["paper"] is None or row["paper"] in line
    where, said = source(RaisesAtOrder), "\n".join(shown)
    assert f"unavailable: test-raisesatorder ({where}): sampler 'test-raisesatorder': order: KeyError: '[/red]'" in said
    assert f"unavailable: test-raisesatnfe ({where}): sampler 'test-raisesatnfe': nfe(): ZeroDivisionError: of" in said


def test_a_class_is_said_to_be_the_trees_or_a_plugin_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert source(DDIM) == "tree"
    (tmp_path / "plugin.py").write_text(
        "from dataclasses import dataclass\nfrom samplers import register\nfrom samplers.ddim import DDIM\n"
        "@register('test-file')\n@dataclass(frozen=True)\nclass Mine(DDIM): ...\n"
    )
    load_file(tmp_path / "plugin.py")
    assert source(SAMPLERS.get("test-file")) == str(tmp_path / "plugin.py")
    monkeypatch.chdir(tmp_path)
    assert source(SAMPLERS.get("test-file")) == "plugin.py"


def test_samplers_and_grids_are_listed_with_their_names_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    found = {row["name"]: row for row in rows("samplers")}
    known = found["ddim"]["known_as"]
    assert known["ddim[eta=1]"]["ComfyUI"] == ["euler_ancestral"]
    assert known["ddim"]["k-diffusion"] == ["sample_euler"]
    assert "sigma = 0.001" in found["unipc"]["known_as_differs"]["uni_pc"]
    assert (found["rk45"]["known_as"], found["test-adaptive"]["known_as"]) == ({}, {})
    show("samplers", rows("samplers"))
    shown = capsys.readouterr().out.splitlines()
    table = shown[next(n for n, line in enumerate(shown) if line.split("  ")[0] == "here") :]
    table = table[: next(n for n, line in enumerate(table) if not line.strip())]
    assert max(map(len, table)) <= 120
    told = {line.split("  ")[0]: line for line in table}
    assert "EulerAncestralDiscreteScheduler" in told["ddim[eta=1]"]
    assert "~uni_pc" in told["unipc[variant=bh1]"]
    show("grids", rows("grids"))
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 120
    assert "~simple" in "".join(shown)
    assert all("{" not in line for line in shown)
    (beta,) = (row for row in rows("grids") if row["name"] == "beta")
    assert (beta["known_as"]["beta"]["A1111"], "Beta" in beta["known_as_differs"]) == (["Beta"], True)

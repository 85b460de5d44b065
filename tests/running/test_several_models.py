"""Several models in one study: each row says whose it is, and all are measured by the main model's reference."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from checked_models import edited_digits

from bench.cli.run import run_and_report
from bench.record import RunFolder
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.placement import grid_ends, place
from bench.study.plan import Cell, plan
from bench.study.study import Study
from models.common.errors import UsageError
from models.grids import GRIDS
from models.loading.sources import ZOO, load_card
from models.loading.zoo import load_model
from models.networks.network import LevelBlind
from models.schedule import DiscreteVP, Flow
from samplers import SAMPLERS

_STUDY = """
name = "several"
title = "Several"
model = "digits"
images = 40
batch = 16
timing = { repeats = 1, seconds = 0.0 }
device = "cpu"
baseline = { sampler = "ddim", grid = "trailing", steps = 3 }
[[block]]
model = "MODEL"
samplers = ["SAMPLER"]
grids = ["trailing"]
steps = [1]
"""


class _Silent:
    def planned(self, cells: int, evaluations: int) -> None: ...

    def advanced(self, evaluations: int) -> None: ...

    def finished(self, cell: Cell, record: dict[str, object], kept: bool) -> None: ...

    def timed(self, cell: Cell, record: dict[str, object]) -> None: ...


def _text(model: str | Path, sampler: str) -> str:
    return _STUDY.replace("MODEL", str(model)).replace("SAMPLER", sampler)


def _study(model: str | Path, sampler: str) -> Study:
    return parse_study(_text(model, sampler), "test", Overrides())


def _run(study: Study, path: Path) -> pd.DataFrame:
    run_study(study, Session.load(study), RunFolder(path), False, _Silent())
    return RunFolder(path).load()


def test_a_decoder_is_a_row_of_one_evaluation_under_its_own_name_in_the_study_of_another_model(tmp_path: Path) -> None:
    frame = _run(_study("digits-vae", "one-step"), tmp_path)
    cpu = torch.device("cpu")
    digits, vae = (load_model(name, cpu) for name in ("digits", "digits-vae"))
    assert list(frame["model"]) == ["digits", "digits-vae"]
    assert list(frame["model_sha256"]) == [digits.sha256, vae.sha256]
    assert set(frame["subject_sha256"]) == {digits.sha256}
    for shared in ("extractor", "extractor_sha256", "reference", "reference_sha256"):
        assert frame[shared].nunique() == 1
    row = frame.iloc[1]
    assert (row["nfe"], row["nfe_declared"]) == (1, 1)
    assert row[["note", "clip"]].isna().all()
    assert frame["clip"].iloc[0] == [-1.0, 1.0]
    assert 0 < row["network_s_median"] < row["latency_s_median"]
    assert 0 < row["fd_digits"] < frame["fd_digits"].iloc[0]  # better than three steps of DDIM


def test_the_decoder_shown_is_what_its_network_makes_of_the_study_s_noise(tmp_path: Path) -> None:
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    from bench.noise.stream import ImageNoise
    from bench.quality.images import to_uint8

    frame = _run(_study("digits-vae", "one-step"), tmp_path)
    preview = pil_to_tensor(Image.open(RunFolder(tmp_path).preview(frame["id"].iloc[1])))
    network = load_model("digits-vae", torch.device("cpu")).network
    assert isinstance(network, LevelBlind)
    with torch.inference_mode():
        images = network.network(ImageNoise(0, torch.arange(16))(torch.empty(16, 128, 1, 1)))
    torch.testing.assert_close(preview, torch.cat(list(to_uint8(images)[:10]), dim=2))


def test_a_denoiser_sampled_as_a_generator_is_measured_with_a_note_that_it_gives_a_mean(tmp_path: Path) -> None:
    frame = _run(_study("digits", "one-step"), tmp_path)
    assert list(frame["note"].dropna()) == ["a denoiser's x_0 is a posterior mean, not a sample"]
    assert frame["note"].notna().tolist() == [False, True]
    assert list(frame["nfe"]) == [3, 1]
    assert frame["fd_digits"].iloc[1] > frame["fd_digits"].iloc[0]


def test_two_denoisers_in_a_study_are_two_rows_each_with_its_own_clip_and_hash(tmp_path: Path) -> None:
    other = edited_digits(tmp_path / "other", "clip = [\n    -1.0,\n    1.0,\n]", "clip = [-0.5, 0.5]")
    frame = _run(_study(other, "ddim"), tmp_path / "run")
    assert frame["model_sha256"].nunique() == 2
    assert frame["subject_sha256"].nunique() == 1
    assert list(frame["clip"]) == [[-1.0, 1.0], [-0.5, 0.5]]


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_does_not_fit_its_model_is_refused_before_anything_is_measured(tmp_path: Path, dry_run: bool) -> None:
    wide = edited_digits(tmp_path / "wide", "    8,\n    8,\n", "    16,\n    16,\n")
    said = {
        ("digits-vae", "ddim"): "ddim needs a denoiser, but model 'digits-vae' is a generator.*sample it with one-step",
        (str(wide), "heun"): r"shape \(1, 16, 16\), those of the study's model 'digits' \(1, 8, 8\)",
        ("digit", "ddim"): "unknown model 'digit'. Did you mean 'digits'",
    }
    for (model, sampler), message in said.items():
        (tmp_path / "study.toml").write_text(_text(model, sampler))
        with pytest.raises(UsageError, match=message):
            run_and_report(str(tmp_path / "study.toml"), Overrides(), tmp_path / "run", force=False, dry_run=dry_run)
        assert not (tmp_path / "run").exists()


def test_a_decoder_has_no_extractor_so_a_study_of_it_alone_says_what_to_do() -> None:
    study = parse_study(_text("digits", "one-step"), "test", Overrides(model="digits-vae"))
    with pytest.raises(UsageError, match=r"no feature extractor.*name it as the model of a block"):
        Session.load(study)


def test_a_dry_run_lists_the_cells_of_every_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.running.estimate._CALIBRATION_S", 0.01)
    (tmp_path / "study.toml").write_text(_text("digits-vae", "one-step"))
    assert run_and_report(str(tmp_path / "study.toml"), Overrides(), tmp_path / "run", force=False, dry_run=True) == 0
    assert "digits-vae: one-step on trailing, 1 step, seed 0" in capsys.readouterr().out


def test_a_cell_s_levels_lie_on_its_own_model_s_schedule(tmp_path: Path) -> None:
    other = edited_digits(tmp_path / "other", "beta_end = 0.02", "beta_end = 0.03")
    cells = plan(_study(other, "ddim"))
    main, own = load_card(ZOO / "digits"), load_card(other)
    _, levels = place(cells[1], own, main)
    assert levels == GRIDS.make("trailing")(DiscreteVP.linear(beta_end=0.03), 1)


@pytest.mark.parametrize(("grid", "final"), [("linspace", True), ("linspace[clean=false]", False)])
def test_records_say_where_the_grid_starts_and_ends(grid: str, final: bool) -> None:
    schedule = DiscreteVP.linear()
    ends = grid_ends(SAMPLERS.make("ddim"), GRIDS.make(grid)(schedule, 5))
    first, last = schedule.level(1.0), schedule.level(1 / 1000)
    assert ends["sigma_start"] == pytest.approx(first.sigma / first.alpha)
    assert ends["sigma_end"] == pytest.approx(last.sigma / last.alpha)
    assert ends["final_denoising"] is final


def test_an_infinite_start_is_recorded_as_null() -> None:
    ends = grid_ends(SAMPLERS.make("ddim"), GRIDS.make("trailing[t_start=1]")(Flow(), 2))
    assert ends == {"sigma_start": None, "sigma_end": pytest.approx(1.0), "final_denoising": True}


def test_grid_ends_of_a_sampler_that_places_its_steps_itself_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = SAMPLERS.make("ddim")
    monkeypatch.setattr(type(sampler), "places_steps", True)
    levels = GRIDS.make("native")(DiscreteVP.linear(), 2)
    assert grid_ends(sampler, levels) == {"sigma_start": None, "sigma_end": None, "final_denoising": None}


def test_every_record_has_the_ends_of_its_grid(tmp_path: Path) -> None:
    frame = _run(_study("digits-vae", "one-step"), tmp_path)
    start, third = DiscreteVP.linear().level(1.0), DiscreteVP.linear().level(1 / 3)
    assert list(frame["sigma_start"]) == pytest.approx([start.sigma / start.alpha] * 2)
    # of three steps the last starts at a third; of one step the first is the last
    assert list(frame["sigma_end"]) == pytest.approx([third.sigma / third.alpha, start.sigma / start.alpha], rel=1e-2)
    assert frame["final_denoising"].all()

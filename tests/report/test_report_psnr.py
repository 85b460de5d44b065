"""PSNR and CLIP score in reports: higher is better, compared in pairs, each with what it is of."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Cli
from report_records import BASELINE, column, record, row_of, section_of, summary_of, write_run
from scipy import stats

from bench.record import Record
from bench.record_schema import CellRecord, fault
from bench.report.data.distances import of_key
from bench.report.tables.notes import notes

FLOW = {"solver_images": 64, "solver_rmse_reference": 2e-3, "sigma_start": 80.0, "sigma_end": 0.1}
CLIP = {"clip_model": "hf:openai/clip@0123", "clip_sha256": "5e" * 32, "prompts_sha256": "6f" * 32}
KEYS: dict[str, Record] = {"psnr": FLOW, "clip_score": CLIP}


def told(key: str, sampler: str, steps: int, value: float, error: float, own: float = 0.0, **more: Any) -> Record:
    """A record with this value, whose jackknife is a swing that others share and one of its own."""
    swing = np.array([-1.0, 1.0] * 5) * error / 3  # of values c and -c the jackknife's standard error is 3 c
    apart = np.array([-1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, 0.0, 0.0]) * own
    left_out = (value + swing + apart).tolist()
    std = float(np.sqrt(0.9 * np.sum((np.array(left_out) - np.mean(left_out)) ** 2)))
    values = {key: value, f"{key}_std": std, f"{key}_left_out": left_out}
    return record(sampler, steps=steps, final_denoising=True, **(KEYS[key] | values | more))


def cells(key: str) -> list[Record]:
    return [
        told(key, *BASELINE[::2], 31.0, 0.9),
        told(key, "heun", 10, 31.5, 0.9, 0.01),
        told(key, "ddim", 10, 31.499, 0.9),
    ]


@pytest.mark.parametrize("key", KEYS)
def test_the_highest_is_best_and_others_are_told_from_it_in_pairs(tmp_path: Path, key: str) -> None:
    section = section_of(tmp_path, cells(key))
    shown = column(section, of_key(key).heading)
    found = {str(row["sampler"]): n for n, row in enumerate(section.records)}
    assert [shown.best[found[name]] for name in ("ddpm", "heun", "ddim")] == [False, True, True]  # 31.50 both
    # unpaired, 0.5 is 0.4 standard errors; what both share falls out of the difference
    assert [shown.tested[found[name]] for name in ("ddpm", "heun", "ddim")] == [True, False, False]
    assert shown.brief[found["ddpm"]] == "31.00"
    half = stats.t.ppf(0.975, 9) * 0.9
    assert shown.cells[found["ddpm"]] == f"31.00 ± {half:.2f}"
    name = {"psnr": "PSNR", "clip_score": "CLIP score"}[key]
    assert f"of one seed, of {name} only, 2.26 jackknife standard errors" in " ".join(notes(section))


def test_notes_say_what_they_are_of(tmp_path: Path) -> None:
    said = " ".join(notes(section_of(tmp_path / "psnr", cells("psnr"))))
    assert "PSNR: in dB, of images to those of a tight solution of the probability flow, over 64 images; that " in said
    assert "solution's own error is an RMSE of 0.00200." in said
    said = " ".join(notes(section_of(tmp_path / "clip", cells("clip_score"))))
    assert "an image and of its prompt by hf:openai/clip@0123 (5e5e5e5e), the mean." in said


@pytest.mark.parametrize(
    ("key", "other", "words"),
    [
        ("psnr", {"sigma_end": 0.2, "final_denoising": False}, "PSNR: ranked among rows of the same ends of the flow"),
        ("psnr", {"solver_images": 32}, "PSNR: ranked among rows of the same number of images only."),
        ("clip_score", {"clip_sha256": "7a" * 32}, "CLIP score: ranked among rows of the same CLIP only."),
        ("clip_score", {"prompts_sha256": "7a" * 32}, "CLIP score: ranked among rows of the same prompts only."),
    ],
)
def test_rows_that_are_of_something_else_are_not_ranked_with_it(
    tmp_path: Path, key: str, other: Record, words: str
) -> None:
    section = section_of(tmp_path, [*cells(key), told(key, "dpm++2m", 10, 30.0, 0.9) | other])
    shown = column(section, of_key(key).heading)
    best = {str(row["sampler"]): best for row, best in zip(section.records, shown.best, strict=True)}
    assert best == {"ddpm": False, "heun": True, "ddim": True, "dpm++2m": True}
    assert words in " ".join(notes(section))


def test_seeds_by_another_clip_are_no_seeds_of_one_row(tmp_path: Path) -> None:
    one = told("clip_score", "heun", 10, 31.5, 0.9)
    other = told("clip_score", "heun", 10, 21.5, 0.9, seed=1) | {"clip_sha256": "7a" * 32}
    table = summary_of(tmp_path, [*cells("clip_score")[::2], one, other]).table
    assert sorted(table[table["sampler"] == "heun"]["clip_score"]) == [21.5, 31.5]


@pytest.mark.parametrize(("key", "words"), [("psnr", "PSNR"), ("clip_score", "CLIP score")])
def test_the_table_and_a_report_by_it(tmp_path: Path, cli: Cli, key: str, words: str) -> None:
    run = write_run(tmp_path / "run", cells(key))
    row = row_of(run, "ddim", 10)
    assert (row[key], row[f"{key}_ci"]) == (31.499, pytest.approx(stats.t.ppf(0.975, 9) * 0.9))
    out = " ".join(cli("report", run, "--metric", key, "--format", "md").out.split())
    assert f"{words} of samplers by network evaluations an image (NFE); higher is better." in out


def test_it_is_no_distance_that_an_answer_goes_by(tmp_path: Path) -> None:
    """A tolerance is a share of a distance; of decibels, as of an Inception score, it would mean nothing."""
    nothing = dict.fromkeys(("fd_digits", "kid_mean", "inception_score", "precision", "recall"))
    section = section_of(tmp_path, [each | nothing for each in cells("psnr")])
    assert section.rank is None
    assert [each.sentence for each in section.answers] == ["No answer: no distance was measured."]
    assert "Small N" not in " ".join(notes(section))  # which is said of the bias of distances


@pytest.mark.parametrize(
    "wrong",
    [
        {"psnr": -1.0},
        {"psnr_std": -0.1},
        {"psnr_left_out": [1.0]},
        {"clip_score": 101.0},
        {"clip_score": "31"},
        {"clip_score_left_out": [1.0] * 9},
        {"solver_steps": 0},
        {"clip_model": ""},
    ],
    ids=str,
)
def test_records_that_make_no_sense_are_broken(wrong: Record) -> None:
    fine = told("psnr", "ddim", 10, 31.5, 0.9) | CLIP | {"clip_score": 31.5, "solver_steps": 20}
    assert fault(CellRecord, fine) is None
    assert (fault(CellRecord, fine | wrong) or "").startswith(next(iter(wrong)))

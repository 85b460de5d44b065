"""Statistics and distances on the device are those of the CPU, also where a second queue takes them."""

import device_cells
import pytest
import torch
from torch import Tensor

from bench.quality.extractors import load_extractor
from bench.quality.frechet import Target, extrapolate, factor_of, frechet, jackknife, left_out
from bench.quality.metrics import QualityStream, Values
from bench.quality.prefetch import SideStream
from bench.quality.reference import load_reference
from bench.quality.statistics import BlockMoments, Moments, merged
from bench.running.score import Score, quality_columns
from bench.running.session import Session
from models.loading.zoo import load_model

_METRICS = ("fd", "inception_score", "precision_recall")  # not KID, which numpy takes, on the CPU, for seconds


def _rows(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(1.0, 0.2, 96, dtype=torch.float64)
    return torch.randn(count, 96, generator=generator, dtype=torch.float64) * scale + 3.0


def _blocks(rows: Tensor) -> list[Moments]:
    stream = BlockMoments()
    for part in rows.split(777):
        stream.add(part)
    return stream.finish()


def test_moments_and_distances_are_those_of_the_cpu(device: torch.device) -> None:
    rows, real = _rows(6003, 0), _rows(9000, 1) * 1.05
    here, there = merged(_blocks(rows.to(device))), merged(_blocks(rows))
    torch.testing.assert_close(here.mean.cpu(), there.mean, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(here.covariance.cpu(), there.covariance, rtol=1e-10, atol=1e-12)
    covariance = torch.cov(real.T)
    expected = frechet(there.mean, there.covariance, real.mean(0), covariance)
    found = frechet(here.mean, here.covariance, real.mean(0), covariance)
    assert found == pytest.approx(expected, rel=1e-8)


def test_standard_errors_and_extrapolations_are_those_of_the_cpu(device: torch.device) -> None:
    rows, real = _rows(6003, 0), _rows(9000, 1) * 1.05
    target = Target(real.mean(0), factor_of(torch.cov(real.T))[0])
    here, there = _blocks(rows.to(device)), _blocks(rows)
    on_device = target.on(here[0].mean.device)
    found, expected = left_out(here, on_device), left_out(there, target)
    assert found == pytest.approx(expected, rel=1e-8)
    assert jackknife(found) == pytest.approx(jackknife(expected), rel=1e-6)
    ends = extrapolate(here, on_device, found), extrapolate(there, target, expected)
    assert ends[0].value == pytest.approx(ends[1].value, rel=1e-8)


def _digit_like(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=generator)


def _scored(images: Tensor, device: torch.device, side: SideStream | None) -> Values:
    """The quality of images that come in batches, each of whose memory is overwritten as soon as that is allowed."""
    extractor = load_extractor(None, load_model("digits", torch.device("cpu")), device)
    stream = QualityStream(extractor, load_reference(None, extractor, _METRICS), _METRICS, len(images))
    with torch.inference_mode():
        for batch in images.split(100):
            pixels = batch.to(device) + 0
            if side is None:
                stream.add(pixels)
            else:
                with side.behind(pixels):
                    stream.add(pixels)
            del pixels
            for _ in range(3):
                torch.full((100, 1, 8, 8), 255, dtype=torch.uint8, device=device)
        with (side or SideStream(torch.device("cpu"))).behind():
            return stream.values()


def test_quality_is_the_same_on_a_second_queue_and_on_the_cpu(device: torch.device) -> None:
    images = _digit_like(1050, 0)
    plain = _scored(images, device, None)
    overlapped = _scored(images, device, SideStream(device))
    assert overlapped == pytest.approx(plain, rel=1e-10)
    on_cpu = _scored(images, torch.device("cpu"), None)
    for name in ("fd_digits", "inception_score"):
        assert plain[name] == pytest.approx(on_cpu[name], rel=1e-4)
    for name in ("precision", "recall"):  # a distance on the edge of a ball falls to either side
        assert plain[name] == pytest.approx(on_cpu[name], abs=0.01)


def test_scoring_batches_does_not_wait_for_the_device(cuda: torch.device) -> None:
    session = Session.load(device_cells.study_of(cuda, metrics=("fd", "solver_error"), images=512))
    batches = [_digit_like(128, seed).to(cuda) for seed in range(4)]
    with torch.inference_mode():
        for round_ in range(2):
            cell = device_cells.cell_of(session, "ddim")
            score = Score(session, cell, range(512))
            torch.cuda.set_sync_debug_mode("error" if round_ else "default")
            try:
                for pixels in batches:
                    score.add(pixels.float(), pixels)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            assert quality_columns(session, cell, score.finish()[0])[0]["fd_digits"]

"""The sampler conforms, and does what its paper says."""

import pytest
import torch

from bench.conformance.suite import CHECKS, Check, run_check
from bench.noise.stream import ImageNoise
from models.analytic import Gaussian
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.schedule import DiscreteVP
from samplers import SAMPLERS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("spec", ["my-gradient-estimation", "my-gradient-estimation[gamma=1.5]"])
def test_conforms(spec: str, check: Check) -> None:
    result = run_check(check, SAMPLERS.make(spec))
    assert result.outcome != "failed", result.detail


def test_without_the_estimate_before_it_is_ddim() -> None:
    schedule = DiscreteVP.linear()
    law = Gaussian(torch.zeros(4, dtype=torch.float64), 0.25 * torch.eye(4, dtype=torch.float64), (1, 2, 2))
    levels = GRIDS.make("trailing")(schedule, 10)
    noise = ImageNoise(0, torch.arange(3))
    x = noise(torch.empty(3, 1, 2, 2, dtype=torch.float64))
    ours, ddim = (
        SAMPLERS.make(spec).sample(Denoiser(law, "sample", schedule), x, levels, noise)
        for spec in ("my-gradient-estimation[gamma=1]", "ddim")
    )
    torch.testing.assert_close(ours, ddim, rtol=0.0, atol=1e-12)

"""A law with classes."""

import torch

from models.analytic import GaussianMixture

LABELS = torch.tensor([0, 2, 1, 2, 0])
"""Of five images."""


def mixture() -> GaussianMixture:
    """Three classes, each a Gaussian."""
    draws = torch.Generator().manual_seed(1)
    means = torch.randn(3, 16, generator=draws, dtype=torch.float64)
    roots = 0.3 * torch.randn(3, 16, 16, generator=draws, dtype=torch.float64)
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    return GaussianMixture(weights, means, roots @ roots.mT, (1, 4, 4))

"""Inception's network with random weights, in a file such as torch-fidelity reads: it takes no download."""

from pathlib import Path
from unittest.mock import patch

import torch
from torch import nn
from torch_fidelity import feature_extractor_inceptionv3
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from models.common.files import sha256_of


def write_inception(path: Path) -> str:
    """Write seeded weights, scaled so that signals keep their size through the layers; their sha256."""
    with (
        patch.object(feature_extractor_inceptionv3, "load_state_dict_from_url", lambda *args, **kwargs: {}),
        patch.object(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None),
    ):
        module = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.5, generator=generator)
    torch.save(module.state_dict(), path)
    return sha256_of(path)

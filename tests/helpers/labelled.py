"""A class-conditional model, and an extractor that tells its four classes by how bright an image is."""

from pathlib import Path
from typing import Any

import torch
from checkpoints import CPU, folder_of, make, write
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.quality.compact import EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS
from bench.quality.extractors import Chosen, load_extractor
from bench.quality.reference_maker import write_statistics
from models.loading.sources import CARD
from models.networks.classifier import Classifier, make_classifier

LEVELS = (-0.75, -0.25, 0.25, 0.75)
"""The brightness that is each class."""

TEST_ACCURACY = 0.875

_CONFIG = {"size": 8, "channels": 3, "width": 1, "features": 2, "classes": len(LEVELS)}


def labelled(folder: Path, **unet: Any) -> dict[str, str]:
    """What a study says to measure a UNet2DModel with classes, with random weights, by that extractor.

    Args:
        folder: where all that is made is put.
        unet: what the network's config has otherwise.
    """
    model = make(folder / "model", **({"num_class_embeds": len(LEVELS)} | unet))
    measure = folder / "brightness"
    write(measure / EXTRACTOR_CONFIG, _CONFIG)
    save_file(_by_brightness().state_dict(), measure / EXTRACTOR_WEIGHTS)
    files = {name: measure / name for name in (EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS)}
    folder_of(measure, files)  # of a model, of whose lines only those on files are kept
    hashes = (measure / CARD).read_text().partition("[files]")[2]
    said = f'name = "brightness"\ndescription = "By brightness."\ntest_accuracy = {TEST_ACCURACY}\n'
    head = 'schema_version = 1\nkind = "extractor"\nname = "brightness"\n'
    (measure / CARD).write_text(f"{head}[extractor]\n{said}[files]{hashes}")
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    reference = folder / "reference.safetensors"
    extractor = load_extractor(Chosen(str(measure)), None, CPU)
    write_statistics(reference, extractor, images, about={"data": "noise"})
    return {"model": str(model), "extractor": str(measure), "reference": str(reference)}


def flat(labels: Tensor) -> Tensor:
    """Images (N, 3, 8, 8) that are of these classes, in -1 ... 1."""
    return torch.tensor(LEVELS)[labels][:, None, None, None].expand(-1, 3, 8, 8)


def _by_brightness() -> Classifier:
    """Each layer passes on the pixels of the first channel; of that activation the logits are nearest-level ones."""
    network = make_classifier(_CONFIG).eval()
    assert isinstance(network, Classifier)
    with torch.no_grad():
        for layer in network.trunk.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.zero_()[:, 0, 1, 1] = 1.0
            if isinstance(layer, nn.Linear):
                layer.weight.fill_(1.0)
                layer.bias.zero_()
        at = network.trunk(flat(torch.arange(len(LEVELS))))[:, 0]
        network.head.weight.zero_()[:, 0] = 2 * at
        network.head.bias.copy_(-(at**2))
    return network

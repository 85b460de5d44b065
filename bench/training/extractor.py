"""Stage 1 of training on photographs: a small residual network that tells the classes apart, for its features."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.datasets import DataSet
from bench.quality.compact import EXTRACTOR_CONFIG, EXTRACTOR_WEIGHTS
from bench.training.options import CifarOptions
from models.classifier import make_classifier
from models.errors import UsageError
from models.files import read_json
from models.train import Keeping, Numerics, Reporter, cropping_loss, train
from models.weights import load_weights

_PAD = 4
_BATCH = 500


@dataclass(frozen=True)
class Fitted:
    """A trained extractor.

    Attributes:
        config: that `make_classifier` builds it from.
        state: its weights as they are stored, in half precision but for the norms'.
        accuracy: on images that it was not trained on.
    """

    config: dict[str, Any]
    state: dict[str, Tensor]
    accuracy: float

    def network(self, device: torch.device) -> nn.Module:
        """The extractor with these weights in float32, ready to be used."""
        network = make_classifier(self.config)
        network.load_state_dict(self.state)
        return network.to(device).eval().requires_grad_(False)

    def write(self, folder: Path) -> None:
        """Store it as an extractor of a model folder."""
        (folder / EXTRACTOR_CONFIG).parent.mkdir(parents=True, exist_ok=True)
        (folder / EXTRACTOR_CONFIG).write_text(json.dumps(self.config, indent=1) + "\n")
        save_file(self.state, folder / EXTRACTOR_WEIGHTS)


def fit_extractor(
    options: CifarOptions, train_set: DataSet, test_set: DataSet, deadline: float, reporter: Reporter
) -> Fitted | None:
    """Train it, or go on where a training was.

    Args:
        options: its epochs and width, and where to keep it.
        train_set: with labels.
        test_set: with the same classes, for the accuracy.
        deadline: as in `Keeping`.
        reporter: shows progress.

    Returns:
        The extractor; None if time ran out before the end.
    """
    if train_set.labels is None or test_set.labels is None or train_set.classes != test_set.classes:
        raise UsageError(f"{train_set.name} has classes {train_set.classes}, {test_set.name} {test_set.classes}")
    device = options.torch_device()
    channels, size, _ = train_set.images.shape[1:]
    config = {
        "_class_name": "ResNet9",
        "size": size,
        "channels": channels,
        "width": options.extractor_width,
        "classes": len(train_set.classes or ()),
    }
    torch.manual_seed(options.seed)  # the initial weights
    network = make_classifier(config).to(device).to(memory_format=torch.channels_last)
    recipe = options.extractor_recipe(len(train_set.images))
    numerics = Numerics(bf16=options.use_bf16(device))
    loss_of = cropping_loss(network, train_set.images, train_set.labels, recipe, numerics, _PAD)
    with reporter("feature extractor", recipe.steps) as report:
        keep = Keeping(
            options.out / "extractor",
            report,
            identity={"network": config, "data": train_set.sha256()},
            shard_mib=options.shard_mib,
            deadline=deadline,
            read_every=options.read_every(device),
        )
        trained = train(network, loss_of, recipe, keep)
    if trained.steps < recipe.steps:
        return None
    fitted = Fitted(config, to_storage(trained.state, torch.float16), 0.0)
    return Fitted(config, fitted.state, accuracy_of(fitted.network(device), test_set.images, test_set.labels))


def read_extractor(folder: Path, accuracy: float) -> Fitted:
    """The extractor of a model folder; UsageError if it cannot be read."""
    config = read_json(folder / EXTRACTOR_CONFIG)
    network = load_weights(make_classifier(config), folder / EXTRACTOR_WEIGHTS)
    return Fitted(config, to_storage(network.state_dict(), torch.float16), accuracy)


def to_storage(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights on the CPU as they are stored: matrices and kernels in a dtype, vectors and counts as they are.

    Variances of batch norm can be too small for half precision, and vectors take no space.
    """
    kept = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return {
        name: value.to(dtype) if value.is_floating_point() and value.ndim > 1 else value for name, value in kept.items()
    }


@torch.inference_mode()
def accuracy_of(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The fraction of uint8 images (N, C, H, W) whose largest logit is at their label (N,)."""
    device = next(network.parameters()).device
    found = torch.cat([network(batch.to(device))[1].argmax(1).cpu() for batch in images.split(_BATCH)])
    return float((found == labels).double().mean())

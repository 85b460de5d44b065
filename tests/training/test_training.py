"""Training makes a whole model folder, goes on after a kill as if there was none, and learns."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from bench.quality.datasets import load_digits
from bench.run.session import Session
from bench.study.file import Overrides, load_study
from bench.training.digits import Budget, train_digits
from bench.training.losses import Recipe, Report, train_denoiser
from models.common.errors import UsageError
from models.loading.sources import load_card
from models.networks.network import make_unet
from models.schedule import DiscreteVP

_UNET = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"],
    "add_attention": False,
    "norm_num_groups": 4,
}
_RECIPE = Recipe(steps=12, batch=16, warmup=2, checkpoint_every=4)


@contextmanager
def _silent(stage: str, steps: int) -> Iterator[Report]:
    yield lambda step, loss: None


class _Killed(Exception):
    pass


def _train(
    checkpoint: Path, recipe: Recipe = _RECIPE, stop_at: int | None = None
) -> tuple[list[float], dict[str, torch.Tensor]]:
    losses: list[float] = []

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        if step == stop_at:
            raise _Killed

    torch.manual_seed(recipe.seed)
    unet = make_unet(_UNET)
    return losses, train_denoiser(unet, load_digits()[0], DiscreteVP.linear(), recipe, checkpoint, report).state


def test_a_training_that_was_killed_and_resumed_walks_the_same_path(tmp_path: Path) -> None:
    losses, state = _train(tmp_path / "whole")
    with pytest.raises(_Killed):
        _train(tmp_path / "killed", stop_at=9)
    resumed, resumed_state = _train(tmp_path / "killed")  # goes on from step 8
    assert resumed == losses[8:]
    for name, value in state.items():
        assert torch.equal(resumed_state[name], value), name


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    losses, _ = _train(tmp_path / "c", Recipe(steps=100, batch=32, warmup=10))
    assert losses[-1] < 0.8 * losses[0]


def test_the_seed_decides(tmp_path: Path) -> None:
    first, _ = _train(tmp_path / "a")
    same, _ = _train(tmp_path / "b")
    other, _ = _train(tmp_path / "c", Recipe(steps=12, batch=16, warmup=2, checkpoint_every=4, seed=1))
    assert first == pytest.approx(same, rel=1e-5)
    assert first != pytest.approx(other, rel=1e-3)


def test_a_checkpoint_of_another_recipe_or_a_broken_one_is_refused(tmp_path: Path) -> None:
    _train(tmp_path / "c")
    with pytest.raises(UsageError, match="was made with steps 12, but this training has steps 13;"):
        _train(tmp_path / "c", Recipe(steps=13, batch=16, warmup=2, checkpoint_every=4))
    shard = next((tmp_path / "c").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(UsageError, match="cannot read the checkpoint"):
        _train(tmp_path / "c")


def test_a_tiny_budget_makes_a_folder_that_a_study_can_use(tmp_path: Path) -> None:
    folder = train_digits(tmp_path, Budget(denoiser_steps=3, classifier_steps=150, quality_steps=2), 0, _silent)
    card = load_card(folder)
    assert card.training["images_seen"] == 3 * 256
    assert card.extractor is not None
    assert card.extractor.test_accuracy > 0.5
    assert 0 < float(card.quality["fd_digits_floor"]) < float(card.quality["fd_digits"])
    session = Session.load(load_study("quick", Overrides(model=str(folder), device="cpu")))
    assert session.reference is not None
    assert session.reference.count == 1797

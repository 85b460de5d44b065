"""A card says what a network is given and on which noise, and a folder with one is exactly that, or is refused."""

import math
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkpoints import CARDED, CIFAR10, CPU, folder_of, images, network, write, x0_of
from safetensors.torch import save_file

from bench.running.cell import _remarks
from bench.running.resolve import Declared
from models.cards.card import Card
from models.cards.changes import Changes, make_card
from models.common.errors import UsageError
from models.loading.layout import CONFIG, WEIGHTS
from models.loading.zoo import load_model
from models.schedule import VE, ContinuousVP, DiscreteVP, Flow, GeometricVE, Schedule
from samplers import SAMPLERS
from samplers.about import about


def card(**changes: Any) -> Card:
    return make_card(CARDED | {"files": {}} | changes, None, "card.toml")


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('kind = "linear"\ntrain_steps = 100\nbeta_end = 0.1', DiscreteVP.linear(100, 1e-4, 0.1)),
        ('kind = "scaled_linear"\ntrain_steps = 100\nbeta_start = 1e-3', DiscreteVP.scaled_linear(100, 1e-3, 0.02)),
        ('kind = "cosine"\ntrain_steps = 100', DiscreteVP.cosine(100)),
        ('kind = "betas"\nbetas = [0.1, 0.2, 0.3]', DiscreteVP([0.1, 0.2, 0.3])),
        ('kind = "vp"\nbeta_max = 15', ContinuousVP(0.1, 15.0)),
        ('kind = "ve"\nsigma_min = 0.01\nsigma_max = 50.0', VE(0.01, 50.0)),
        ('kind = "ve-geometric"\nsigma_max = 38.0', GeometricVE(0.01, 38.0, 1e-5)),
        ('kind = "flow"\nt_min = 0.01', Flow(0.01)),
    ],
)
def test_each_kind_of_schedule_is_the_one_of_its_parameters(toml: str, expected: Schedule) -> None:
    network = {"vp": "vp-continuous", "ve": "sigma", "ve-geometric": "sigma", "flow": "flow"}
    said = tomllib.loads(toml)
    made = card(schedule=said, network=network.get(said["kind"], "unet")).schedule.build()
    assert (made.t_min, made.train_steps) == (expected.t_min, expected.train_steps)
    assert [made.level(t) for t in (0.02, 0.5, 0.9)] == [expected.level(t) for t in (0.02, 0.5, 0.9)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"schedule": {"kind": "cosine", "train_steps": 9, "beta_end": 0.1}},
            "schedule.beta_end: unknown key 'beta_end'. There is: kind, train_steps.",
        ),
        ({"parametrization": "sample"}, "unknown key 'parametrization'. Did you mean 'parametrisation'?"),
        (
            {"schedule": {"kind": "cosine", "train_step": 9}},
            "train_step: unknown key 'train_step'. Did you mean 'train_",
        ),
        ({"schedule": {"kind": "cosine"}}, "schedule.train_steps: is missing"),
        ({"schedule": {"kind": "ve", "sigma_min": 2.0, "sigma_max": 1.0}}, "expected sigma_min < sigma_max"),
        ({"schedule": {"kind": "ve-geometric", "sigma_min": 60.0}}, "expected sigma_min < sigma_max"),
        ({"schedule": {"kind": "vp", "beta_min": 20.0}}, "expected beta_min < beta_max"),
        ({"schedule": {"kind": "betas", "betas": [0.1, 1.0]}}, "schedule.betas.1: Input should be less than 1"),
        ({"schedule": {"kind": "sigmoid"}}, "'sigmoid'"),
        ({"schedule": {"kind": "flow"}}, "network 'unet' is conditioned on a schedule of kind linear or scaled_linear"),
        ({"network": "flow"}, "network 'flow' is conditioned on a schedule of kind flow, not linear"),
        ({"network": "edm"}, "network 'edm' gives x_0: parametrisation is 'sample', not 'epsilon'"),
        ({"sigma_data": 0.5}, "sigma_data belongs to networks of kind edm and consistency, not to 'unet'"),
        ({"time_scale": 1000.0}, "time_scale belongs to networks of kind flow and vp-continuous, not to 'unet'"),
        (
            {"network": "flow", "schedule": {"kind": "flow"}, "parametrisation": "flow", "round_time": True},
            "round_time belongs to networks of kind unet, not to 'flow'",
        ),
        ({"network": "finite-data", "parametrisation": "sample", "classes": 3}, "takes no labels; leave out classes"),
        ({"value_range": [1.0, -1.0]}, "value_range: expected [low, high] with low < high"),
        ({"null_label": 3}, "null_label stands beside the classes; say classes = N, too"),
        ({"classes": 3, "null_label": 2}, "null_label = 2 is one of the classes 0 ... 2"),
        ({"classes": 3, "null_label": "no"}, "null_label: expected a label, such as the number of classes, 'zeros' or"),
        ({"classes": 0}, "classes: Input should be greater than or equal to 1"),
        ({"shape": [3, 0, 8]}, "shape.1: Input should be greater than or equal to 1"),
        ({"shape": [3, 8, 2**63]}, "shape.2: Input should be less than or equal to 65536"),
        ({"classes": 2**63}, "classes: Input should be less than 2147483648"),
        ({"schedule": {"kind": "cosine", "train_steps": 10**9}}, "schedule.train_steps: Input should be less"),
        *(
            (
                {"files": {name: "0" * 64}},
                f"expected paths inside of the card's folder, such as 'a/b.safetensors', got {name!r}",
            )
            for name in ("../secret", "/etc/passwd", "a/../../b", "./a", "a/", "", ".", "*", "a\\b")
        ),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        card(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"value_range": [0.0, 1.0]},
        {"classes": 3},
        {"classes": 3, "null_label": 3},
        {"variance": "learned_range"},
        {"clip": [-1.0, 1.0]},
        {"weights": "ema.pt"},
        {"state_key": "ema"},
        {"architecture": "SongUNet"},
        {"round_time": True},
        {"network": "edm", "parametrisation": "sample"},
        {"schedule": {"kind": "cosine", "train_steps": 1000}},
        {"files": {"a": "0" * 64}},
    ],
)
def test_whatever_a_result_depends_on_is_in_the_digest(changes: dict[str, Any]) -> None:
    assert card(**changes).digest_content() != card().digest_content()


def test_a_hash_in_a_study_has_sixty_four_digits() -> None:
    with pytest.raises(ValueError, match="weights_sha256"):
        Changes.model_validate({"weights_sha256": "abc"})


def carded(folder: Path, unet: dict[str, Any] | None = None, **said: Any) -> Path:
    """A folder with a card and the stand-in's U-Net."""
    folder.mkdir(exist_ok=True)
    write(folder / CONFIG, CIFAR10 | (unet or {}))
    save_file(network(**(unet or {})).state_dict(), folder / WEIGHTS)
    return folder_of(folder, {name: folder / name for name in (CONFIG, WEIGHTS)}, **said)


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        ({}, lambda t: 1000.0 * t - 1.0),
        ({"network": "vp-continuous", "schedule": {"kind": "vp"}}, lambda t: 999.0 * t),
        ({"network": "vp-continuous", "schedule": {"kind": "vp"}, "time_scale": 1.0}, lambda t: t),
        ({"network": "flow", "schedule": {"kind": "flow"}, "parametrisation": "flow"}, lambda t: 1000.0 * t),
        ({"network": "sigma", "schedule": {"kind": "ve", "sigma_max": 50.0}}, lambda t: 50.0 * t),
        ({"network": "sigma", "schedule": {"kind": "ve-geometric"}}, lambda t: 0.01 * 5000.0**t),
    ],
)
def test_a_network_is_given_for_the_level_what_its_card_says(
    tmp_path: Path, said: dict[str, Any], condition: Callable[[float], float]
) -> None:
    model = load_model(str(carded(tmp_path / "mine", **said)), CPU)
    for t in (0.8, 0.1):
        expected = network()(images(), torch.full((3,), condition(t))).sample
        torch.testing.assert_close(model.network(images(), model.schedule.level(t)), expected, rtol=0.0, atol=1e-6)


def test_an_edm_network_on_a_card_is_preconditioned_with_its_sigma_data(tmp_path: Path) -> None:
    said: dict[str, Any] = {
        "network": "edm",
        "parametrisation": "sample",
        "sigma_data": 0.7,
        "schedule": {"kind": "ve"},
    }
    model = load_model(str(carded(tmp_path / "mine", **said)), CPU)
    x, sigma = images(), 8.0
    c_in = 1.0 / math.sqrt(sigma**2 + 0.49)
    raw = network()(c_in * x, torch.full((3,), math.log(sigma) / 4.0)).sample
    torch.testing.assert_close(x0_of(model, x, 0.1), 0.49 * c_in**2 * x + sigma * 0.7 * c_in * raw)


@pytest.mark.parametrize(
    ("unet", "said", "message"),
    [
        ({"num_class_embeds": 4}, {}, "the network has 4 classes, but the card none: add classes = 4"),
        ({"num_class_embeds": 4}, {"classes": 5}, "the network has 4 classes, but the card has 5"),
        (
            {"num_class_embeds": 4},
            {"classes": 4, "null_label": 4},
            "labels 0 ... 3, so that null_label = 4 is",
        ),
        ({"num_class_embeds": 4}, {"classes": 4, "null_label": "none"}, "so that null_label = 'none' is none"),
        ({}, {"classes": 4}, "the network has no classes (no num_class_embeds), but the card has 4"),
        ({"out_channels": 6}, {}, "has in/out channels (3, 6), but the card's shape is (3, 8, 8): expected (3, 3)"),
        ({}, {"weights": "ema.pt"}, "files does not list 'ema.pt' with its sha256"),
        (
            {},
            {"architecture": "SongUNet"},
            "unknown architecture 'SongUNet'. There is: DiTTransformer2DModel, UNet2DModel. Others come from",
        ),
    ],
)
def test_a_card_that_contradicts_its_network_is_refused(
    tmp_path: Path, unet: dict[str, Any], said: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        load_model(str(carded(tmp_path / "mine", unet, **said)), CPU)


def test_a_row_says_that_its_network_is_told_whole_times() -> None:
    for rounded in (True, False):
        resolved: Any = SimpleNamespace(model=SimpleNamespace(card=card(round_time=rounded)))
        said = _remarks(resolved, about("ddim", SAMPLERS.make("ddim")), Declared(10, 10), 10.0, 10.0)
        assert said == (["the network is told the nearest whole index of every level (round_time)"] if rounded else [])


def test_a_table_of_diffusers_is_asked_at_the_nearest_time_too(tmp_path: Path) -> None:
    table = {"time_embedding_type": "learned", "num_train_timesteps": 1000}
    model = load_model(str(carded(tmp_path / "mine", table, round_time=True)), CPU)
    for t, index in ((0.5, 499), (0.50049, 499), (0.50051, 500)):
        expected = network(**table)(images(), torch.tensor(index)).sample
        torch.testing.assert_close(model.network(images(), model.schedule.level(t)), expected, rtol=0.0, atol=0.0)

"""Labels of class-conditional models: a function of (seed, image) alone, even over the classes, unlike the noise."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import make
from scipy.stats import chisquare
from torch import Tensor

from bench.noise.class_labels import draw_labels
from bench.noise.philox import philox
from bench.noise.stream import ImageNoise
from bench.run.session import Session
from bench.study.file import Overrides, parse_study
from models.common.errors import UsageError
from models.denoiser import Denoiser
from models.grids import GRIDS
from models.networks.network import counted
from models.schedule import DiscreteVP, Level
from samplers import SAMPLERS


def test_an_images_label_depends_on_seed_and_image_alone() -> None:
    whole = draw_labels(7, torch.arange(100), 10)
    parts = torch.cat([draw_labels(7, part, 10) for part in torch.arange(100).split(33)])
    assert torch.equal(whole, parts)
    assert torch.equal(draw_labels(7, torch.tensor([42, 3]), 10), whole[[42, 3]])
    assert not torch.equal(draw_labels(8, torch.arange(100), 10), whole)


def test_labels_are_even_over_all_classes() -> None:
    counts = torch.bincount(draw_labels(0, torch.arange(70_000), 7), minlength=7)
    assert len(counts) == 7
    assert chisquare(counts.numpy()).pvalue > 0.01


def test_seeds_of_64_bits_are_all_told_apart() -> None:
    images = torch.arange(64)
    drawn = [draw_labels(seed, images, 1000) for seed in (0, 1, 2**32, 2**32 + 1, 2**64 - 1)]
    assert len({tuple(each.tolist()) for each in drawn}) == len(drawn)


def test_labels_and_noise_have_no_random_word_in_common() -> None:
    """The word behind a label is that of a counter whose fourth part no noise has."""
    images = torch.arange(1000)
    counter = torch.zeros(4, 1000, dtype=torch.int64)
    counter[1] = images
    of_noise = philox(list(counter), (5, 0))[0]
    of_labels = draw_labels(5, images, 2**31)
    assert not torch.any(of_labels == of_noise >> 1)


_STUDY = """
name = "labelled"
title = "Labelled"
model = "MODEL"
images = 16
batch = 4
metrics = ["solver_error"]
device = "cpu"
baseline = { sampler = "ddim", grid = "trailing", steps = 2 }
[[block]]
samplers = ["ddim"]
grids = ["trailing"]
steps = [2]
"""


def session(model: object, label: int | None = None) -> Session:
    extra = "" if label is None else f"label = {label}\n"
    return Session.load(parse_study(extra + _STUDY.replace("MODEL", str(model)), "test", Overrides()))


def seen(loaded: Session, numbers: Tensor) -> list[int]:
    """The labels that the network is given for images of seed 3."""
    given: list[Tensor] = []

    def network(x: Tensor, at: Level, labels: Tensor) -> Tensor:
        given.append(labels)
        return x

    model = replace(loaded.subject, network=network)  # type: ignore[arg-type]
    denoiser = loaded.denoiser(model, 3, numbers, None)
    denoiser(torch.zeros(len(numbers), 3, 8, 8), loaded.subject.schedule.level(0.5))
    return [int(label) for label in given[0]]


def test_a_study_gives_each_image_its_drawn_label_or_all_the_one_that_it_names(tmp_path: Path) -> None:
    folder, numbers = make(tmp_path / "model", num_class_embeds=4), torch.arange(8)
    drawn = seen(session(folder), numbers)
    assert drawn == draw_labels(3, numbers, 4).tolist()
    assert [seen(session(folder), part) for part in numbers.split(4)] == [drawn[:4], drawn[4:]]
    assert seen(session(folder, 3), numbers) == [3] * 8
    with pytest.raises(UsageError, match=r"label = 4: model .* has the classes 0 \.\.\. 3"):
        session(folder, 4)
    with pytest.raises(UsageError, match="label = 0: model 'digits' has no classes"):
        session("digits", 0)


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_every_sampler_runs_on_labels_and_an_image_keeps_its_own_in_any_batch(name: str) -> None:
    schedule, sampler = DiscreteVP.linear(), SAMPLERS.make(name)
    levels = GRIDS.make("trailing")(schedule, 12)

    def drawn(numbers: Tensor) -> tuple[Tensor, float]:
        labels = draw_labels(7, numbers, 5)

        def network(x: Tensor, at: Level, labels: Tensor) -> Tensor:
            return (x.sin() + labels[:, None, None, None]) / 5.0

        evaluate, evaluated = counted(network)
        model, noise = Denoiser(evaluate, "sample", schedule, None, labels), ImageNoise(7, numbers)
        result = sampler.sample(model, noise(torch.empty(len(numbers), 1, 2, 2, dtype=torch.float64)), levels, noise)
        return result, evaluated() / len(numbers)

    alone = [drawn(torch.tensor([number])) for number in range(4)]
    together, evaluations = drawn(torch.arange(4))
    torch.testing.assert_close(together, torch.cat([image for image, _ in alone]), rtol=0.0, atol=1e-10)
    assert evaluations == pytest.approx(sum(count for _, count in alone) / 4)
    assert sampler.nfe(levels) in (None, evaluations)

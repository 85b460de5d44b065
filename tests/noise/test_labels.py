"""Labels of class-conditional models: a function of (seed, image) alone, even over the classes, unlike the noise."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import make
from scipy.stats import chisquare
from torch import Tensor

from bench.fitting.model import fitted_to
from bench.noise.class_labels import balanced_labels, draw_labels
from bench.noise.philox import philox
from bench.noise.stream import ImageNoise
from bench.quality.statistics import BLOCKS
from bench.running.resolve import resolve
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.overrides import Overrides
from bench.study.plan import plan
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


@pytest.mark.parametrize("classes", [1, 3, 10, 1000])
def test_balanced_labels_have_each_class_equally_often_in_any_first_images(classes: int) -> None:
    images = 3 * classes + classes // 2
    labels = balanced_labels(7, torch.arange(images), classes)
    for count in {1, classes - 1, classes, images - classes // 3, images}:
        each = torch.bincount(labels[:count], minlength=classes)
        assert len(each) == classes
        assert int(each.max() - each.min()) <= 1


def test_a_balanced_label_depends_on_seed_and_image_alone() -> None:
    whole = balanced_labels(7, torch.arange(95), 10)
    parts = torch.cat([balanced_labels(7, part, 10) for part in torch.arange(95).split(33)])
    assert torch.equal(whole, parts)
    assert torch.equal(balanced_labels(7, torch.tensor([42, 3, 42]), 10), whole[[42, 3, 42]])
    assert torch.equal(whole, torch.cat([balanced_labels(7, image, 10) for image in torch.arange(95).split(1)]))
    seeds = {
        tuple(balanced_labels(seed, torch.arange(40), 10).tolist()) for seed in (0, 1, 2**32, 2**32 + 1, 2**64 - 1)
    }
    assert len(seeds) == 5


def test_balanced_labels_permute_all_classes_anew_so_that_a_block_of_the_jackknife_has_every_class() -> None:
    labels = balanced_labels(0, torch.arange(7000), 10).reshape(-1, BLOCKS)
    assert len(torch.unique(labels, dim=0)) > 690  # of 10! orders
    for block in labels.T:
        assert chisquare(torch.bincount(block, minlength=10).numpy()).pvalue > 0.001
    pairs = torch.bincount((labels[:, 0] * 10 + labels[:, 1]), minlength=100).reshape(10, 10)
    assert torch.equal(pairs.diagonal(), torch.zeros(10, dtype=torch.int64))
    assert chisquare(pairs[~torch.eye(10, dtype=torch.bool)].numpy()).pvalue > 0.001


def test_the_words_of_permutations_are_neither_those_of_drawn_labels_nor_of_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counters: list[list[Tensor]] = []

    def counting(counter: list[Tensor], key: tuple[int, int]) -> list[Tensor]:
        counters.append(list(torch.broadcast_tensors(*counter)))
        return philox(counter, key)

    monkeypatch.setattr("bench.noise.class_labels.philox", counting)
    draw_labels(5, torch.arange(20), 5)
    balanced_labels(5, torch.arange(20), 5)
    drawn, permuted = ({tuple(each) for each in torch.stack(each).flatten(1).T.tolist()} for each in counters)
    assert len(drawn) == len(permuted) == 20
    assert [{each[3] for each in found} for found in (drawn, permuted)] == [{1}, {2}]


def test_all_images_of_a_thousand_classes_take_no_memory_for_each_pair_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0

    def watching(counter: list[Tensor], key: tuple[int, int]) -> list[Tensor]:
        nonlocal most
        words = philox(counter, key)
        most = max(most, words[0].numel())
        return words

    monkeypatch.setattr("bench.noise.class_labels.philox", watching)
    labels = balanced_labels(0, torch.arange(50_000), 1000)
    assert most == 50_000
    assert torch.bincount(labels).tolist() == [50] * 1000


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


def session(model: object, label: int | None = None, extra: str = "") -> Session:
    extra += "" if label is None else f"label = {label}\n"
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


def test_a_study_may_ask_for_balanced_labels_and_its_records_say_which_rule_it_was(tmp_path: Path) -> None:
    folder, numbers, balanced = make(tmp_path / "model", num_class_embeds=4), torch.arange(8), 'labels = "balanced"\n'
    loaded = {rule: session(folder, **said) for rule, said in _RULES.items()}
    assert seen(loaded["balanced"], numbers) == balanced_labels(3, numbers, 4).tolist()
    assert seen(loaded["drawn"], numbers) == draw_labels(3, numbers, 4).tolist()
    for rule, each in loaded.items():
        assert resolve(next(iter(plan(each.study))), each).identity["labels"] == rule
    with pytest.raises(UsageError, match=r'labels = "balanced": model \'digits\' has no classes'):
        session("digits", extra=balanced)
    said = "labels: expected 'drawn' beside label = 3, the class of all images; leave one of the two out"
    with pytest.raises(UsageError, match=said):
        session(folder, 3, balanced)
    with pytest.raises(UsageError, match="labels: model 'digits' has no classes, got 'balanced'"):
        parse_study(balanced + _STUDY.replace("MODEL", "digits"), "test", complete=True)


_RULES: dict[str, dict[str, Any]] = {
    "drawn": {"extra": 'labels = "drawn"\n'},
    "balanced": {"extra": 'labels = "balanced"\n'},
    "3": {"label": 3},
}


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_every_sampler_runs_on_labels_and_an_image_keeps_its_own_in_any_batch(name: str) -> None:
    schedule, sampler = DiscreteVP.linear(), SAMPLERS.make(name)
    levels = GRIDS.make("trailing")(schedule, 12)

    def network(x: Tensor, at: Level, labels: Tensor) -> Tensor:
        return (x.sin() + labels[:, None, None, None]) / 5.0

    def model_of(numbers: Tensor, evaluate: Any = network, fitted: Any = None) -> Denoiser:
        return Denoiser(evaluate, "sample", schedule, None, draw_labels(7, numbers, 5), fitted=fitted)

    fitted = fitted_to(sampler, model_of, (1, 2, 2))

    def drawn(numbers: Tensor) -> tuple[Tensor, float]:
        evaluate, evaluated = counted(network)
        model, noise = model_of(numbers, evaluate, fitted), ImageNoise(7, numbers)
        result = sampler.sample(model, noise(torch.empty(len(numbers), 1, 2, 2, dtype=torch.float64)), levels, noise)
        return result, evaluated() / len(numbers)

    alone = [drawn(torch.tensor([number])) for number in range(4)]
    together, evaluations = drawn(torch.arange(4))
    torch.testing.assert_close(together, torch.cat([image for image, _ in alone]), rtol=0.0, atol=1e-10)
    assert evaluations == pytest.approx(sum(count for _, count in alone) / 4)
    assert sampler.nfe(levels) in (None, evaluations)

"""Class accuracy: the share of a cell's images that the extractor takes for the class asked for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from checkpoints import make
from commands import Cli
from labelled import LEVELS, TEST_ACCURACY, flat, labelled
from quiet import Quiet
from studies import study_toml
from torch import Tensor

from bench.noise.class_labels import balanced_labels, draw_labels
from bench.record import RunFolder
from bench.running.cell import Cells, Measurement
from bench.running.fit import Fits
from bench.running.growth import Growth
from bench.running.part import joined
from bench.running.resolve import resolve
from bench.running.runner import run_study
from bench.running.session import Session
from bench.running.solution import Solutions
from bench.study.file import parse_study
from bench.study.plan import plan
from bench.timing.capture import graphs_on
from models.common.errors import UsageError
from models.schedule import Level

_SHOWN = torch.tensor([0, 1, 3, 2])
"""The class that the network below shows for each, of which two are others than asked for."""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return labelled(tmp_path_factory.mktemp("labelled"))


def shows(x: Tensor, at: Level, labels: Tensor) -> Tensor:
    """The eps of an image that is of the class in `_SHOWN`."""
    return (x - at.alpha * flat(_SHOWN[labels]).to(x)) / at.sigma


def study(said: dict[str, str], **more: Any) -> str:
    top: dict[str, Any] = {"metrics": ["class_accuracy"], "batch": 16} | said | more
    return study_toml(**top)


def measured(text: str, folder: Path, growing: tuple[int, ...] = ()) -> tuple[Measurement, int]:
    """The first cell of a study whose network is `shows`, grown from so many images, and its evaluations at last."""
    session, evaluated = Session.load(parse_study(text, "test")), 0
    network = cast(Any, shows)
    session = replace(session, models={key: replace(each, network=network) for key, each in session.models.items()})

    def advanced(images: int) -> None:
        nonlocal evaluated
        evaluated += images

    resolved, growth = resolve(next(iter(plan(session.study))), session), Growth(folder) if growing else None
    for images in (*growing, resolved.images):
        evaluated = 0
        part = resolved.at(images, 0)
        kept = Solutions(folder), Fits(folder, session)
        cells = Cells(session, graphs_on(session.device), *kept)
        before = None if growth is None else growth.read(part)
        parts = [] if before is None else [before]
        with torch.inference_mode():
            parts.append(cells.generate(part, range(before.end if before else 0, images), advanced))
            if growth is not None:
                growth.write(part, joined(parts))
            found = cells.measure(part, parts)
    return found, evaluated


@pytest.mark.parametrize("rule", ["drawn", "balanced", 1, 2])
def test_it_is_the_share_of_images_taken_for_the_class_asked_for(
    rule: str | int, said: dict[str, str], tmp_path: Path
) -> None:
    asked = {"labels": rule} if isinstance(rule, str) else {"label": rule}
    found, _ = measured(study(said, images=50, seeds=[7], **asked), tmp_path)
    numbers = torch.arange(50)
    if isinstance(rule, int):
        labels = torch.full((50,), rule)
    else:
        labels = (balanced_labels if rule == "balanced" else draw_labels)(7, numbers, len(LEVELS))
    right = [label in (0, 1) for label in labels.tolist()]
    without = [[each for n, each in enumerate(right) if n % 10 != block] for block in range(10)]
    shares = [sum(part) / 45 for part in without]
    mean = sum(shares) / 10
    assert found.columns["class_accuracy"] == sum(right) / 50
    assert found.columns["class_accuracy_left_out"] == pytest.approx(shares)
    assert found.columns["class_accuracy_std"] == pytest.approx((0.9 * sum((e - mean) ** 2 for e in shares)) ** 0.5)
    assert found.columns["class_accuracy_real"] == TEST_ACCURACY
    assert found.columns["class_accuracy"] == {"drawn": sum(right) / 50, "balanced": 0.5, 1: 1.0, 2: 0.0}[rule]


def test_more_images_go_on_from_those_that_were_kept(said: dict[str, str], tmp_path: Path) -> None:
    text = study(said, images=80, labels="balanced")
    whole, _ = measured(text, tmp_path / "whole")
    grown, evaluated = measured(text, tmp_path / "grown", (20, 50))
    assert evaluated == 30
    names = [name for name in whole.columns if name.startswith("class_accuracy")]
    assert len(names) == 4
    assert [grown.columns[name] for name in names] == [whole.columns[name] for name in names]
    assert grown.columns["class_accuracy"] == 0.5


@pytest.mark.parametrize("main", ["with classes", "without"])
def test_rows_of_models_without_classes_have_none(main: str, said: dict[str, str], tmp_path: Path) -> None:
    bare = str(make(tmp_path / "bare"))
    subject, guest = (said["model"], bare) if main == "with classes" else (bare, said["model"])
    block = f'[[block]]\nmodel = "{guest}"\nsamplers = ["ddim"]\ngrids = ["trailing"]\nsteps = [1]\n'
    text = study(said | {"model": subject}, timing={"repeats": 0}) + block
    given = parse_study(text, "test", complete=True)
    run = RunFolder(tmp_path / "run")
    assert run_study(given, Session.load(given), run, False, Quiet()).failed == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "run" / "cells").glob("*.json")]
    assert len(records) == 2
    for each in records:
        mine = (each["labels"] is not None, each["model_sha256"] == each["subject_sha256"])
        assert mine in ((True, main == "with classes"), (False, main == "without"))
        accuracies = [each.get(name) for name in ("class_accuracy", "class_accuracy_std", "class_accuracy_real")]
        assert [known is not None for known in accuracies] == [each["labels"] is not None] * 3


def test_a_study_of_models_without_classes_is_refused_before_anything_runs(tmp_path: Path, cli: Cli) -> None:
    text = study_toml(model="digits", metrics=["fd", "class_accuracy"])
    block = '[[block]]\nmodel = "digits-vae"\nsamplers = ["one-step"]\ngrids = ["trailing"]\nsteps = [1]\n'
    one = "'class_accuracy' is the share of images that are of the class asked for, but model 'digits' has no classes"
    two = "asked for, but models 'digits', 'digits-vae' have no classes; leave 'class_accuracy' out"
    for extra, why in (("", one), (block, two)):
        with pytest.raises(UsageError, match=f"metrics.1: metric .*{why.removeprefix('metric ')}"):
            parse_study(text + extra, "test", complete=True)
        with pytest.raises(UsageError, match=why):
            Session.load(parse_study(text + extra, "test"))
    (tmp_path / "study.toml").write_text(text)
    assert one in cli("run", tmp_path / "study.toml", "--out", tmp_path / "run", status=2).err
    assert not (tmp_path / "run").exists()


def test_an_extractor_of_other_classes_is_refused_with_what_there_is(said: dict[str, str], tmp_path: Path) -> None:
    other = labelled(tmp_path, num_class_embeds=5)["model"]
    words = "tells the 5 classes of model .*, but extractor 'brightness' has 4 classes; name one in the study that"
    with pytest.raises(UsageError, match=words):
        Session.load(parse_study(study(said | {"model": other}), "test"))
    assert Session.load(parse_study(study(said), "test")).extractor is not None

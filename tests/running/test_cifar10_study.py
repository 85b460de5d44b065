"""The embedded extractor of CIFAR-10 is whole, and its study runs on a checkpoint of the published one's form."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import CPU, make
from quiet import Quiet

from bench.quality.extractors import Chosen, compact_names, load_extractor
from bench.quality.metrics import QualityStream
from bench.quality.reference import load_reference
from bench.record import RunFolder
from bench.running.runner import run_study
from bench.running.session import Session
from bench.study.file import load_study
from bench.study.overrides import Overrides
from models.common.errors import UsageError
from models.loading.sources import EXTRACTORS, extractor_names, load_measuring_card, verify_files
from models.schedule import DiscreteVP

_METRICS = ("fd", "kid", "inception_score", "precision_recall")
_MIB = 2**20


@pytest.mark.parametrize("name", extractor_names())
def test_an_embedded_extractor_has_all_that_quality_needs(name: str) -> None:
    folder = EXTRACTORS / name
    card = load_measuring_card(folder)
    verify_files(folder, card)
    assert card.name == name in compact_names()
    extractor = load_extractor(Chosen(name), None, CPU)
    reference = load_reference(None, extractor, _METRICS)
    assert load_reference(name, extractor, _METRICS).sha256 == reference.sha256
    assert extractor.column(50_000) == f"fd_{name}"


def test_the_extractor_of_cifar10_is_as_small_as_it_has_to_be_and_tells_the_classes_apart() -> None:
    assert "cifar10" in extractor_names()
    card = load_measuring_card(EXTRACTORS / "cifar10")
    assert card.extractor is not None
    assert card.extractor.test_accuracy > 0.9
    assert (EXTRACTORS / "cifar10" / "extractor" / "model.safetensors").stat().st_size <= 6 * _MIB
    reference = load_reference(None, load_extractor(Chosen("cifar10"), None, CPU))
    assert (reference.count, reference.columns["reference_features"]) == (50_000, 10_000)


def test_what_is_no_photograph_is_far_from_the_reference() -> None:
    extractor = load_extractor(Chosen("cifar10"), None, CPU)
    stream = QualityStream(extractor, load_reference(None, extractor, _METRICS), ("fd",))
    stream.add(torch.randint(0, 256, (300, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8))
    unseen = float(load_measuring_card(EXTRACTORS / "cifar10").quality["unseen_fd_cifar10"])
    found = stream.values()["fd_cifar10"]
    assert isinstance(found, float)
    assert found > 20 * unseen


def test_the_study_runs_on_another_checkpoint_and_measures_with_the_embedded_extractor(tmp_path: Path) -> None:
    model = make(tmp_path / "ddpm", flat=True, sample_size=32)
    overrides = Overrides(
        model=str(model), samplers=["ddim"], steps=[2], images=16, batch=8, modes=["fp32"], device="cpu"
    )
    study = load_study("cifar10", overrides)
    study = study.model_copy(
        update={
            "metrics": ["fd", "precision_recall"],
            "baseline": study.baseline.model_copy(update={"steps": 3}),
            "timing": study.timing.model_copy(update={"repeats": 0}),
        }
    )
    folder = RunFolder(tmp_path / "run")
    run_study(study, Session.load(study), folder, False, Quiet())
    records = [json.loads(path.read_text()) for path in (tmp_path / "run" / "cells").glob("*.json")]
    assert {record["status"] for record in records} == {"ok"}
    assert {record["extractor"] for record in records} == {"cifar10"}
    assert all(record["fd_cifar10"] > 0 for record in records)


def test_the_study_is_planned_without_its_model_whose_own_schedule_it_states(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*arguments: object) -> None:
        raise AssertionError("the model was asked for")

    monkeypatch.setattr("bench.study.plan.describe_model", fetched)
    study = load_study("cifar10")
    assert study.model.startswith("hf:")
    assert study.checkpoint is not None
    assert study.checkpoint.schedule is not None
    stated, known = study.checkpoint.schedule.build(), DiscreteVP.linear()
    assert [stated.level(t) for t in (0.001, 0.5, 1.0)] == [known.level(t) for t in (0.001, 0.5, 1.0)]


def test_a_model_without_an_extractor_says_which_there_are(tmp_path: Path) -> None:
    model = make(tmp_path / "ddpm", flat=True, sample_size=32)
    with pytest.raises(UsageError, match=r"has no feature extractor of its own.*cifar10"):
        Session.load(load_study("quick", Overrides(model=str(model), device="cpu")))

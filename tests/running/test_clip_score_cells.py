"""CLIP score of cells: of models that are given prompts alone, in parts and whole, and refused before anything runs."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny_clip
import torch
from checkpoints import make
from commands import Cli
from studies import study_toml

from bench.quality.clip_model import load_clip
from bench.running.measuring import Found, Measuring
from bench.running.part import Part, packed, unpacked
from bench.running.resolve import resolve
from bench.running.score import clip_stream
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.placement import prompts_of
from bench.study.plan import plan
from models.common.errors import UsageError
from models.loading.model import Model

pytest.importorskip("transformers")

IMAGES = 50


@dataclass(frozen=True)
class Given:
    """The prompts of a model."""

    texts: tuple[str, ...] = ("a Red dog", "Blue  cats!", "two trees, 3 birds")
    sha256: str = "a1"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return {"model": str(make(folder / "model")), "clip_model": str(tiny_clip.make(folder / "clip"))}


@pytest.fixture
def prompted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the network of these files, and no other, were given prompts."""

    def prompts(thing: Any) -> Given | None:
        return Given() if thing.shape == (3, 8, 8) else None

    for module in ("bench.running.session", "bench.running.score", "bench.study.measured"):
        monkeypatch.setattr(f"{module}.prompts_of", lambda thing: prompts(getattr(thing, "card", thing)))


def text(files: dict[str, str], **more: Any) -> str:
    said: dict[str, Any] = {"metrics": ["clip_score"], "images": IMAGES, "batch": 10, "timing": {"repeats": 0}}
    return study_toml(**(said | files | more))


def test_it_is_that_of_all_images_in_whatever_parts_they_are_made(
    files: dict[str, str], prompted: None, tmp_path: Path
) -> None:
    session = Session.load(parse_study(text(files), "test", complete=True))
    assert session.clip is not None
    session = replace(session, clip=replace(session.clip, batch=10), save_images="png")
    cell = resolve(next(iter(plan(session.study))), session)
    measuring = Measuring(session, tmp_path / "solutions", tmp_path / "fits")

    def made(*bounds: int) -> list[Part]:
        parts = [measuring.part(cell, range(a, b), lambda _: None) for a, b in pairwise(bounds)]
        return [unpacked(packed(part)) for part in parts if isinstance(part, Part)]

    whole = made(0, IMAGES)
    pixels = whole[0].pixels
    assert pixels is not None
    found, several = (measuring.quality(cell, parts) for parts in (whole, made(0, 20, IMAGES)))
    assert isinstance(found, Found)
    assert isinstance(several, Found)
    names = ["clip_score", "clip_score_std", "clip_score_left_out"]
    for name in names:
        assert several.columns[name] == pytest.approx(found.columns[name], rel=1e-12)
    clip = load_clip(files["clip_model"], torch.device("cpu"))
    texts, _ = clip.texts(Given(), IMAGES)
    cosines = (clip(pixels.movedim(3, 1))["image"] * texts[torch.arange(IMAGES) % 3]).sum(1)
    assert found.columns["clip_score"] == pytest.approx(100 * float(cosines.clamp(min=0).mean()), abs=1e-4)
    assert cell.identity["clip_sha256"] == clip.sha256
    assert cell.identity["clip_model"] == files["clip_model"]
    assert found.columns["prompts_sha256"] == "a1"


def test_a_guest_without_prompts_has_none(files: dict[str, str], prompted: None, tmp_path: Path) -> None:
    del tmp_path
    session = Session.load(parse_study(text(files), "test"))
    network = session.subject
    bare = replace(network, card=network.card.model_copy(update={"shape": (1, 8, 8)}))
    assert isinstance(bare, Model)
    cell = resolve(next(iter(plan(session.study))), session)
    assert clip_stream(session, cell, range(16)) is not None
    assert clip_stream(session, replace(cell, model=bare), range(16)) is None


def test_cells_that_are_not_measured_by_it_keep_their_names(files: dict[str, str], prompted: None) -> None:
    text_of = text(files | {"model": "digits-mixture"}, metrics=["law"], images=16)
    cell = next(iter(plan((session := Session.load(parse_study(text_of, "test"))).study)))
    assert session.clip is None
    assert not any(name.startswith("clip_") for name in resolve(cell, session).identity)


def test_models_without_prompts_and_studies_without_a_clip_are_refused_before_anything_runs(
    files: dict[str, str], tmp_path: Path, cli: Cli
) -> None:
    bare = text(files)
    why = "metric 'clip_score' says how well images fit the prompts that they are made of, but model '.*' takes none"
    with pytest.raises(UsageError, match=f"metrics.0: {why}"):
        parse_study(bare, "test", complete=True)
    with pytest.raises(UsageError, match=why):
        Session.load(parse_study(bare, "test"))
    nowhere = text(files | {"clip_model": str(tmp_path / "nowhere")})
    (tmp_path / "study.toml").write_text(nowhere)
    said = cli("run", tmp_path / "study.toml", "--out", tmp_path / "run", status=2).err
    assert "clip_model: there is no folder" in said
    assert "clip_score" in said
    assert not (tmp_path / "run").exists()
    assert prompts_of(Session.load(parse_study(study_toml(), "test")).subject) is None

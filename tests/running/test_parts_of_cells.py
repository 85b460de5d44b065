"""Parts of a cell, in whatever number and order they are joined and wherever they were made, are the cell."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import labelled
from studies import study_toml

from bench.running.measuring import Found, Measuring
from bench.running.part import Part, joined, packed, unpacked
from bench.running.resolve import resolve
from bench.running.session import Session
from bench.study.file import parse_study
from bench.study.plan import plan

UNIT, IMAGES = 20, 110
"""Whole batches, extractor batches and tens; the last batch is not full."""
CUTS = range(UNIT, IMAGES, UNIT)

_NULL = {"classes": 4, "null_label": 4}
FEATURES = ["fd", "fd_infinity", "inception_score", "class_accuracy", "solver_error"]
KEPT = ["kid", "precision_recall"]
"""What every image's features are kept for, and not their moments."""


class _Made:
    """A cell, and any part of it."""

    def __init__(self, folder: Path, session: Session, sampler: str) -> None:
        cells = [cell for cell in plan(session.study) if cell.sampler == sampler]
        self.cell = resolve(cells[0], session)
        self._measuring = Measuring(session, folder / "solutions", folder / "fits")
        self._parts = dict[tuple[int, int], Part]()
        self.whole = self.quality([self.part(0, IMAGES)])

    def part(self, first: int, end: int) -> Part:
        """A copy: what is scored is taken out of it."""
        if (first, end) not in self._parts:
            made = self._measuring.part(self.cell, range(first, end), lambda _: None)
            assert isinstance(made, Part), made
            self._parts[first, end] = made
        part = self._parts[first, end]
        return replace(part, score=dict(part.score))

    def quality(self, parts: Sequence[Part]) -> dict[str, Any]:
        found = self._measuring.quality(self.cell, parts)
        assert isinstance(found, Found), found
        return found.columns | {"preview": found.preview.tolist()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., _Made]]:
    """Cells, by their sampler and what their study says."""
    folder, known = tmp_path_factory.mktemp("cells"), dict[str, _Made]()
    files = labelled(folder / "labelled", num_class_embeds=5)

    def of(sampler: str, metrics: Sequence[str], *, law: bool = False, **more: Any) -> _Made:
        said = {"metrics": list(metrics), "images": IMAGES, "batch": 10, "solver_images": 50} | more
        text = study_toml([sampler], [2], "ddpm", 4, **said | ({} if law else files))
        if text not in known:
            session = Session.load(parse_study(text, "test"))
            if session.extractor is not None:
                session = replace(session, extractor=replace(session.extractor, batch=UNIT))
            known[text] = _Made(folder / str(len(known)), session, sampler)
        return known[text]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.running.solution.STEPS", 2)
        yield of


def _assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name in ("compile_s", "load_average_1min"):  # of the moment
            continue
        same = found[name] == value or found[name] == pytest.approx(value, rel=1e-12, abs=1e-12)
        assert same, (name, found[name], value)


@pytest.mark.parametrize(
    ("sampler", "metrics", "more"),
    [
        ("ddim", [*FEATURES, *KEPT], {"guidance": ["cfg[scale=2]"], "checkpoint": _NULL}),
        ("ddpm", FEATURES, {"guidance": ["cfg[scale=2]"], "checkpoint": _NULL}),
        ("ddpm", ["law"], {"law": True, "model": "digits-mixture"}),
        ("rk45[rtol=0.05,atol=0.05]", ["law", "solver_error"], {"law": True, "model": "digits-mixture"}),
    ],
    ids=["features", "moments", "law", "adaptive"],
)
@settings(max_examples=5)
@given(data=st.data())
def test_parts_joined_in_any_order_are_the_whole(
    made: Callable[..., _Made], sampler: str, metrics: list[str], more: dict[str, Any], data: st.DataObject
) -> None:
    """Of which some have come from other processes, and some, of few images, have kept features in place of moments."""
    cell = made(sampler, metrics, **more)
    cuts = sorted(data.draw(st.sets(st.sampled_from(CUTS))))
    parts = [cell.part(first, end) for first, end in pairwise([0, *cuts, IMAGES])]
    passed = [unpacked(packed(part)) if data.draw(st.booleans()) else part for part in parts]
    _assert_same(cell.quality(data.draw(st.permutations(passed))), cell.whole)


def test_parts_that_fill_up_their_batches_are_made_in_the_batches_of_the_whole(
    made: Callable[..., _Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where every batch size is compiled or captured: the last part has no batch of its own size."""
    monkeypatch.setattr("models.networks.modes.Mode.fixed_batch", True)
    cell = made("ddpm", ["law"], law=True, model="digits-mixture", batch=20)
    parts = [cell.part(40, 100), cell.part(100, IMAGES), cell.part(0, 40)]
    assert [part.drawn for part in parts] == [60, 20, 40]
    assert [part.columns["generation_batch"] for part in parts] == [20, 20, 20]
    _assert_same(cell.quality(parts), cell.whole)
    assert cell.whole["nfe"] == 4


def test_parts_between_which_images_are_missing_or_twice_are_refused(made: Callable[..., _Made]) -> None:
    cell = made("ddpm", ["law"], law=True, model="digits-mixture")
    for ranges in ([(0, 40), (60, IMAGES)], [(0, 60), (40, IMAGES)], [(0, 40), (0, 40), (40, IMAGES)]):
        with pytest.raises(ValueError, match="are not consecutive"):
            joined([cell.part(*each) for each in ranges])


def _part(first: int, **columns: object) -> Part:
    said = {"captured": None, "guidance_batches": None, "generation_batch": 100, "batch_halvings": 0} | columns
    return Part(first, 100, 2, 3, 100, said | {"nfe_first_batch": first + 1.5}, ["all", f"{first}"])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([{"captured": True}, {"captured": False}], {"captured": False}),
        ([{"captured": True}, {"captured": True}], {"captured": True}),
        ([{"guidance_batches": 1}, {"guidance_batches": 2}], {"guidance_batches": 2}),
        (
            [{"generation_batch": 100}, {"generation_batch": 25, "batch_halvings": 2}, {"generation_batch": 100}],
            {"generation_batch": 25, "batch_halvings": 2},
        ),
        ([{"generation_batch": 60}, {"generation_batch": 100}], {"generation_batch": 100, "batch_halvings": 0}),
    ],
    ids=["captured on one only", "captured", "halves one after another", "halved on one", "grown"],
)
def test_parts_that_were_made_differently_say_what_holds_of_all(
    columns: list[dict[str, object]], expected: dict[str, object]
) -> None:
    """Counts are sums; of what else is said that of the first images; each remark once."""
    parts = [_part(100 * n, **said) for n, said in enumerate(columns)]
    whole = joined(parts[::-1])
    assert whole.columns == parts[0].columns | expected
    assert (whole.first, whole.end, whole.calls, whole.evaluations) == (
        *(0, 100 * len(parts)),
        *(2 * len(parts), 3 * len(parts)),
    )
    assert whole.remarks == ["all", *(f"{100 * n}" for n in range(len(parts)))]

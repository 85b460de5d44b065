"""What determines a row keeps rows apart, what does not keeps them together, and what is unusual is said."""

from pathlib import Path
from typing import Any

import pytest
from report_records import record, write_run

from bench.record import Record
from bench.report import summarise
from bench.report.tables.notes import notes

NEW: Record = {
    "value_range": [-1.0, 1.0],
    "labels": None,
    "extractor_layer": "features",
    "extractor_batch": 250,
    "extractor_official": False,
    "model_source": "digits",
}


def seeds(folder: Path, *changes: Record) -> list[int]:
    """The seeds of the rows of records that differ in seed and these changes."""
    cells = [record(seed=n, **each) for n, each in enumerate(changes)]
    return [int(count) for count in summarise([write_run(folder / "run", cells)]).table["seeds"]]


def test_where_the_same_checkpoint_was_read_from_does_not_split_a_row(tmp_path: Path) -> None:
    assert seeds(tmp_path, {"model_source": "hf:a/b@1"}, {"model_source": "some/folder"}) == [2]


@pytest.mark.parametrize("change", [{"labels": [0, 1]}, {"value_range": [0, 1]}, {"extractor_batch": 64}], ids=str)
def test_what_changes_images_or_features_splits_a_row(tmp_path: Path, change: Record) -> None:
    assert seeds(tmp_path, NEW, NEW | change) == [1, 1]


def said(folder: Path, **changes: Any) -> str:
    (section,) = summarise([write_run(folder / "run", [record(**NEW | changes)])]).sections
    return " ".join(notes(section))


def test_the_usual_is_not_said(tmp_path: Path) -> None:
    words = ("Checkpoint", "Value range", "layer", "batches", "Extractor", "labels", "does not say", "use the features")
    assert not [word for word in words if word in said(tmp_path)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model_source": "hf:owner/name@abc"}, "Checkpoint: digits from hf:owner/name@abc."),
        ({"value_range": [0, 1]}, "Value range of the network's images: [0.0, 1.0]."),
        ({"labels": "uniform"}, ", quantiser round, labels uniform."),
        (
            {"extractor": "inception", "extractor_layer": "2048", "extractor_batch": 64},
            "Extractor inception: weights b2b2b2b2, which are not the official ones.",
        ),
        ({"extractor_layer": "2048", "extractor_batch": 64}, "layer 2048, features in batches of 64, 1,000 images"),
        (
            {"reference_features": 1000},
            "Reference digits: KID, precision and recall use the features of 1,000 of its 1,797 images.",
        ),
        ({"reference_count": None}, "Reference digits: it does not say how many images it is made from, nor how."),
    ],
)
def test_the_unusual_is_said(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    assert text in said(tmp_path, **changes)

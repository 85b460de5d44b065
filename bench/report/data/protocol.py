"""How the protocol of some rows is called, and their models where two have one name."""

from collections.abc import Sequence

import pandas as pd

from bench.report.data.columns import COMPACT_BATCH, COMPACT_LAYER, Row, guest, known, known_text, short
from bench.report.data.distances import OWN_TRUTH


def protocol_label(rows: Sequence[Row], rank: str | None) -> str:
    """The protocol of some rows; the subject has a name only if one of them ran on it."""
    row = next((row for row in rows if not guest(row)), rows[0])
    sha256 = short(row["subject_sha256"])
    parts = [f"model {sha256}" if guest(row) else _named(row, sha256)]
    if rank in OWN_TRUTH and guest(row):
        parts = [f"{_named(row, short(row['model_sha256']))} in the study of model {sha256}"]
    if isinstance(row["extractor_sha256"], str):
        parts.append(f"reference {row['reference']} ({short(row['reference_sha256'])})")
        parts.append(f"extractor {row['extractor']} ({short(row['extractor_sha256'])})")
    if row["extractor_layer"] not in (None, COMPACT_LAYER):
        parts.append(f"layer {row['extractor_layer']}")
    if known(row["extractor_batch"]) and row["extractor_batch"] != COMPACT_BATCH:
        parts.append(f"features in batches of {row['extractor_batch']:,}")
    parts.append(f"{row['images']:,} images")
    if isinstance(row["quantiser"], str):
        parts.append(f"quantiser {row['quantiser']}")
    return ", ".join([*parts, *([f"labels {row['labels']}"] if known_text(row["labels"]) else [])])


def _named(row: Row, sha256: str) -> str:
    return f"model {row['model'].removesuffix(f' ({sha256})')} ({sha256})"


def distinct_models(rows: pd.DataFrame) -> list[str]:
    """The names of the rows' models, with the hash where two have the same name."""
    alike = rows.groupby("model")["model_sha256"].transform("nunique") > 1
    return [
        f"{name} ({short(sha256)})" if clash else name
        for name, sha256, clash in zip(rows["model"], rows["model_sha256"], alike, strict=True)
    ]

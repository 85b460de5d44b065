"""What is said below a table of the cost of its rows."""

from collections.abc import Sequence

from bench.report.data.columns import Row, guided
from bench.report.data.fits import fitted_note
from bench.report.data.text import (
    known,
    known_text,
    named,
    percent,
    significant,
)


def cost_notes(rows: Sequence[Row]) -> list[str]:
    """What NFE and times count and leave out, where that does not go without saying: of guidance, fits and latents."""
    return [*_guidance_notes(rows), *filter(None, [fitted_note(rows), _decoding_note(rows)])]


def _decoding_note(rows: Sequence[Row]) -> str | None:
    """What decoding takes besides; None where nothing that was timed is decoded."""
    times = [1000.0 * row["decode_s_per_image"] for row in rows if known(row.get("decode_s_per_image"))]
    if not times:
        return None
    ends = dict.fromkeys(significant(each) for each in (min(times), max(times)))
    return f"Times are of sampling: decoding takes another {' to '.join(ends)} ms an image, which total_seconds has."


def _guidance_notes(rows: Sequence[Row]) -> list[str]:
    """How evaluations are counted under guidance, and what one of a weaker network costs; nothing without guidance."""
    found = [row for row in rows if guided(row)]
    if not found:
        return []
    lines = []
    if any(row["nfe"] != row["calls"] for row in found):
        lines.append("NFE counts every network evaluation: a guided call takes two, or one outside its interval.")
    if split := list(dict.fromkeys(str(row["guidance"]) for row in found if row.get("guidance_batches") == 2)):
        lines.append(f"Guided in two calls of the network, one after the other, for want of memory: {named(split, 5)}.")
    weaker = dict.fromkeys((str(row["guidance_model"]), *_gflop(row)) for row in found if known_text(row.get(_WEAKER)))
    for name, own, main in weaker:
        cost = "" if own is None or not main else f", at {percent(own / main)} of its operations"
        told = cost and f" ({significant(own or 0.0)} against {significant(main or 0.0)} GFLOP an image)"
        lines.append(f"An evaluation of the weaker network {name} counts as one of the main network{cost}{told}.")
    return lines


_WEAKER = "guidance_model"


def _gflop(row: Row) -> tuple[float | None, float | None]:
    """Billions of operations of an image's evaluation, of the weaker network and of the main one, as far as known."""
    found = [row.get(name) for name in ("guidance_gflop_per_evaluation", "gflop_per_evaluation")]
    own, main = (value if known(value) else None for value in found)
    return own, main

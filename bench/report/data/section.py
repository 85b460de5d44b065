"""The rows of one protocol, which alone are ranked with one another, with what is said of them."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from bench.model_record import Floors
from bench.report.data.answer import Answer
from bench.report.data.columns import CLOCK, Row, has, rows_of
from bench.report.data.distances import fd_columns
from bench.report.data.fits import FitGain, fit_gains
from bench.report.data.modes import ModeCost


@dataclass(frozen=True)
class Section:
    """The rows of one protocol, which alone are ranked with one another.

    Attributes:
        label: the protocol, readable and unambiguous.
        rows: of the aggregated table.
        rank: name of the distance that they are ranked by; None if there is none.
        answers: one for each device and batch, in the order of `clocks`.
        modes: what those of their modes that are not the study's first cost and save.
        floors: what their Frechet distance is to be seen beside; None where no run measured it.
        first: whether others of its settings have more images in a section of their own, which has the answer.
    """

    label: str
    rows: pd.DataFrame
    rank: str | None
    answers: list[Answer]
    modes: list[ModeCost]
    floors: Floors | None = None
    first: bool = False

    @property
    def fd(self) -> str | None:
        """Name of their Frechet distance to a reference; None if it was not measured."""
        return self.rank if self.rank in fd_columns(self.rows.columns) else None

    @property
    def images(self) -> int:
        return int(self.rows["images"].iloc[0])

    @property
    def timed(self) -> bool:
        """Whether some row has a time."""
        return was_timed(self.rows)

    @cached_property
    def records(self) -> list[Row]:
        """The rows as dictionaries, for everything that goes through them one by one."""
        return rows_of(self.rows)

    @cached_property
    def fits(self) -> list[FitGain]:
        """What fitting brings its fitted rows."""
        return fit_gains(self.records, self.rank)

    def clocks(self) -> list[tuple[str, pd.DataFrame]]:
        """Rows with comparable times, and what they were measured on; a row without times is with its device's."""
        device, batch = (self.rows[name] for name in CLOCK)
        batch = batch.astype(float).fillna(batch.groupby(device, dropna=False).transform("first").astype(float))
        groups = self.rows.groupby([device, batch], dropna=False, sort=False)
        return [(_clock(rows), rows) for _, rows in groups]


def was_timed(rows: pd.DataFrame) -> bool:
    """Whether some of these rows of the table have a time."""
    return has(rows, "s_per_image_median")


def _clock(rows: pd.DataFrame) -> str:
    """What the times of some rows were measured on; the mode is part of it where they have only one."""
    modes, sizes = rows["mode"].unique().tolist(), rows["timed_batch"].dropna().tolist()
    size = f"batch {int(sizes[0])}" if sizes else "not timed"
    return ", ".join([str(rows["device_name"].iloc[0]), *(modes if len(modes) == 1 else []), size])

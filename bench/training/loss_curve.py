"""The loss curve of a training as JSON lines, appended to as it goes, one row every so many steps.

A training that goes on from a checkpoint drops the rows after it, which it then writes again, so that the file is
always the curve of one path.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from models.common.writing import append_line, remove_leftovers, write_text


@dataclass
class LossCurve:
    """Writes the file, and says the same in words.

    Attributes:
        path: of the file.
        every: steps between rows.
        batch: images a step.
        steps: of the whole training.
        say: takes a line for people to read, with the loss, images a second and the time left.
    """

    path: Path
    every: int
    batch: int
    steps: int
    say: Callable[[str], None]
    _at: tuple[int, float] = field(default=(0, 0.0), init=False)

    def begin(self, done: int) -> None:
        """Start after so many steps: rows of later ones are dropped."""
        self._at = (done, time.monotonic())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.path.parent)
        drop_rows_after(self.path, done)

    def pause(self, seconds: float) -> None:
        """Leave out time that was not spent on training."""
        before, then = self._at
        self._at = (before, then + seconds)

    def add(self, step: int, loss: float, smooth: float, seconds: float) -> None:
        """Take a step's own loss, the smoothed one, and the seconds of training up to it; a row if one is due."""
        if step % self.every and step != self.steps:
            return
        (before, then), now = self._at, time.monotonic()
        rate = (step - before) * self.batch / max(now - then, 1e-9)
        self._at = (step, now)
        row = {
            "step": step,
            "loss": loss,
            "loss_smooth": smooth,
            "images": step * self.batch,
            "seconds": round(seconds, 3),
            "images_per_s": round(rate, 1),
        }
        append_line(self.path, json.dumps(row))
        left = timedelta(seconds=round((self.steps - step) * self.batch / max(rate, 1e-9)))
        self.say(f"step {step:,} of {self.steps:,}: loss {smooth:.4f}, {rate:,.0f} images/s, {left} left")


def drop_rows_after(path: Path, step: int) -> None:
    """Keep the rows of a file of JSON lines whose `step` is no later; one that a kill cut short goes as well."""
    if not path.exists():
        return
    content = path.read_text(encoding="utf-8")
    rows = content[: content.rfind("\n") + 1].splitlines(keepends=True)
    write_text(path, "".join(row for row in rows if json.loads(row)["step"] <= step))

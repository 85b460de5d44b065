"""The stages of ten minutes, in order, and the most that each may take."""

from dataclasses import dataclass

DATA = "cifar10-jpeg75"
"""The folder of the decoded photographs, whose name the card of the model repeats."""

ARCHIVES = {"train": "cifar10-jpeg-train.tar.xz", "test": "cifar10-jpeg-test.tar.xz"}


@dataclass(frozen=True)
class Stage:
    """A stage.

    Attributes:
        box_s: seconds after which it is ended.
        rehearsal_s: the same on a CPU, with tiny budgets: for what hangs, not for what is slow.
        serves: the stage that needs what it makes; it is started with the first of all and runs beside that.
        parts: files of 15 MiB that its folder is packed into at most; 0: the findings are all.
    """

    name: str
    box_s: float
    rehearsal_s: float
    serves: str | None = None
    parts: int = 0


STAGES = (
    Stage("data", 60, 300, serves="train"),
    Stage("warm-training", 60, 300, serves="train"),
    Stage("warm-speed", 60, 300, serves="speed"),
    Stage("contact", 60, 300),
    Stage("speed", 70, 300),
    Stage("train", 300, 300, parts=3),
    Stage("study", 110, 300, parts=1),
)
"""Eight files come home at most: four of findings, and four of packed folders."""

MAIN = tuple(stage.name for stage in STAGES if stage.serves is None)

"""What the keys of a study may hold: their types, ranges and limits."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from bench.noise import OWN_SEEDS
from bench.study.labels import refuse_grid
from models.cards.schedule_cards import Strict
from models.grids import GRIDS
from models.guidance import GUIDANCES
from models.networks.modes import parse_mode
from models.plugins.names import check_text
from models.plugins.registry import Registry
from samplers import SAMPLERS

LEAST_IMAGES, MOST_IMAGES = 16, 10_000_000
TOO_FEW = (
    "standard errors and the Inception score are taken over ten parts of the images, and those of fewer hold one image "
    "or none"
)
USUAL_START, MOST_GROWTH = 1_000, 16
"""Where nothing else is said, images grow from the first, or from such a part of the most if that is more."""
MOST_BATCH = 1_000_000
MOST_STEPS = 100_000
"""Also of the evaluations of a budget, for which grids of so many steps are tried."""
MOST_REPEATS = 10_000
MOST_TIMEOUT = 1e7
MOST_THREADS = 1_024
"""A process cannot start very many, and dies of it."""
MOST_TOLERANCE = 1e6
LONGEST = 10_000
"""Characters of a text that a record holds, such as a specification."""


def within(low: int, high: int, why: str = "") -> BeforeValidator:
    """Accepts whole numbers from low to high, and says so of everything else; of smaller ones also why."""
    last = f"2^{high.bit_length()} - 1" if high > 2**32 else f"{high:,}"

    def check(value: object) -> object:
        if type(value) is int and low <= value <= high:
            return value
        said = f": {why}" if why and type(value) is int and value < low else ""
        raise ValueError(f"expected a whole number, {low:,} ... {last}{said}")

    return BeforeValidator(check)


def _specifies(registry: Registry[Any]) -> AfterValidator:
    """Accepts specifications of what a registry holds, and in the words of others, which are ours from then on."""

    def check(spec: str) -> str:
        if registry is SAMPLERS:
            refuse_grid(spec)
        registry.make(found := registry.ours(check_text(spec)))
        return found

    return AfterValidator(check)


def _even(count: int) -> int:
    if count % 2:
        raise ValueError("expected an even number: a solution's error is its distance from that in half as many steps")
    return count


def _mode(text: str) -> str:
    return str(parse_mode(text))


def _batch(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= MOST_BATCH):
        return value
    raise ValueError(f"expected a number of images, 1 ... {MOST_BATCH:,}, or 'auto'")


SamplerSpec = Annotated[str, Field(max_length=LONGEST), _specifies(SAMPLERS)]
GuidanceSpec = Annotated[str, Field(max_length=LONGEST), _specifies(GUIDANCES)]
GridSpec = Annotated[str, Field(max_length=LONGEST), _specifies(GRIDS)]
Steps = Annotated[int, within(1, MOST_STEPS)]
SolverSteps = Annotated[int, within(2, MOST_STEPS), AfterValidator(_even)]
Seed = Annotated[int, within(0, OWN_SEEDS - 1)]
Images = Annotated[int, within(LEAST_IMAGES, MOST_IMAGES, TOO_FEW)]
Batch = Annotated[int | str, BeforeValidator(_batch)]
Threads = Annotated[int, within(1, MOST_THREADS)]
Words = Annotated[str, Field(max_length=LONGEST), AfterValidator(check_text)]
"""A text that something is found by, such as a path."""

ModeSpec = Annotated[str, AfterValidator(_mode)]
Modes = Annotated[list[ModeSpec], Field(min_length=1), AfterValidator(lambda modes: list(dict.fromkeys(modes)))]
Guidances = Annotated[list[GuidanceSpec], Field(min_length=1)]


class Growing(Strict):
    """Images that grow in number, doubled from look to look, for as long as that may tell settings apart.

    Attributes:
        start: how many a setting has at the first look; `from` in a study.
        to: the most.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    start: Images = Field(alias="from")
    to: Images

    @model_validator(mode="after")
    def _grows(self) -> "Growing":
        if self.start > self.to:
            raise ValueError(f"expected from <= to, got {self.start:,} and {self.to:,}")
        return self


def _kind_of_images(value: object) -> str:
    return "growing" if isinstance(value, (dict, Growing)) else "images"


ImagesOrGrowing = Annotated[
    Annotated[Images, Tag("images")] | Annotated[Growing, Tag("growing")], Discriminator(_kind_of_images)
]

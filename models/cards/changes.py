"""What a study says about its model instead of the model's own card, and the card that follows."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from models.cards.card import Card, Classes, NullLabel, Pair, Scale, Side, Variance, explain_card
from models.cards.prompts_card import PromptsChoice
from models.cards.schedule_cards import ScheduleCard, Strict
from models.common.errors import UsageError
from models.denoiser import Parametrisation

_NOT_OF_A_CARD = {"weights_sha256", "prompts", "resolution", "scaling_factor"}


class Changes(Strict):
    """What a study says about its model instead of the model's own card or configuration.

    Attributes:
        parametrisation, value_range, schedule, classes, null_label, variance, round_time, guided_channels: as on a
            `Card`.
        clip: the range that predictions of x_0 are clamped to; false: none.
        guidance_embedding: as on a `Card`.
        scaling_factor: of the card's decoder.
        resolution: the height and width of images of a text-to-image pipeline; None: as its pipeline makes them.
        prompts: of the text-to-image pipelines in a study, which says them itself, for all of its models.
        weights_sha256: hash that the network's weights must have: of the file, or of several the hash of their hashes'
            digits, one after the other in the order of their names. Those of decoders and encoders are recorded with
            the model's own hash.
    """

    parametrisation: Parametrisation | None = None
    clip: Pair | Literal[False] | None = None
    value_range: Pair | None = None
    schedule: ScheduleCard | None = None
    classes: Classes | None = None
    null_label: NullLabel | None = None
    variance: Variance | None = None
    round_time: bool | None = None
    guided_channels: Annotated[int, Field(ge=1)] | None = None
    scaling_factor: Annotated[float, Field(gt=0)] | None = None
    guidance_embedding: Scale | None = None
    resolution: Annotated[tuple[Side, Side], Field(strict=False)] | None = None
    prompts: PromptsChoice | None = None
    weights_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")

    def applied(self, card: dict[str, Any]) -> dict[str, Any]:
        """The content of a card with these changes made."""
        said = self.model_dump(mode="python", exclude_none=True, exclude=_NOT_OF_A_CARD)
        if self.scaling_factor is not None:
            said["decoder"] = (card["decoder"] or {}) | {"scaling_factor": self.scaling_factor}
        if self.clip is False:
            said["clip"] = None
        return card | said


def make_card(content: dict[str, Any], changes: Changes | None, origin: str) -> Card:
    """A card from its content with a study's changes made; UsageError, which starts with `origin`, if it is none."""
    try:
        card = Card.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{origin}: {explain_card(error, content)}") from None
    if changes is None:
        return card
    if changes.resolution is not None and card.prompts is None:
        raise UsageError(
            f"{origin}: resolution is chosen of text-to-image pipelines alone, and this model's images are of "
            f"{' x '.join(map(str, card.shape[1:]))}; leave it out"
        )
    changed = changes.applied(card.model_dump(mode="python"))
    try:
        return Card.model_validate(changed)
    except ValidationError as error:
        raise UsageError(f"{origin}, with what the study says about it: {explain_card(error, changed)}") from None

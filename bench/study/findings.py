"""What was found wrong in a study so far, and what is known of its models."""

from dataclasses import dataclass, field

from bench.study.content import Content
from models.cards.card import Card
from models.cards.prompts_card import PromptsChoice
from models.cards.schedule_cards import ScheduleCard
from models.common.explain import Fault, Place


@dataclass(frozen=True)
class Findings:
    """What those who look at a study tell one another.

    Attributes:
        content: of the study.
        complete: whether its models have to be there.
        faults: by place and text, so that each is told once.
        cards, schedules: by model, of those that could be described.
    """

    content: Content
    complete: bool
    faults: dict[tuple[Place, str], Fault] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    schedules: dict[str, ScheduleCard] = field(default_factory=dict)

    def add(self, place: Place, text: object) -> None:
        """Keep a fault."""
        self.faults.setdefault((place, str(text)), Fault(place, str(text)))

    def wrong(self, key: str) -> bool:
        """Whether anything is wrong with a key of the study."""
        return any(place[:1] == (key,) for place in self.content.wrong)

    @property
    def main(self) -> str | None:
        """The study's model, but for blocks with one of their own."""
        main: str | None = self.content.value("model")
        return main

    @property
    def prompts(self) -> PromptsChoice | None:
        """What images are made of, if it is right."""
        said = self.content.value("prompts")
        return None if said is None else PromptsChoice.model_validate({"file": said} if isinstance(said, str) else said)

"""What of a study does not fit together, told from its models' cards: every error, with the path of its key.

What is wrong with a key by itself says `bench.study.study`; here are the keys that are right.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from bench.study.content import Content, Item
from bench.study.findings import Findings
from bench.study.measured import check_measured
from bench.study.placement import (
    bad_start,
    levels_on,
    misfit,
    no_label,
    no_range,
    other_shape,
    unfittable,
    unguidable,
)
from bench.study.plan import UNGUIDED, BudgetTooSmall, built, most_steps
from models.cards.card import Card
from models.cards.changes import Changes
from models.cards.schedule_cards import ScheduleCard
from models.common.errors import UsageError
from models.common.explain import Fault, Place
from models.grids import GRIDS, TooManySteps
from models.guidance import GUIDANCES, Guidance
from models.loading.sources import describe_model
from models.networks.modes import parse_mode
from models.text.prompts import read_prompts
from samplers import SAMPLERS, Sampler


@dataclass(frozen=True)
class _Product:
    """A block, or the baseline, with what of it is right."""

    place: Place
    model: str | None
    samplers: list[Item]
    grids: list[Item]
    steps: list[Item]
    evaluations: list[Item]
    guidances: list[Item]
    modes: list[Item]


def misfits(content: Content, *, complete: bool) -> list[Fault]:
    """What does not fit together, each thing once.

    Args:
        content: of a study.
        complete: whether its models have to be there. Else only budgets of evaluations are looked at, and only the
            models that these cannot be told without.
    """
    found = Findings(content, complete)
    _Check(found).all()
    return list(found.faults.values())


class _Check:
    """Looks at what samplers, grids, guidances, modes and models make of one another, and adds what does not fit."""

    def __init__(self, found: Findings) -> None:
        self.content, self.complete, self.found = found.content, found.complete, found
        self.cards, self.schedules = found.cards, found.schedules

    def all(self) -> None:
        products = list(self._products())
        self._describe(products)
        for each in products:
            self._place(each)
        self._dynamic(products)
        described = all(each.model in self.cards for each in products)
        if self.complete:
            self._labels(described)
            self._modes(products)
        check_measured(self.found, all_described=described)

    def _products(self) -> Iterator[_Product]:
        get, modes = self.content, self.content.items("modes")
        sampler, grid, steps, own = (get.item("baseline", key) for key in ("sampler", "grid", "steps", "guidance"))
        unguided: list[Item] = [(("guidance",), UNGUIDED)]
        guidances = get.items("guidance") if "guidance" in get.tables else unguided
        yield _Product(("baseline",), self.found.main, sampler, grid, steps, [], own or guidances[:1], modes[:1])
        for place, block in get.items("block"):
            named = get.value(*place, "model")
            model = named if named is not None or "model" in block else self.found.main
            samplers, grids, steps, budgets = (
                get.items(*place, key) for key in ("samplers", "grids", "steps", "evaluations")
            )
            guided = get.items(*place, "guidance") if "guidance" in block else guidances
            own_modes = get.items(*place, "modes") if "modes" in block else modes
            yield _Product(place, model, samplers, grids, steps, budgets, guided, own_modes)

    def _describe(self, products: list[_Product]) -> None:
        """The cards of the models, each described once, and their schedules."""
        main, broken = self.found.main, self.found.wrong("checkpoint")
        said = None if broken else self.content.value("checkpoint")
        changes = None if said is None else Changes.model_validate(said)
        if not self._prompts():
            return
        if main is not None and changes is not None and changes.schedule is not None:
            self.schedules[main] = changes.schedule
        for each in products:
            model, needed = (
                each.model,
                self.complete or (bool(each.evaluations) and each.model not in self.schedules),
            )
            if model is None or not needed or model in self.cards or (model == main and broken):
                continue
            place: Place = ("model",) if model == main else (*each.place, "model")
            try:
                card = describe_model(model, self._with_prompts(changes if model == main else None))
            except UsageError as error:
                self.found.add(place, error)
            else:
                self.cards[model], self.schedules[model] = card, card.schedule

    def _prompts(self) -> bool:
        """Whether the prompts can be read, where models have to be there, and there are any."""
        if self.found.wrong("prompts"):
            return False
        if self.complete and (choice := self.found.prompts) is not None:
            try:
                read_prompts(choice)
            except UsageError as error:
                self.found.add(("prompts",), error)
                return False
        return True

    def _with_prompts(self, changes: Changes | None) -> Changes | None:
        """What the study says about a model, and its prompts."""
        choice = self.found.prompts
        return changes if choice is None else (changes or Changes()).model_copy(update={"prompts": choice})

    def _place(self, each: _Product) -> None:
        """Samplers and grids of a product on the schedule of its model."""
        schedule, card = self.schedules.get(each.model or ""), self.cards.get(each.model or "")
        main = self.cards.get(self.found.main or "")
        if schedule is None:
            return
        if self.complete and card is not None and main is not None and (why := other_shape(card, main)) is not None:
            self.found.add((*each.place, "model"), why)
            return
        for (at, spec), (on, grid) in product(each.samplers, each.grids):
            sampler = SAMPLERS.make(spec)
            if self.complete and card is not None and (why := misfit(spec, sampler, card)) is not None:
                self.found.add(at, why)
                continue
            for there, steps in each.steps if self.complete else []:
                self._walk((at, spec), sampler, (on, grid), (there, steps), schedule)
            for (there, budget), (_, guidance) in product(each.evaluations, each.guidances):
                self._budget((at, sampler), (on, grid), (there, budget), GUIDANCES.make(guidance), schedule)
        if self.complete and card is not None:
            for at, guidance in each.guidances:
                self._guide(at, guidance, card)

    def _guide(self, at: Place, spec: str, card: Card) -> None:
        """A guidance on a model."""
        guidance, weaker = GUIDANCES.make(spec), None
        if guidance.weaker is not None:
            try:
                weaker = self.cards.get(guidance.weaker) or describe_model(guidance.weaker, self._with_prompts(None))
            except UsageError as error:
                self.found.add(at, error)
                return
        if (why := unguidable(spec, guidance, card, weaker)) is not None:
            self.found.add(at, why)

    def _walk(self, named: Item, sampler: Sampler, on: Item, steps: Item, schedule: ScheduleCard) -> None:
        grid = "native" if sampler.places_steps else GRIDS.spec_of(GRIDS.make(on[1]))
        try:
            levels = levels_on(schedule, grid, steps[1])
        except TooManySteps as error:
            self.found.add(steps[0], error)
        except UsageError as error:
            self.found.add(on[0], error)
        else:
            if (why := bad_start(named[1], sampler, levels) or unfittable(grid, named[1], levels)) is not None:
                self.found.add(on[0], why)

    def _budget(self, named: Item, on: Item, budget: Item, guidance: Guidance, schedule: ScheduleCard) -> None:
        grid = GRIDS.make(on[1])
        try:
            levels_on(schedule, GRIDS.spec_of(grid), 1)  # whether it can be placed at all
        except UsageError as error:
            self.found.add(on[0], error)
            return
        try:
            most_steps(named[1], grid, built(schedule), budget[1], guidance)
        except BudgetTooSmall as error:
            self.found.add(budget[0], error)
        except UsageError as error:
            self.found.add(named[0], error)

    def _dynamic(self, products: list[_Product]) -> None:
        """Dynamic thresholding, which is to a range of x_0."""
        usual = self.content.value("clip")
        for each in products:
            own = self.content.value(*each.place, "clip") if each.place != ("baseline",) else None
            card, clip = self.cards.get(each.model or ""), usual if own is None else own
            if card is not None and clip == "dynamic" and (why := no_range(card)) is not None:
                self.found.add(("clip",) if own is None else (*each.place, "clip"), why)

    def _labels(self, all_described: bool) -> None:
        """Labels and prompts that not every model takes."""
        label, balanced = self.content.value("label"), self.content.value("labels") == "balanced"
        for name, card in self.cards.items():
            if label is not None and (why := no_label(label, name, card)) is not None:
                self.found.add(("label",), f"{why}, got {label}")
            if balanced and (why := no_label(0, name, card)) is not None:
                self.found.add(("labels",), f"{why}, got 'balanced'")
        if all_described and self.found.prompts and not any(card.prompts for card in self.cards.values()):
            names = ", ".join(map(repr, self.cards))
            text = f"no model of the study makes images of prompts (there is {names}); leave it out"
            self.found.add(("prompts",), text)

    def _modes(self, products: list[_Product]) -> None:
        """The device, and modes that it or a model does not have."""
        from bench.environment import pick_device  # which import torch
        from models.networks.execution import check_mode

        if self.found.wrong("device"):
            return
        try:
            device = pick_device(self.content.value("device") or "auto")
        except UsageError as error:
            self.found.add(("device",), error)
            return
        for each in products:
            if (card := self.cards.get(each.model or "")) is None:
                continue
            for at, mode in each.modes:
                try:
                    check_mode(parse_mode(mode), card, device)
                except UsageError as error:
                    self.found.add(at, error)

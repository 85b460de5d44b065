"""What of a study does not fit together, told from its models' cards: every error, with the path of its key.

What is wrong with a key by itself says `bench.study.study`; here are the keys that are right.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from bench.study.content import Content, Item
from bench.study.metrics import DEFAULT_METRICS, FEATURE_METRICS, metric_of
from bench.study.placement import (
    bad_start,
    levels_on,
    misfit,
    no_classes,
    no_label,
    no_law,
    no_prompts,
    no_range,
    other_shape,
    prompts_of,
    unfittable,
    unguidable,
)
from bench.study.plan import UNGUIDED, BudgetTooSmall, built, most_steps
from bench.study.study import ExtractorChoice
from models.cards.card import Card
from models.cards.changes import Changes
from models.cards.prompts_card import PromptsChoice
from models.cards.schedule_cards import ScheduleCard
from models.common.errors import UsageError
from models.common.explain import Fault, Place
from models.grids import GRIDS, TooManySteps
from models.guidance import GUIDANCES, Guidance
from models.loading.sources import describe_model
from models.networks.modes import parse_mode
from models.plugins.registry import unknown
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
    return _Check(content, complete).all()


@dataclass
class _Check:
    content: Content
    complete: bool
    found: dict[tuple[Place, str], Fault] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    schedules: dict[str, ScheduleCard] = field(default_factory=dict)

    def all(self) -> list[Fault]:
        products = list(self._products())
        self._describe(products)
        for each in products:
            self._place(each)
        self._published()
        self._until()
        self._dynamic(products)
        if self.complete:
            self._models(products)
            self._modes(products)
            self._extractor()
            self._clip()
        return list(self.found.values())

    def _add(self, place: Place, text: object) -> None:
        self.found.setdefault((place, str(text)), Fault(place, str(text)))

    def _wrong(self, key: str) -> bool:
        """Whether anything is wrong with a key of the study."""
        return any(place[:1] == (key,) for place in self.content.wrong)

    @property
    def _main(self) -> str | None:
        main: str | None = self.content.value("model")
        return main

    @property
    def _metrics(self) -> list[Item]:
        if self.content.value("metrics") is None:
            return [(("metrics",), each) for each in DEFAULT_METRICS]
        return self.content.items("metrics")

    def _products(self) -> Iterator[_Product]:
        get, modes = self.content, self.content.items("modes")
        sampler, grid, steps, own = (get.item("baseline", key) for key in ("sampler", "grid", "steps", "guidance"))
        unguided: list[Item] = [(("guidance",), UNGUIDED)]
        guidances = get.items("guidance") if "guidance" in get.tables else unguided
        yield _Product(("baseline",), self._main, sampler, grid, steps, [], own or guidances[:1], modes[:1])
        for place, block in get.items("block"):
            named = get.value(*place, "model")
            model = named if named is not None or "model" in block else self._main
            samplers, grids, steps, budgets = (
                get.items(*place, key) for key in ("samplers", "grids", "steps", "evaluations")
            )
            guided = get.items(*place, "guidance") if "guidance" in block else guidances
            own_modes = get.items(*place, "modes") if "modes" in block else modes
            yield _Product(place, model, samplers, grids, steps, budgets, guided, own_modes)

    def _describe(self, products: list[_Product]) -> None:
        """The cards of the models, each described once, and their schedules."""
        main, broken = self._main, self._wrong("checkpoint")
        said = None if broken else self.content.value("checkpoint")
        changes = None if said is None else Changes.model_validate(said)
        if not self._prompts():
            return
        if main is not None and changes is not None and changes.schedule is not None:
            self.schedules[main] = changes.schedule
        for each in products:
            model, needed = each.model, self.complete or (bool(each.evaluations) and each.model not in self.schedules)
            if model is None or not needed or model in self.cards or (model == main and broken):
                continue
            place: Place = ("model",) if model == main else (*each.place, "model")
            try:
                card = describe_model(model, self._with_prompts(changes if model == main else None))
            except UsageError as error:
                self._add(place, error)
            else:
                self.cards[model], self.schedules[model] = card, card.schedule

    def _prompts(self) -> bool:
        """Whether the prompts can be read, where models have to be there, and there are any."""
        if self._wrong("prompts"):
            return False
        if self.complete and (choice := self._chosen_prompts()) is not None:
            try:
                read_prompts(choice)
            except UsageError as error:
                self._add(("prompts",), error)
                return False
        return True

    def _chosen_prompts(self) -> PromptsChoice | None:
        said = self.content.value("prompts")
        return None if said is None else PromptsChoice.model_validate({"file": said} if isinstance(said, str) else said)

    def _with_prompts(self, changes: Changes | None) -> Changes | None:
        """What the study says about a model, and its prompts."""
        choice = self._chosen_prompts()
        return changes if choice is None else (changes or Changes()).model_copy(update={"prompts": choice})

    def _place(self, each: _Product) -> None:
        """Samplers and grids of a product on the schedule of its model."""
        schedule, card = self.schedules.get(each.model or ""), self.cards.get(each.model or "")
        main = self.cards.get(self._main or "")
        if schedule is None:
            return
        if self.complete and card is not None and main is not None and (why := other_shape(card, main)) is not None:
            self._add((*each.place, "model"), why)
            return
        for (at, spec), (on, grid) in product(each.samplers, each.grids):
            sampler = SAMPLERS.make(spec)
            if self.complete and card is not None and (why := misfit(spec, sampler, card)) is not None:
                self._add(at, why)
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
                self._add(at, error)
                return
        if (why := unguidable(spec, guidance, card, weaker)) is not None:
            self._add(at, why)

    def _walk(self, named: Item, sampler: Sampler, on: Item, steps: Item, schedule: ScheduleCard) -> None:
        grid = "native" if sampler.places_steps else GRIDS.spec_of(GRIDS.make(on[1]))
        try:
            levels = levels_on(schedule, grid, steps[1])
        except TooManySteps as error:
            self._add(steps[0], error)
        except UsageError as error:
            self._add(on[0], error)
        else:
            if (why := bad_start(named[1], sampler, levels) or unfittable(grid, named[1], levels)) is not None:
                self._add(on[0], why)

    def _budget(self, named: Item, on: Item, budget: Item, guidance: Guidance, schedule: ScheduleCard) -> None:
        grid = GRIDS.make(on[1])
        try:
            levels_on(schedule, GRIDS.spec_of(grid), 1)  # whether it can be placed at all
        except UsageError as error:
            self._add(on[0], error)
            return
        try:
            most_steps(named[1], grid, built(schedule), budget[1], guidance)
        except BudgetTooSmall as error:
            self._add(budget[0], error)
        except UsageError as error:
            self._add(named[0], error)

    def _until(self) -> None:
        """That something is measured of all images, by which settings are compared while these grow."""
        known = {metric for _, metric in self._metrics}
        if self.content.value("until") is not None and not self._wrong("metrics") and not known & {"fd", "law"}:
            self._add(("until",), "needs a distance of all images: add metric 'fd' or, of an exact model, 'law'")

    def _dynamic(self, products: list[_Product]) -> None:
        """Dynamic thresholding, which is to a range of x_0."""
        usual = self.content.value("clip")
        for each in products:
            own = self.content.value(*each.place, "clip") if each.place != ("baseline",) else None
            card, clip = self.cards.get(each.model or ""), usual if own is None else own
            if card is not None and clip == "dynamic" and (why := no_range(card)) is not None:
                self._add(("clip",) if own is None else (*each.place, "clip"), why)

    def _published(self) -> None:
        """Columns that published values are compared with."""
        if self._wrong("metrics"):
            return
        metrics = [metric for _, metric in self._metrics]
        for block, _ in self.content.items("block"):
            if self.content.value(*block, "published") is None:
                continue
            if len(self.content.items(*block, "guidance") or self.content.items("guidance")) > 1:
                self._add((*block, "published"), "published values are of one guidance; give the block its own")
            at: Place = (*block, "published", "column")
            if at in self.content.wrong:
                continue
            column = self.content.value(*at) or "fid"
            if (metric := metric_of(column)) not in metrics:
                self._add(at, f"{column!r} comes of metric {metric!r}, which is not among the study's: add it there")
            elif self.complete and column.startswith("fd_"):
                self._distance(at, column)

    def _distance(self, at: Place, column: str) -> None:
        from bench.quality.extractors import distance_names  # which imports torch

        try:
            known = [f"fd_{name}" for name in distance_names(self._choice(), self.cards.get(self._main or ""))]
        except UsageError as error:
            self._add(("extractor",), error)
            return
        if column.removesuffix("_inf") not in known:
            self._add(at, unknown("column", column, known))

    def _models(self, products: list[_Product]) -> None:
        """Metrics and a label that not every model has."""
        label, balanced = self.content.value("label"), self.content.value("labels") == "balanced"
        for name, card in self.cards.items():
            for at, metric in self._metrics:
                if metric == "law" and (why := no_law(name, card)) is not None:
                    self._add(at, why)
            if label is not None and (why := no_label(label, name, card)) is not None:
                self._add(("label",), f"{why}, got {label}")
            if balanced and (why := no_label(0, name, card)) is not None:
                self._add(("labels",), f"{why}, got 'balanced'")
        described = all(each.model in self.cards for each in products)
        if described and self._chosen_prompts() and not any(card.prompts for card in self.cards.values()):
            names = ", ".join(map(repr, self.cards))
            self._add(("prompts",), f"no model of the study makes images of prompts (there is {names}); leave it out")
        why = no_classes(self.cards) if described else None
        for at, metric in self._metrics if why is not None else []:
            if metric == "class_accuracy":
                self._add(at, why)
        known = all(each.model in self.cards for each in products)
        prompted = any(prompts_of(card) is not None for card in self.cards.values())
        why = no_prompts(list(self.cards), prompted=prompted) if known else None
        for at, metric in self._metrics if why is not None else []:
            if metric == "clip_score":
                self._add(at, why)

    def _modes(self, products: list[_Product]) -> None:
        """The device, and modes that it or a model does not have."""
        from bench.environment import pick_device  # which import torch
        from models.networks.execution import check_mode

        if self._wrong("device"):
            return
        try:
            device = pick_device(self.content.value("device") or "auto")
        except UsageError as error:
            self._add(("device",), error)
            return
        for each in products:
            if (card := self.cards.get(each.model or "")) is None:
                continue
            for at, mode in each.modes:
                try:
                    check_mode(parse_mode(mode), card, device)
                except UsageError as error:
                    self._add(at, error)

    def _choice(self) -> ExtractorChoice | None:
        said = self.content.value("extractor")
        if said is None or self._wrong("extractor"):
            return None
        return ExtractorChoice.model_validate({"name": said} if isinstance(said, str) else said)

    def _clip(self) -> None:
        """What the CLIP score is measured with."""
        if self._wrong("clip_model") or not any(metric == "clip_score" for _, metric in self._metrics):
            return
        from bench.quality.clip_model import refuse_clip  # which imports torch

        try:
            refuse_clip(self.content.value("clip_model"))
        except UsageError as error:
            self._add(("clip_model",), error)

    def _extractor(self) -> None:
        """What the metrics on features need."""
        card = self.cards.get(self._main or "")
        if (
            card is None
            or self._wrong("extractor")
            or not any(metric in FEATURE_METRICS for _, metric in self._metrics)
        ):
            return
        from bench.quality.extractors import refuse_choice  # which imports torch

        try:
            refuse_choice(self._choice(), card)
        except UsageError as error:
            self._add(("extractor",), error)

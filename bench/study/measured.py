"""Whether what a study measures can be: of its models, with its extractor, and beside published values."""

from bench.study.content import Item
from bench.study.findings import Findings
from bench.study.metrics import DEFAULT_METRICS, FEATURE_METRICS, metric_of
from bench.study.placement import no_classes, no_law, no_prompts, prompts_of
from bench.study.study import ExtractorChoice
from models.common.errors import UsageError
from models.common.explain import Place
from models.plugins.registry import unknown


def check_measured(found: Findings, *, all_described: bool) -> None:
    """Add what cannot be measured.

    Args:
        found: with the cards of the models.
        all_described: whether these are all that the study has.
    """
    metrics = _metrics(found)
    _published(found, [metric for _, metric in metrics])
    compared = any(metric in ("fd", "law") for _, metric in metrics)  # as settings are while images grow
    if found.content.value("until") is not None and not found.wrong("metrics") and not compared:
        found.add(("until",), "needs a distance of all images: add metric 'fd' or, of an exact model, 'law'")
    if found.complete:
        _of_models(found, metrics, all_described)
        _extractor(found, metrics)
        _clip(found, metrics)


def _metrics(found: Findings) -> list[Item]:
    if found.content.value("metrics") is None:
        return [(("metrics",), each) for each in DEFAULT_METRICS]
    return found.content.items("metrics")


def _published(found: Findings, metrics: list[str]) -> None:
    """Columns that published values are compared with."""
    if found.wrong("metrics"):
        return
    get = found.content
    for block, _ in get.items("block"):
        if get.value(*block, "published") is None:
            continue
        if len(get.items(*block, "guidance") or get.items("guidance")) > 1:
            found.add((*block, "published"), "published values are of one guidance; give the block its own")
        at: Place = (*block, "published", "column")
        if at in get.wrong:
            continue
        column = get.value(*at) or "fid"
        if (metric := metric_of(column)) not in metrics:
            found.add(at, f"{column!r} comes of metric {metric!r}, which is not among the study's: add it there")
        elif found.complete and column.startswith("fd_"):
            _distance(found, at, column)


def _distance(found: Findings, at: Place, column: str) -> None:
    from bench.quality.extractors import distance_names  # which imports torch

    try:
        known = [f"fd_{name}" for name in distance_names(_choice(found), found.cards.get(found.main or ""))]
    except UsageError as error:
        found.add(("extractor",), error)
        return
    if column.removesuffix("_inf") not in known:
        found.add(at, unknown("column", column, known))


def _of_models(found: Findings, metrics: list[Item], all_described: bool) -> None:
    """Metrics that not every model has."""
    whys: list[tuple[str, str | None]] = [("law", no_law(name, card)) for name, card in found.cards.items()]
    if all_described:
        prompted = any(prompts_of(card) is not None for card in found.cards.values())
        whys.append(("class_accuracy", no_classes(found.cards)))
        whys.append(("clip_score", no_prompts(list(found.cards), prompted=prompted)))
    for metric, why in whys:
        for at, each in metrics:
            if each == metric and why is not None:
                found.add(at, why)


def _choice(found: Findings) -> ExtractorChoice | None:
    said = found.content.value("extractor")
    if said is None or found.wrong("extractor"):
        return None
    return ExtractorChoice.model_validate({"name": said} if isinstance(said, str) else said)


def _extractor(found: Findings, metrics: list[Item]) -> None:
    """What the metrics on features need."""
    card = found.cards.get(found.main or "")
    if card is None or found.wrong("extractor") or not any(metric in FEATURE_METRICS for _, metric in metrics):
        return
    from bench.quality.extractors import refuse_choice  # which imports torch

    try:
        refuse_choice(_choice(found), card)
    except UsageError as error:
        found.add(("extractor",), error)


def _clip(found: Findings, metrics: list[Item]) -> None:
    """What the CLIP score is measured with."""
    if found.wrong("clip_model") or not any(metric == "clip_score" for _, metric in metrics):
        return
    from bench.quality.clip_model import refuse_clip  # which imports torch

    try:
        refuse_clip(found.content.value("clip_model"))
    except UsageError as error:
        found.add(("clip_model",), error)

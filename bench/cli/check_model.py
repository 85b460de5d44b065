"""Tells whether a model is what its card says: real images for it, the check, and its table and verdicts."""

import dataclasses
import json
import math
from typing import NamedTuple, cast

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text
from torch import Tensor

from bench.conformance.model_check import FULL, OWN_SAMPLES, Check, check_model
from bench.environment import pick_device
from bench.escape import terminal_text
from bench.progress import output, say, warn
from bench.quality.datasets import DATA_SETS, open_data
from bench.quality.images import to_uint8
from bench.quality.reference import data_of
from bench.report.data.text import significant
from bench.running.first_look import refuse_newer_check, remember
from bench.study.file import load_study
from bench.study.overrides import Overrides
from models.analytic import Law
from models.cards.changes import Changes
from models.cards.prompts_card import PromptsChoice
from models.common.errors import UsageError
from models.loading.model import Model
from models.loading.sources import CARD, measuring_folder
from models.loading.zoo import load_model
from models.networks.execution import arithmetic
from models.networks.modes import Mode

_OUTPUTS = {"epsilon": "eps", "sample": "x_0", "v_prediction": "v", "score": "score", "flow": "flow"}
_OUTPUTS |= {"-epsilon": "-eps", "-v_prediction": "-v", "-flow": "-flow"}


class _Images(NamedTuple):
    """Where images come from, (N, C, H, W) uint8, their classes (N,) as the card has them, and how many the data have.

    None for what there is not, or is not known.
    """

    origin: str | None = None
    pixels: Tensor | None = None
    labels: Tensor | None = None
    classes: int | None = None


def check(
    model: str | None,
    study: str | None,
    prompts: str | None,
    data: str | None,
    resize: int | None,
    images: int,
    device: str,
    as_json: bool,
) -> int:
    """Check a model, as its card or a study has it, and print what was found; the exit status."""
    if images < 2:
        raise UsageError(f"--images {images}: expected at least 2")
    where = pick_device(device)
    found = _checked(_loaded(model, study, prompts, images, where), where, data, resize, images)
    if as_json:
        print(json.dumps(_plain(dataclasses.asdict(found)), indent=1, allow_nan=False))
    else:
        _print(found)
    return 1 if found.bad else 0


def _loaded(model: str | None, study: str | None, prompts: str | None, images: int, device: torch.device) -> Model:
    """A model as its card has it, or that of a study with the study's changes, for so many images."""
    if model is not None and study is None:
        said = None if prompts is None else Changes(prompts=PromptsChoice(file=prompts))
        loaded = load_model(model, device, said, images=images)
        if prompts is not None and loaded.prompts is None:
            raise UsageError(f"--prompts {prompts}: model {model!r} makes no images of prompts; leave it out")
        return loaded
    if model is not None or study is None:
        given = "neither" if model is None else f"model {model!r} and --study {study}"
        raise UsageError(f"expected either a model or --study, got {given}; a study says itself what its model is")
    chosen = load_study(study, Overrides(prompts=prompts))
    return load_model(chosen.model, device, chosen.changes_of(chosen.model), images=images)


def _checked(model: Model, device: torch.device, data: str | None, resize: int | None, images: int) -> Check:
    """Check a model, which is on the device, and keep what real images say."""
    given = _images(model, data, resize, images)
    if given.origin is not None:
        refuse_newer_check(model)
    with arithmetic(Mode().precision):
        depth = dataclasses.replace(FULL, images=images)
        found = check_model(model, device, given.origin, given.pixels, given.labels, depth, data_classes=given.classes)
    if found.data != OWN_SAMPLES:
        try:
            remember(model, found)
        except OSError as error:
            warn(f"runs will not know of this check, it could not be kept: {error}", style=None)
    return found


def _print(found: Check) -> None:
    """The table of errors, and the verdicts."""
    console = output(soft_wrap=True)
    if found.curves:
        console.print(_table(found))
    for each in found.verdicts:
        mark = "[yellow]doubt[/]" if each.doubt else "[green]right[/]" if each.good else "[red]WRONG[/]"
        console.print(Text.from_markup(f"{mark}  ").append(terminal_text(each.text)))
    say(f"{found.model}: {found.images} images of {found.data}, {found.evaluations:,} evaluations of an image")


def _images(model: Model, data: str | None, resize: int | None, count: int) -> _Images:
    """The images that are noised; none where nobody has named any and the model's own are not there, or do not fit."""
    card = model.card
    if data is None and resize is not None:
        raise UsageError(f"--resize {resize} goes with --data")
    if data is None and card.is_exact:
        return _exact(model, count)
    given, data = data, data or _offered(model)
    if data is None:
        return _Images()
    try:
        found = open_data(data, resize=resize, download=data not in DATA_SETS or given is not None)
    except UsageError:
        if given is not None:
            raise
        return _Images()
    if found.images.shape[1:] != card.shape:
        if given is None:
            return _Images()
        scaled = data not in DATA_SETS and found.images.shape[1] == card.shape[0]
        fitting = f", or --resize {card.shape[1]}" if scaled else ""
        raise UsageError(
            f"the images of {data!r} have shape {tuple(found.images.shape[1:])}, those of model {card.name!r} "
            f"{card.shape}; give images of that shape{fitting}, or leave --data out"
        )
    for line in found.words:  # what of a folder was left out, too
        warn(line, style=None)
    made = min(count, len(found.images))
    chosen = torch.arange(made) * len(found.images) // made  # from end to end, as data are sorted by class
    pixels = found.images[chosen]
    if len(pixels) < 2:
        raise UsageError(f"{data!r} holds {len(pixels)} image; expected at least 2")
    if found.labels is None or found.classes is None or not card.takes_classes:
        return _Images(data, pixels)
    labels = found.labels[chosen] if card.classes == len(found.classes) else None
    return _Images(data, pixels, labels, len(found.classes))


def _offered(model: Model) -> str | None:
    """The data set that a model's reference is of, if that is one by name."""
    named = None if model.card.measured_by is None else measuring_folder(model.card.measured_by)
    for folder in (model.folder, named):
        if folder is not None and (folder / CARD).is_file() and (data := data_of(folder)) in DATA_SETS:
            return data
    return None


def _exact(model: Model, count: int) -> _Images:
    """Exact samples of a law in closed form."""
    law, generator = cast(Law, model.network), torch.Generator().manual_seed(0)
    size = math.prod(model.card.shape)
    chance = torch.rand(count, generator=generator, dtype=torch.float64)
    normal = torch.randn(count, size, generator=generator, dtype=torch.float64)
    drawn = law.draw(chance.to(law.mean.device), normal.to(law.mean.device))
    return _Images("its own law", to_uint8(drawn.float(), model.card.value_range))


def _table(found: Check) -> Table:
    """RMSE of x_0 by level: of the best linear guess, and of the network in every meaning of its output."""
    title = f"{found.model}: RMSE of x_0; the card says {_OUTPUTS[found.said]}"
    table = Table(title=Text(terminal_text(title), "table.title"), title_justify="left", box=SIMPLE_HEAD)
    said, best = found.curves[found.said], min(found.curves, key=lambda each: found.curves[each].score)
    # the other signs only where one of them is what the network has
    curves = {each: curve for each, curve in found.curves.items() if not each.startswith("-") or each == best}
    for heading in ("t", "alpha/sigma", "guess", *(_OUTPUTS[each] for each in curves)):
        table.add_column(heading, justify="right", no_wrap=True)
    for n, level in enumerate(said.levels):
        errors = [curve.errors[n] for curve in curves.values()]
        shown = [significant(each) if math.isfinite(each) else "-" for each in errors]
        ends = (f"{level.t:.3f}", significant(1.0 / level.ratio), significant(said.guesses[n]))
        table.add_row(*ends, *shown)
    score = (f"{curve.score:.2f}" if math.isfinite(curve.score) else "-" for curve in curves.values())
    table.add_row("", "", "error / guess", *score, style="bold")
    return table


def _plain(value: object) -> object:
    """What JSON can hold: null for what is not finite, and levels by name."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value

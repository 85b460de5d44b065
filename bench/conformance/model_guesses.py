"""What a network may be instead of what its card says: trained on another schedule, given another time, or in another
preconditioning.
"""

from collections.abc import Callable
from copy import copy
from functools import partial

from models.cards.card import BUILT_BY_DIFFUSERS, Card
from models.cards.decoder_card import DecoderCard
from models.cards.schedule_cards import DISCRETE, ExplicitBetas
from models.loading.model import Model
from models.loading.zoo import TIME_SCALES
from models.networks.network import ConsistencyPreconditioned, EDMPreconditioned, Network
from models.schedule import ContinuousVP, DiscreteVP, Level, Schedule

AS_SAID = "as the card says"
"""The name of what is not changed."""

_APART = 0.05
"""Part by which numbers have to differ for a network to be tried with another."""
_SIGMAS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.66, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0)
"""Values of sigma_data that are tried."""
_FACTORS = (1.0, 0.18215, 0.13025, 0.3611, 1.5305)
"""Factors that latents are scaled by: none, Stable Diffusion's, SDXL's, FLUX's and SD 3's."""
_LENGTHS = (100, 250, 500, 1000, 2000, 4000)
"""Numbers of trained levels that are tried."""


def other_schedules(card: Card) -> dict[str, Schedule]:
    """The card's schedule and, where index or time is all that the network sees, those that networks are trained on."""
    own, made = card.schedule.build(), dict[str, Schedule]()
    if card.network == "unet" and card.schedule.kind in DISCRETE and own.train_steps is not None:
        made |= _usual(own.train_steps)
    if card.network == "vp-continuous":
        made |= {"betas 0.1 to 20, as Score SDE": ContinuousVP()}
    same = own.level(0.5)
    others = {name: each for name, each in made.items() if abs(each.level(0.5).alpha - same.alpha) > 1e-3}
    return {AS_SAID: own, **others}


def other_scales(decoder: DecoderCard) -> tuple[tuple[float, float], ...]:
    """The ranges (0, s) for latents s times as large as a card's scaling_factor makes them: those in use."""
    return tuple((0.0, factor / decoder.scaling_factor) for factor in _FACTORS)


def other_lengths(card: Card) -> dict[str, Schedule]:
    """Of a network that sees the index alone: the card's kind of schedule, and the usual ones, with other train_steps.

    More than the card says are tried of networks alone that take any number: a table of indices has no more.
    """
    said = card.schedule
    steps, found = said.build().train_steps, dict[str, Schedule]()
    if card.network != "unet" or said.kind not in DISCRETE or steps is None:
        return found
    takes_any = card.architecture in BUILT_BY_DIFFUSERS and not card.round_time
    for each in (value for value in _LENGTHS if abs(value / steps - 1.0) > _APART and (takes_any or value < steps)):
        name = f"train_steps = {each}"
        if not isinstance(said, ExplicitBetas):
            found[name] = said.model_copy(update={"train_steps": each}).build()
        found |= {f"{usual} and {name}": schedule for usual, schedule in _usual(each).items()}
    return found


def _usual(steps: int) -> dict[str, Schedule]:
    """The schedules of so many levels that networks are trained on."""
    scale = 1000.0 / steps
    return {
        "linear betas, 0.0001 to 0.02": DiscreteVP.linear(steps, min(1e-4 * scale, 0.5), min(0.02 * scale, 0.5)),
        "scaled linear betas, 0.00085 to 0.012": DiscreteVP.scaled_linear(steps),
        "cosine betas": DiscreteVP.cosine(steps),
    }


def other_times(card: Card) -> dict[str, Callable[[Level], Level]]:
    """What a network in continuous time may be given for a level instead of what the card says."""
    found: dict[str, Callable[[Level], Level]] = {AS_SAID: lambda at: at}
    if card.network not in TIME_SCALES:
        return found
    usual, back = TIME_SCALES[card.network], "a time that runs from noise at 0 to data at 1"
    said = card.time_scale or usual
    found[back] = partial(_given, 1.0, back=True)
    for scale in (usual, 1.0):
        if abs(scale / said - 1.0) > _APART:
            what = "t itself" if scale == 1.0 else f"{scale:g} t"
            found[f"{what}, not {said:g} t"] = partial(_given, scale / said, back=False)
            found[f"{back}, times {scale:g} and not {said:g}"] = partial(_given, scale / said, back=True)
    return found


def _given(factor: float, at: Level, *, back: bool) -> Level:
    return at._replace(t=factor * (1.0 - at.t if back else at.t))


def other_signs(model: Model) -> dict[str, Network]:
    """Of a network in EDM's preconditioning: the same with -F."""
    network = model.network
    if not isinstance(network, EDMPreconditioned):
        return {}
    other = EDMPreconditioned(network.network, network.sigma_data, -network.sign)
    return {"it is to be read with the other raw_prediction": other}


def other_sigmas(model: Model) -> dict[str, Network]:
    """Of a network in a preconditioning that has a sigma_data: the same with others, by what is said of it."""
    network, found = model.network, dict[str, Network]()
    if not isinstance(network, EDMPreconditioned | ConsistencyPreconditioned):
        return found
    said = network.sigma_data
    for each in (value for value in _SIGMAS if abs(value / said - 1.0) > _APART):
        other = copy(network)
        other.sigma_data = each
        found[f"its predictions fit sigma_data = {each:g}, the card says {said:g}"] = other
    return found

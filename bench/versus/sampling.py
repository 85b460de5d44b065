"""A batch of images: ours, diffusers', and the bare network evaluations that both are made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.run.trajectory import WrongCount
from bench.timing.clock import Stopwatch
from bench.versus.ours import Ours
from bench.versus.pairs import Pair
from bench.versus.peers import Peer, Setting, make_peer
from bench.versus.ratios import Seconds, in_turns
from models.networks.execution import arithmetic

OURS, THEIRS, BARE = "ours", "diffusers", "bare"
_SEED = 0


@dataclass(frozen=True)
class Sampling:
    """One pair in one mode.

    Attributes:
        sampler, peer: ours, and the pipeline or scheduler of diffusers.
        mode: of the network, on both sides; a graph holds ours alone.
        captured: whether ours was replayed from a graph; None: not asked for.
        clip: whether both sides clip x_0.
        evaluations, peer_evaluations: of the network, an image, counted; the bare ones are as many as ours.
        apart: root mean square difference of pixels, in grey levels of 255, between the two from the same noise; None
            for samplers that draw more of it.
        seconds: a batch, by contestant and round.
    """

    sampler: str
    peer: str
    mode: str
    captured: bool | None
    clip: bool
    evaluations: float
    peer_evaluations: int
    apart: float | None
    seconds: Seconds


def compare(ours: Ours, pair: Pair, setting: Setting, rounds: int, advanced: Callable[[], None]) -> Sampling:
    """Time a pair; one call of each contestant is left out before.

    Args:
        ours: a cell of the pair's sampler.
        pair: what is compared.
        setting: steps, batch and device.
        rounds: timed calls of each.
        advanced: called after each.

    Raises:
        UsageError: a model that diffusers cannot sample, or steps that its scheduler cannot place.
        WrongCount: a timed call of ours made other evaluations than the one before them all.
    """
    peer = make_peer(pair, ours.cell.model, setting)
    ours, mode = ours.like(peer), ours.cell.mode
    with torch.inference_mode(), arithmetic(mode.precision):
        trajectory = ours.trajectory(setting.batch)
        numbers = torch.arange(setting.batch, device=setting.device)

        def sample() -> Tensor:
            return (trajectory(trajectory.start(numbers)) / 2 + 0.5).clamp(0, 1)  # what the pipelines return

        sample()
        evaluations, peer_evaluations = trajectory.evaluations / setting.batch, _evaluations(peer, setting)
        bare = ours.bare(setting.batch, round(evaluations))
        bare()
        calls: dict[str, Callable[[], object]] = {
            OURS: sample,
            THEIRS: partial(peer.sample, setting.batch, None),
            BARE: bare,
        }
        seconds = in_turns(_timed(calls, Stopwatch(setting.device)), rounds, advanced)
        if trajectory.evaluations != (1 + rounds) * evaluations * setting.batch:
            raise WrongCount(f"{pair.ours} evaluates the network less or more when it is called again")
        apart = pixels_apart(ours, peer, setting)
    return Sampling(
        sampler=pair.ours,
        peer=peer.name,
        mode=str(mode),
        captured=trajectory.captured,
        clip=peer.clip is not None,
        evaluations=evaluations,
        peer_evaluations=peer_evaluations,
        apart=apart,
        seconds=seconds,
    )


def _timed(
    calls: Mapping[str, Callable[[], object]], stopwatch: Stopwatch
) -> dict[str, Callable[[int], Mapping[str, float]]]:
    def time(name: str, call: Callable[[], object], _: int) -> dict[str, float]:
        return {name: stopwatch.seconds(call)}

    return {name: partial(time, name, call) for name, call in calls.items()}


def _evaluations(peer: Peer, setting: Setting) -> int:
    """Network evaluations of a sample of diffusers', which is its warm-up as well."""
    count = 0

    def add(*_: object) -> None:
        nonlocal count
        count += 1

    hook = peer.unet.register_forward_hook(add)
    peer.sample(setting.batch, None)
    hook.remove()
    return count


def pixels_apart(ours: Ours, peer: Peer, setting: Setting) -> float | None:
    """How far images of the two are apart, as `Sampling.apart` has it: that the same thing was timed."""
    if ours.cell.sampler.stochastic:
        return None
    shape = (setting.batch, *ours.cell.model.card.state_shape)
    # as the pipelines draw it, so that both have the same
    x = torch.randn(shape, generator=_generator(setting), device=setting.device)
    theirs = peer.sample(setting.batch, _generator(setting))
    return 255.0 * float((ours.from_noise(x) - theirs).square().mean().sqrt())


def _generator(setting: Setting) -> torch.Generator:
    return torch.Generator(setting.device).manual_seed(_SEED)

"""A batch of images: ours, diffusers', and the bare network evaluations that both are made of."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.running.trajectory import WrongCount
from bench.timing.clock import Stopwatch
from bench.versus.ours import Ours
from bench.versus.pairs import Pair
from bench.versus.peers import Peer, Setting, make_peer
from bench.versus.turns import Ratio, Seconds, in_turns
from models.networks.execution import arithmetic

OURS, THEIRS, BARE = "ours", "diffusers", "bare"
NOTES = """\
Ratios are of the times of one round: median [quartiles] (95 % bootstrap interval of the median).
Above 1 in a column 'diffusers / ours', ours takes less time.
Each as it is used: a pipeline places its steps in every call, ours are placed once for a study.
Bare: as many evaluations of the network alone as ours makes.
Pixels apart: root mean square difference between the images of both from the same noise, in grey levels of 255: \
whether the same was computed. Only samplers that draw no more noise can be compared so."""
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

    @property
    def ratios(self) -> dict[str, Ratio]:
        """diffusers to ours in all and an evaluation, and both to the bare network."""
        ours, theirs, bare = (self.seconds[name] for name in (OURS, THEIRS, BARE))
        more = self.evaluations / self.peer_evaluations
        return {
            "diffusers_to_ours": Ratio.of(theirs, ours),
            "diffusers_to_ours_per_evaluation": Ratio.of(theirs, ours, more),
            "ours_to_bare": Ratio.of(ours, bare),
            "diffusers_to_bare": Ratio.of(theirs, bare, more),
        }

    def row(self, batch: int) -> dict[str, str]:
        """Of the table, for batches of that size."""
        ratios, same = self.ratios, self.evaluations == self.peer_evaluations
        ours, theirs = (1000.0 * statistics.median(self.seconds[name]) / batch for name in (OURS, THEIRS))
        return {
            "Sampler": f"`{self.sampler}`",
            "diffusers": self.peer,
            "Mode": self.mode if self.captured is not False else f"{self.mode} (not captured)",
            "Evaluations": f"{self.evaluations:g}" + ("" if same else f" / {self.peer_evaluations}"),
            "Ours, ms/image": f"{ours:.4g}",
            "diffusers, ms/image": f"{theirs:.4g}",
            "diffusers / ours": str(ratios["diffusers_to_ours"]),
            "an evaluation of each": f"{ratios['diffusers_to_ours_per_evaluation'].median:.3f}",
            "Ours / bare": str(ratios["ours_to_bare"]),
            "diffusers / bare": str(ratios["diffusers_to_bare"]),
            "Pixels apart": "-" if self.apart is None else f"{self.apart:.2g}",
        }


def compare(ours: Ours, pair: Pair, setting: Setting, rounds: int, advanced: Callable[[], None]) -> Sampling:
    """Time a pair, `ours` being a cell of its sampler; one call of each contestant is left out before.

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
        bare, stopwatch = ours.bare(setting.batch, round(evaluations)), Stopwatch(setting.device)
        bare()
        contestants = {
            OURS: lambda _: {OURS: stopwatch.seconds(sample)},
            THEIRS: lambda _: {THEIRS: stopwatch.seconds(partial(peer.sample, setting.batch, None))},
            BARE: lambda _: {BARE: stopwatch.seconds(bare)},
        }
        seconds = in_turns(contestants, rounds, advanced)
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
    first, second = (torch.Generator(setting.device).manual_seed(_SEED) for _ in range(2))
    shape = (setting.batch, *ours.cell.model.card.state_shape)
    x = torch.randn(shape, generator=first, device=setting.device)  # as the pipelines draw it
    theirs = peer.sample(setting.batch, second)
    return 255.0 * float((ours.from_noise(x) - theirs).square().mean().sqrt())

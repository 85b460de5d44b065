"""A cell's complete `sample` call: on image numbers, eager or replayed from a graph, with its evaluations counted."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bench.noise.stream import ImageNoise
from bench.purity.unchanged import steady
from bench.running.resolve import Resolved
from bench.running.session import Session
from bench.study.plan import UNGUIDED
from bench.timing.capture import Captured, Graph, NotCapturable, no_synchronisation
from bench.timing.clock import TimedNetwork
from models.denoiser import Denoiser
from models.fitted import Fitted
from models.networks.network import Evaluations, counted
from models.schedule import Level
from samplers import Noise

_ALIKE = 1e-3
"""Root mean square distance up to which images of a graph and of a plain call are the same, in units of the value
range: kernels may be chosen otherwise in a graph, but an image of other noise is a hundred times as far away."""


class WrongCount(RuntimeError):
    """Calls evaluate the network less or more often than they have to."""


class WrongNoise(RuntimeError):
    """A sampler draws noise and says that it does not."""


class Start(NamedTuple):
    """What images are made from.

    Attributes:
        numbers: (N,) int64, of the images.
        x: (N, C, H, W), the state at the first level.
        labels: (N,) int64; None for a model without classes.
    """

    numbers: Tensor
    x: Tensor
    labels: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Those there are."""
        return (self.numbers, self.x) if self.labels is None else (self.numbers, self.x, self.labels)


class Asked(NamedTuple):
    """How often networks were asked.

    Attributes:
        calls: images that a sampler asked about.
        evaluations: images that networks evaluated for that.
    """

    calls: int
    evaluations: int


class Trajectory:
    """The `sample` call of a cell.

    Args:
        session: the device, and the labels of class-conditional models.
        resolved: the cell.
        graph: makes an empty graph, for a mode that captures; None: every call is eager.
        clocked: whether the time inside the network is taken.
        together: whether a guidance's halves go through the network as one batch.

    Attributes:
        clocks: take the time inside the network and inside a guidance's weaker one, of eager calls; none if that is not
            wanted.
        together: as given, until `split`.
        calls: images that the sampler has asked about so far, replayed calls included.
        evaluations: images evaluated for these by the networks.
        differentiated: how many of these with derivatives; of replayed calls that is not known.
        captured: whether calls are replays; None: no capture was asked for.
        refusal: why there is none although it was asked for.
    """

    def __init__(
        self,
        session: Session,
        resolved: Resolved,
        graph: Callable[[], Graph] | None,
        *,
        clocked: bool = False,
        together: bool = True,
    ) -> None:
        self._session, self._resolved, self._graph = session, resolved, graph
        self._replayed: Captured | None = None
        self._in_last_sample = self._in_capture = Asked(0, 0)
        networks = [each.network for each in (resolved.model, resolved.weaker) if each is not None]
        self.clocks = [TimedNetwork(each, session.device) for each in networks] if clocked else []
        self.together = together
        self.calls = self.evaluations = self.differentiated = 0
        self.captured: bool | None = None
        self.refusal: str | None = None

    @property
    def device(self) -> torch.device:
        """Where images are made."""
        return self._session.device

    @property
    def sampler(self) -> str:
        """What is sampled with, as the study calls it."""
        return self._resolved.cell.sampler

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of what the sampler gives, images or latents."""
        return self._resolved.model.card.sample_shape

    def start(self, numbers: Tensor) -> Start:
        """Where images of these numbers (N,) start from, on the device."""
        model, levels = self._resolved.model, self._resolved.levels
        numbers = numbers.to(self._session.device)
        like = torch.empty((len(numbers), *model.card.state_shape), device=self._session.device)
        x = ImageNoise(self._resolved.seed, numbers)(like) * model.schedule.prior_std(levels[0])
        return Start(numbers, x, self._session.labels(model, self._resolved.seed, numbers))

    def __call__(self, start: Start) -> Tensor:
        """The images, (N, C, H, W) in the network's value range, as the sampler returned them."""
        if self._replayed is not None:
            self._count(self._in_capture)
            return self._replayed(*start.tensors)
        result = self._sample(start)
        self._count(self._in_last_sample)
        return result

    def _count(self, asked: Asked) -> None:
        self.calls += asked.calls
        self.evaluations += asked.evaluations

    def split(self) -> bool:
        """Have a guidance's halves go through the network one after the other from now on; whether they did not yet."""
        was, self.together = self.together and self._resolved.has_halves, False
        return was

    def compile(self, batch: int) -> None:
        """Have the network compiled for batches of this size, if it is compiled at all.

        Outside of any sampler's call: what compiling changes in the process is no sampler's doing.
        """
        if not self._resolved.mode.compile:
            return
        for model, size, labelled in self._resolved.first_evaluations(batch, together=self.together):
            self._session.first_evaluation_s(model, size, labelled=labelled)

    def prepare(self, numbers: Tensor) -> None:
        """Make ready to time batches of this size: allocations, choices of kernels, and the capture if there is one."""
        if self._graph is None:
            self._warm_up(self.start(numbers))
        else:
            self.capture(numbers)

    def capture(self, numbers: Tensor) -> None:
        """Capture batches of this size, if a capture is asked for.

        Before it a plain call shows that nothing in it makes the host wait, and after it other images show that the
        graph gives what a plain call gives.
        """
        self._replayed = None
        if self._graph is None:
            return
        start = self.start(numbers)
        self._warm_up(start)
        try:
            with no_synchronisation(self._session.device):
                self._sample(start, clocked=False)
            captured = Captured(self._captured_sample, start.tensors, self._graph())
            self._in_capture = self._in_last_sample  # what is evaluated in every replay
            self._replayed = self._verified(captured, numbers)
        except NotCapturable as refusal:
            self.refusal = f"could not be captured in a graph, so that it ran eagerly: {refusal}"
        self.captured = self._replayed is not None

    def _warm_up(self, start: Start) -> None:
        """A call of at most two steps."""
        levels = self._resolved.levels
        sampler = self._resolved.sampler
        # which may not be able to place two, or has coefficients for as many steps as there are
        whole = len(levels) <= 2 or sampler.places_steps or (isinstance(sampler, Fitted) and sampler.fits_steps)
        # without a clock, so that it is looked at how the network is executed
        self._sample(start, levels=None if whole else [*levels[:2], levels[-1]], clocked=False)

    def release(self) -> None:
        """Give back the memory of the graph."""
        self._replayed = None

    def _verified(self, captured: Captured, numbers: Tensor) -> Captured:
        """The graph, if other images come out of it as they do of a plain call."""
        other = self.start(numbers + len(numbers))
        expected = self._sample(other)
        low, high = self._resolved.model.card.value_range
        distance = float((captured(*other.tensors) - expected).square().mean().sqrt()) / (high - low)
        if not distance < _ALIKE:
            raise NotCapturable(
                f"replayed images are {distance:.2g} of the value range away from those of a plain call"
            )
        if self._in_capture != self._in_last_sample:
            raise NotCapturable(
                f"{self._in_capture.evaluations} images were evaluated in the capture, "
                f"{self._in_last_sample.evaluations} in a plain call"
            )
        return captured

    def _captured_sample(self, *tensors: Tensor) -> Tensor:
        """As a graph takes it: no clock inside, whose events could not be read."""
        return self._sample(Start(*tensors), clocked=False)

    def _sample(self, start: Start, levels: Sequence[Level] | None = None, *, clocked: bool = True) -> Tensor:
        cell = self._resolved
        model, counts = self._denoiser(start, self.clocks if clocked else [])
        noise: Noise = self._no_noise
        if cell.sampler.stochastic:
            noise = ImageNoise(cell.seed, start.numbers, first=1)  # draw 0 is the state that it starts from
        result = cell.sampler.sample(model, start.x, list(levels or cell.levels), noise)  # a list of its own
        self._in_last_sample = Asked(counts[0].images, sum(each.images for each in counts[1:]))
        self.differentiated += sum(each.differentiated for each in counts[1:])
        return result

    def _denoiser(self, start: Start, clocks: Sequence[TimedNetwork]) -> tuple[Denoiser, list[Evaluations]]:
        """What the sampler asks, and the counts of what it asks, of the network's evaluations and of a weaker one's."""
        cell, shape = self._resolved, self._resolved.model.card.state_shape
        models = [cell.model] if cell.weaker is None else [cell.model, cell.weaker]
        # to look whether it is steady costs time, as a clock does
        plain = [steady(each.network, self.sampler) for each in models]
        evaluated: Sequence[Callable[..., Tensor]] = clocks or plain
        (network, own), *weaker = (counted(each, shape) for each in evaluated)
        if cell.cell.guidance == UNGUIDED:
            model = cell.model.denoiser(cell.clip, start.labels, network=network, fitted=cell.fitted)
            return model, [own, own]
        guided = cell.model.guided(cell.guidance, weaker[0][0] if weaker else None, network, together=self.together)
        asked, calls = counted(guided, shape)
        model = cell.model.denoiser(cell.clip, start.labels, guided, asked, cell.fitted)
        return model, [calls, own, *(count for _, count in weaker)]

    def _no_noise(self, like: Tensor) -> Tensor:
        """What a deterministic sampler is given: the error from the exact flow means something of those alone."""
        raise WrongNoise(f"{self.sampler} says that it is not stochastic, but draws noise")

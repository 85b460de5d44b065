"""diffusers' side of a pair: the pipeline, or the loop that pipelines run around a scheduler, on a model of ours.

Both sides share the network object and its execution mode, the model's betas, the timesteps (spaced "trailing", where
the scheduler knows that; ours are read off it), the clipping of x_0 where the scheduler can clip, and inference mode.
In 16 bits the network is what is cast, on both sides: a pipeline cast as a whole keeps its state in 16 bits, too, which
is another computation. A pipeline is timed without progress bar, its images left where they are (`output_type="pt"`).
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from bench.versus.pairs import Pair, scheduler_class
from models.common.errors import UsageError
from models.common.words import counted
from models.denoiser import ClipRange
from models.grids import Explicit, Trailing
from models.loading.model import Model
from models.networks.network import IndexedUNet
from models.schedule import DiscreteVP, Level
from samplers.diffusers_adapter import betas_of

PIPELINES = {"DDIMScheduler": "DDIMPipeline", "DDPMScheduler": "DDPMPipeline"}
"""Pipelines for a `UNet2DModel`, and what they sample with; with any other scheduler people write the loop."""

Sample = Callable[[int, torch.Generator | None], Tensor]
"""From N and a generator of noise, None for torch's own, to images (N, C, H, W) in 0 ... 1."""


class InMode(nn.Module):
    """A network in an execution mode, as pipelines see a `UNet2DModel`: the very callable that ours evaluates."""

    def __init__(self, network: IndexedUNet, device: torch.device) -> None:
        super().__init__()
        self.config, self.dtype, self.device = network.unet.config, torch.float32, device
        self._network, schedule = network, network.schedule
        # looked up, not worked out: a UNet2DModel has nothing to work out here
        self._at = cache(lambda index: schedule.level((index + 1.0) / schedule.train_steps))

    def forward(self, sample: Tensor, timestep: Tensor | float, return_dict: bool = True) -> Any:
        """The network's output, called as `UNet2DModel` is."""
        from diffusers.models.unets.unet_2d import UNet2DOutput

        output = self._network(sample, self._at(float(timestep)))
        return UNet2DOutput(sample=output) if return_dict else (output,)


@dataclass(frozen=True)
class Setting:
    """What all pairs are timed at: steps of a sample, images of a batch, and where."""

    steps: int
    batch: int
    device: torch.device


@dataclass(frozen=True)
class Peer:
    """diffusers' side of a pair, ready to be timed.

    Attributes:
        name: of the pipeline, or of the scheduler whose loop is run.
        sample: draws a batch: noise, placement of the steps, the loop, and the map of the images to 0 ... 1.
        unet: what it evaluates.
        levels: those that the scheduler placed, for our side.
        clip: the range that both sides clamp x_0 to, or None.
    """

    name: str
    sample: Sample
    unet: nn.Module
    levels: list[Level]
    clip: ClipRange | None


def check_model(model: Model) -> IndexedUNet:
    """The network of a model that diffusers' pipelines can sample; UsageError for any other."""
    network, card, why = model.network, model.card, ""
    if not isinstance(network, IndexedUNet) or not isinstance(model.schedule, DiscreteVP):
        why = "is no UNet2DModel trained on the levels of a discrete schedule"
    elif card.classes is not None:
        why = "takes class labels"
    elif tuple(card.value_range) != (-1.0, 1.0):
        why = f"has images in {card.value_range}, not in -1 ... 1"
    elif card.parametrisation not in ("epsilon", "sample", "v_prediction"):
        why = f"predicts {card.parametrisation!r}"
    if why or not isinstance(network, IndexedUNet):
        raise UsageError(
            f"model {card.name!r} {why}, so that diffusers' pipelines cannot sample it; versus needs a model that they "
            "can, for instance digits"
        )
    return network


def make_peer(pair: Pair, model: Model, setting: Setting) -> Peer:
    """diffusers' side of a pair.

    Raises:
        UsageError: a model that diffusers' pipelines cannot sample, or steps that the scheduler cannot place.
    """
    network, mode = check_model(model), model.mode
    wrapped = mode.casts or mode.channels_last or mode.compile
    unet = InMode(network, setting.device) if wrapped else network.unet
    scheduler, clip = _scheduler(pair, model, network.schedule)
    try:
        scheduler.set_timesteps(setting.steps)
    except Exception as error:  # of many kinds: indices, divisions, shapes
        raise UsageError(f"diffusers' {pair.theirs} cannot place {counted(setting.steps, 'step')}: {error}") from None
    levels = _levels(pair, scheduler, network.schedule, setting.steps)
    if pair.theirs in PIPELINES:
        return Peer(PIPELINES[pair.theirs], _pipeline(pair, unet, scheduler, clip, setting), unet, levels, clip)
    return Peer(pair.theirs, _loop(pair, unet, scheduler, model.card.state_shape, setting), unet, levels, clip)


def _scheduler(pair: Pair, model: Model, schedule: DiscreteVP) -> tuple[Any, ClipRange | None]:
    """A scheduler on the model's betas, and the range that it clips x_0 to."""
    made = scheduler_class(pair)
    known = inspect.signature(made.__init__).parameters
    clip = model.card.clip
    can_clip = "clip_sample" in known and clip is not None and clip[0] == -clip[1]
    options = {
        "num_train_timesteps": schedule.train_steps,
        "trained_betas": betas_of(schedule),
        "prediction_type": model.card.parametrisation,
        "timestep_spacing": "trailing",
        "set_alpha_to_one": True,
        "clip_sample": can_clip,
        "clip_sample_range": clip[1] if clip is not None and can_clip else 1.0,
    }
    given = {name: value for name, value in options.items() if name in known} | pair.options
    return made(**given), clip if can_clip else None


def _levels(pair: Pair, scheduler: Any, schedule: DiscreteVP, steps: int) -> list[Level]:
    """Our levels where the scheduler has its timesteps; our own placement where those are more than the steps.

    A scheduler that does not go to the clean level ends at index 0.
    """
    indices = list(dict.fromkeys(float(t) for t in scheduler.timesteps))
    descend = all(later < earlier for earlier, later in pairwise(indices))
    if len(indices) != steps or not descend:
        return Trailing(clean=pair.clean)(schedule, steps)
    end = () if pair.clean else (0.0,)
    return Explicit(clean=pair.clean, index=(*indices, *end))(schedule, steps)


def _pipeline(pair: Pair, unet: nn.Module, scheduler: Any, clip: ClipRange | None, setting: Setting) -> Sample:
    import diffusers

    pipeline = getattr(diffusers, PIPELINES[pair.theirs])(unet=unet, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    arguments = dict(pair.step)
    if pair.theirs == "DDIMScheduler" and clip is not None:
        arguments["use_clipped_model_output"] = True  # eps follows from the clipped x_0, as it does in ours

    def sample(images: int, generator: torch.Generator | None) -> Tensor:
        result: Tensor = pipeline(
            batch_size=images,
            generator=generator,
            num_inference_steps=setting.steps,
            output_type="pt",
            return_dict=False,
            **arguments,
        )[0]
        return result

    return sample


def _loop(pair: Pair, unet: nn.Module, scheduler: Any, shape: Sequence[int], setting: Setting) -> Sample:
    """What a pipeline does, around a scheduler that has none."""
    from diffusers.utils.torch_utils import randn_tensor

    def sample(images: int, generator: torch.Generator | None) -> Tensor:
        x = randn_tensor((images, *shape), generator=generator, device=setting.device, dtype=torch.float32)
        scheduler.set_timesteps(setting.steps)
        x = x * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            output = unet(scheduler.scale_model_input(x, t), t, return_dict=False)[0]
            x = scheduler.step(output, t, x, return_dict=False, **pair.step)[0]
        result: Tensor = (x / 2 + 0.5).clamp(0, 1)
        return result

    return sample

"""`run_bench.py train cifar10`: a DDPM of small photographs.

J. Ho et al., arXiv 2006.11239: U-Net, eps prediction, 1,000 linear betas. It goes on where it was when the same command
is given again.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.quality.extractors import Chosen, load_extractor
from bench.quality.reference import load_reference
from bench.training.cifar_export import export
from bench.training.export import replace_folder
from bench.training.job import MODEL, Job, Say, prepare, to_stderr
from bench.training.loss_curve import LossCurve
from bench.training.losses import Keeping, Numerics, Reporter, Trained, denoising_loss, train
from bench.training.options import CifarOptions
from bench.training.recipe import Recipe
from bench.training.views import Views
from models.networks.execution import arithmetic
from models.networks.network import make_unet

_CURVE_ROWS, _CURVE_EVERY = 50, 100  # rows of a short training, and steps a row of a long one


def train_cifar10(options: CifarOptions, reporter: Reporter, say: Say = to_stderr) -> Path | None:
    """Train the denoiser, as far as time allows, and write the model folder.

    Args:
        options: everything about it.
        reporter: shows progress of a stage.
        say: takes lines for people to read: loss, rate and time left, and what was decided on the way.

    Returns:
        The model folder, `options.out / "model"`; None if time ran out before there was a network to write.

    Raises:
        UsageError: data, device, checkpoint or weights to start from cannot be used.
    """
    began = time.monotonic()
    job = prepare(options, began, say)
    views = _views(job)
    with arithmetic("tf32"):  # while it is trained; what is measured later is in float32 again
        trained, recipe = _denoise(job, views, reporter)
    if trained.steps == 0:
        say("time ran out before the first step of the denoiser; give the same command again to go on")
        return None
    folder = options.out / MODEL
    replace_folder(folder, lambda new: export(job, trained, recipe, views, new))
    return folder


def _views(job: Job) -> Views:
    options, measure = job.options, None
    if job.measured_by is None:
        job.say("no feature extractor, so no distances: train one of the same data first, and give it as --extractor")
    else:
        extractor = load_extractor(Chosen(str(job.measured_by)), None, job.device)
        extractor.check((), job.shape)
        measure = extractor, load_reference(None, extractor)
    return Views(
        folder=options.out,
        every=options.grid_every,
        schedule=job.schedule,
        shape=job.shape,
        steps=options.sampling_steps,
        images=options.quality_images,
        measure=measure,
    )


def _denoise(job: Job, views: Views, reporter: Reporter) -> tuple[Trained, Recipe]:
    options, device = job.options, job.device
    recipe = options.denoiser_recipe(job.start)
    torch.manual_seed(options.seed)  # the initial weights
    unet = begin_at_zero(make_unet(job.config)).to(device).to(memory_format=torch.channels_last)
    bf16 = options.use_bf16(device)
    predict = _compiled(unet, (options.batch, *job.shape), bf16, job.say) if options.use_compile(device) else None
    loss_of = denoising_loss(unet, job.train_set.images, job.schedule, recipe, Numerics(bf16, predict))
    every = min(_CURVE_EVERY, max(1, recipe.steps // _CURVE_ROWS))
    with reporter("denoiser", recipe.steps) as report:
        keep = Keeping(
            options.out / "denoiser",
            report,
            identity={"network": job.config, "data": job.train_set.sha256()},
            shard_mib=options.shard_mib,
            save_seconds=60.0 * options.checkpoint_minutes,
            deadline=job.deadline,
            read_every=options.read_every(device),
            curve=LossCurve(options.out / "loss.jsonl", every, recipe.batch, recipe.steps, job.say),
            watch=views,
        )
        return train(unet, loss_of, recipe, keep, job.start), recipe


def begin_at_zero(unet: nn.Module) -> nn.Module:
    """DDPM's initial weights: the last layer of the network, of each residual block and of each attention is zero."""
    for name, module in unet.named_modules():
        if name == "conv_out" or name.endswith((".conv2", ".to_out.0")):
            for parameter in module.parameters():
                nn.init.zeros_(parameter)
    return unet


def _compiled(unet: nn.Module, shape: tuple[int, ...], bf16: bool, say: Say) -> Callable[..., Any] | None:
    """The network compiled, tried out forwards and backwards; None, and the reason said, if that does not work."""
    device = next(unet.parameters()).device
    try:
        predict: Callable[..., Any] = torch.compile(unet.train())
        index = torch.zeros(shape[0], dtype=torch.int64, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output = predict(torch.zeros(shape, device=device), index, return_dict=False)[0]
        output.float().square().mean().backward()
    except Exception as error:  # a compiler may raise anything, and training goes without it
        torch.compiler.reset()
        say(f"torch.compile cannot be used here, training runs without: {type(error).__name__}: {str(error)[:300]}")
        return None
    finally:
        unet.zero_grad(set_to_none=True)
    return predict

"""The images of one cell and what they are worth; what they cost is measured apart, in `bench.running.rounds`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bench.purity.functions import KeptSampler
from bench.purity.unchanged import KeptFunctions, ProcessState, unchanged
from bench.quality.images import preview_kind, preview_size, shown, to_uint8
from bench.running.fit import Fits
from bench.running.generation import Generation
from bench.running.growth import Growth, Part
from bench.running.resolve import Declared, Resolved
from bench.running.same_images import Scored
from bench.running.score import Score
from bench.running.session import PLAIN, Session
from bench.running.solution import Problem, Solutions, has_solver_error
from bench.running.trajectory import Trajectory, WrongCount
from bench.timing.capture import Graph
from models.common.words import counted
from models.networks.execution import arithmetic
from samplers.about import About, about


@dataclass(frozen=True)
class Measurement:
    """What one cell gave.

    Attributes:
        columns: counts and quality, ready for the record.
        preview: the first images, uint8 (N, C, H, W).
    """

    columns: dict[str, Any]
    preview: Tensor


def measure(
    resolved: Resolved,
    session: Session,
    graphs: Callable[[], Graph],
    solutions: Solutions,
    fits: Fits,
    advanced: Callable[[int], None],
    growth: Growth | None = None,
) -> Measurement:
    """Generate and score the images of a cell.

    BadSamples, Impure, OtherImages, WrongCount and what the sampler raises go through.

    What the sampler changed of what cells share is put back before anything is worked out of its images.

    Args:
        resolved: the cell.
        session: what it runs on.
        graphs: makes empty graphs, for modes that capture.
        solutions: where reference solutions of the probability flow are kept.
        fits: what is fitted to models.
        advanced: told how many images are done.
        growth: keeps them for when there will be more, and has those of before; None: nothing is kept.
    """
    model, sampler, name = resolved.model, resolved.sampler, resolved.cell.sampler
    with unchanged(name, ProcessState()):  # asked before its images are made, which takes long
        said, declared = about(name, sampler), resolved.declared()
    resolved, fitted = fits(resolved)
    part = Part() if growth is None else growth.read(resolved)
    score = Score(session, resolved, part.score)
    if part.images < resolved.images:
        part = _generated(part, score, resolved, session, graphs, advanced, declared)
    asked = {"calls": part.calls / part.drawn, "nfe": part.evaluations / part.drawn}
    if growth is not None:
        part = replace(part, score=score.state())
        growth.write(resolved, part)
    quality, remarks = score.columns(resolved.seed)
    quality |= _solver_error(resolved, session, solutions, score, part.columns["generation_batch"])
    assert part.preview is not None, "every part has images"
    counts = part.columns | {
        **asked,
        **fitted,
        "calls_declared": declared.calls,
        "nfe_declared": declared.nfe,
        "stochastic": said.stochastic,
        "nfe_first_batch": part.columns["nfe_first_batch"] if declared.nfe is None else None,
        "preview_count": len(part.preview),
        "preview_kind": preview_kind(model.card.shape),
    }
    note = "; ".join([*_remarks(resolved, said, declared, **asked), *part.remarks, *remarks]) or None
    return Measurement(quality | counts | {"note": note}, part.preview)


def _generated(
    part: Part,
    score: Score,
    resolved: Resolved,
    session: Session,
    graphs: Callable[[], Graph],
    advanced: Callable[[int], None],
    declared: Declared,
) -> Part:
    """All images of a cell, of which there is a part already; the score takes those that are made.

    WrongCount for too few evaluations, and OtherImages if the first of all are others when they are made again.
    """
    model, name = resolved.model, resolved.cell.sampler
    watched = (session.weights, KeptFunctions(), KeptSampler(resolved.sampler))
    kept = [] if part.preview is None else [part.preview.to(session.device)]
    wanted, first = preview_size(model.card.shape) - sum(map(len, kept)), part.columns.get("nfe_first_batch")
    with arithmetic(resolved.mode.precision), unchanged(name, *watched):
        trajectory = Trajectory(session, resolved, graphs if resolved.mode.graph else None)
        fixed = resolved.mode.fixed_batch
        generation = Generation(trajectory, resolved.images, session.batch, fixed=fixed, first=part.images)
        for samples in generation:
            first = first or trajectory.evaluations / generation.drawn
            pixels = to_uint8(samples, model.card.value_range)
            if wanted > 0:
                kept.append(pixels[:wanted].clone())
                wanted -= len(kept[-1])
            score.add(samples, pixels)
            advanced(len(samples))
    drawn = part.drawn + generation.drawn
    calls, evaluations = part.calls + trajectory.calls, part.evaluations + trajectory.evaluations
    _require_calls(name, calls / drawn, declared.calls)
    preview = torch.cat(kept)
    with arithmetic(resolved.mode.precision), unchanged(name, *watched):
        Scored(resolved, shown(preview)).require_again(generation)
        trajectory.release()
    columns = {
        "nfe_first_batch": first,
        "guidance_batches": 2 - trajectory.together if resolved.has_halves else None,
        "captured": trajectory.captured,
        "generation_batch": generation.fitting.size,
        "batch_halvings": generation.fitting.halvings,
    }
    refusals = [] if trajectory.refusal is None else [trajectory.refusal]
    remarks = [*refusals, *generation.fitting.remarks("images were made")]
    if trajectory.differentiated:
        remarks.append("the network's derivatives are taken, by passes that are no evaluations: nfe leaves them out")
    return Part(resolved.images, calls, evaluations, drawn, columns, remarks, preview=preview)


def _require_calls(name: str, calls: float, declared: int | None) -> None:
    """WrongCount for fewer calls of the model than declared, or for none: some images then come from those of another.

    More are no fault: the cell is charged with what it made.
    """
    least = max(1, declared or 0)
    if calls < least:
        raise WrongCount(
            f"{name} made {counted(calls, 'evaluation')} an image, of which there have to be {least} or more: it keeps "
            "what the network has said of other images, or declares what it does not make"
        )


def _solver_error(
    resolved: Resolved, session: Session, solutions: Solutions, score: Score, batch: int
) -> dict[str, Any]:
    """The distance to the tight solution from the same noise, of a sampler for which that means anything.

    The solution is that of the network in plain float32, so that what a mode adds is in the distance.
    """
    model, identity = resolved.model, resolved.identity
    if not score.first or not has_solver_error(resolved.sampler, model.card.is_generator):
        return {}
    plain, clip = session.models[resolved.cell.model, PLAIN], identity["clip"]
    weaker = session.weaker_of(resolved.cell, PLAIN)
    guided = plain.guided(resolved.guidance, None if weaker is None else weaker.network)
    problem = Problem(
        identity=resolved.predictions,
        denoiser=lambda numbers: session.denoiser(plain, resolved.seed, numbers, clip, guided),
        shape=model.card.state_shape,
        first=resolved.levels[0],
        last=resolved.levels[-1],
        seed=resolved.seed,
        count=identity["solver_images"],
        batch=batch,
        device=session.device,
        jumps=resolved.guidance.interval if resolved.guidance.varies else (),
    )
    with arithmetic(PLAIN.precision):
        return dict(solutions.columns(problem, torch.cat(score.first)))


def _remarks(resolved: Resolved, said: About, declared: Declared, calls: float, nfe: float) -> list[str]:
    """What whoever reads a cell's row must know."""
    remarks = list[str]()
    if declared.calls is not None and calls != declared.calls:
        remarks.append(f"the sampler declares {counted(declared.calls, 'evaluation')} an image, but made {calls:g}")
    elif declared.nfe is not None and nfe != declared.nfe:
        expected = counted(declared.nfe, "network evaluation")
        remarks.append(f"the guidance was to take {expected} an image, but took {nfe:g}")
    if said.needs == "generator" and not resolved.model.card.is_generator:
        remarks.append("a denoiser's x_0 is a posterior mean, not a sample")
    if resolved.model.card.round_time:
        remarks.append("the network is told the nearest whole index of every level (round_time)")
    return remarks + ([said.caveat] if said.caveat else [])

"""The images of one cell and what they are worth; what they cost is measured apart, in `bench.running.rounds`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.purity.definitions import KeptSampler
from bench.purity.tables import OwnTables, tables_of
from bench.purity.unchanged import KeptNames, ProcessState, unchanged
from bench.quality.decoding import Decoding
from bench.quality.images import preview_kind, preview_size, shown, to_uint8
from bench.running.fit import Fits
from bench.running.generation import Generation
from bench.running.part import Part, joined
from bench.running.resolve import Declared, Resolved
from bench.running.same_images import FEWEST, Scored, places, require_again
from bench.running.score import Score, quality_columns
from bench.running.session import PLAIN, Session
from bench.running.solution import Problem, Solutions, has_solver_error
from bench.running.trajectory import Trajectory, WrongCount
from bench.study.placement import grid_ends
from bench.timing.capture import Graph
from models.common.words import counted
from models.networks.execution import arithmetic
from samplers.about import About, about

_DERIVATIVES = "the network's derivatives are taken, by passes that are no evaluations: nfe leaves them out"


@dataclass(frozen=True)
class Measurement:
    """What one cell gave.

    Attributes:
        columns: counts and quality, ready for the record.
        preview: the first images, uint8 (N, C, H, W).
        pixels: all of them, uint8 (N, H, W, C) on the CPU, where they are to be saved; else None.
    """

    columns: dict[str, Any]
    preview: Tensor
    pixels: Tensor | None = None


class Cells:
    """Makes the images of cells, and scores them.

    Args:
        session: what they run on.
        graphs: makes empty graphs, for modes that capture.
        solutions: reference solutions of the probability flow.
        fits: what is fitted to models.
    """

    def __init__(self, session: Session, graphs: Callable[[], Graph], solutions: Solutions, fits: Fits) -> None:
        self._session, self._graphs, self._solutions, self._fits = session, graphs, solutions, fits

    def generate(
        self, resolved: Resolved, images: range, advanced: Callable[[int], None], before: Part | None = None
    ) -> Part:
        """The images of these numbers, made now. The first, or those of the part before, are made again.

        BadSamples, Impure, OtherImages, WrongCount and what the sampler raises go through.

        Args:
            resolved: the cell.
            images: consecutive numbers.
            advanced: told how many are done.
            before: the part of the cell's first images, which another process may have made; None: there is none.
        """
        resolved, _ = self._fits(resolved)
        declared = _asked(resolved)[1]
        session, model, name = self._session, resolved.model, resolved.cell.sampler
        score, watched = Score(session, resolved, images), self._watched(resolved)
        head, first, wanted = list[Tensor](), 0.0, max(FEWEST, preview_size(model.card.shape) - images.start)
        elsewhere = list[tuple[int, Tensor]]()
        tables = tables_of(type(resolved.sampler))
        with arithmetic(resolved.mode.precision), unchanged(name, *watched):
            trajectory = Trajectory(session, resolved, self._graphs if resolved.mode.graph else None)
            generation, decoding = self._generation(trajectory, resolved, images), Decoding(model, self._session.batch)
            for samples in generation:
                first = first or trajectory.evaluations / generation.drawn
                pixels = to_uint8(decoding(samples), model.card.value_range)
                if not head:
                    later = places(len(samples))[1:]
                    elsewhere = [(images.start + at, pixels[at : at + FEWEST].clone()) for at in later]
                if wanted > 0:
                    head.append(pixels[:wanted].clone())
                    wanted -= len(head[-1])
                score.add(samples, pixels)
                advanced(len(samples))
        calls, evaluations = trajectory.calls, trajectory.evaluations
        _require_calls(name, calls / generation.drawn, declared.calls)
        made = torch.cat(head)
        again = (images.start, made) if before is None or before.preview is None else (0, before.preview)
        with arithmetic(resolved.mode.precision), unchanged(name, *watched):
            scored = [Scored(resolved, shown(each.to(session.device)), at) for at, each in (again, *elsewhere)]
            require_again(scored, generation)
            trajectory.release()
        columns = {"nfe_first_batch": first} | _columns(resolved, trajectory, generation)
        columns |= {} if decoding.batch is None else {"decode_batch": decoding.batch}
        remarks = [*_said(trajectory, generation), *_kept(tables), *decoding.fitting.remarks("latents were decoded")]
        kept, told = score.finish()
        counts = (calls, evaluations, generation.drawn)
        preview = made[: max(0, preview_size(model.card.shape) - images.start)]
        shows = preview if len(preview) else None
        return Part(images.start, len(images), *counts, columns, [*remarks, *told], kept, shows, score.pixels)

    def measure(self, resolved: Resolved, parts: Sequence[Part], *, again: bool = False) -> Measurement:
        """What all images of a cell are worth, which parts of it hold.

        With `again` the first are made again, as where other processes have made the parts.

        Scores are taken out of the parts, for the memory. What the sampler changed of what cells share is put back
        before anything is worked out of its images.
        OtherImages, Impure and what the sampler raises go through.
        """
        resolved, fitted = self._fits(resolved)
        said, declared = _asked(resolved)
        part = joined([part.on(self._session.device) for part in parts])
        assert part.preview is not None, "the first part has images"
        if again:
            self._require_same(resolved, part.preview, part.columns["generation_batch"])
        asked = {"calls": part.calls / part.drawn, "nfe": part.evaluations / part.drawn}
        first = part.score.pop("first", None)
        quality, remarks = quality_columns(self._session, resolved, part.score)
        quality |= self._beside_the_flow(resolved, first, part.columns["generation_batch"])
        counts = part.columns | {
            **grid_ends(resolved.sampler, resolved.levels),
            **asked,
            **fitted,
            "calls_declared": declared.calls,
            "nfe_declared": declared.nfe,
            "stochastic": said.stochastic,
            "bibtex": _bibtex(resolved, said),
            "nfe_first_batch": part.columns["nfe_first_batch"] if declared.nfe is None else None,
            "preview_count": len(part.preview),
            "preview_kind": preview_kind(resolved.model.card.shape),
        }
        note = "; ".join([*_remarks(resolved, said, declared, **asked), *part.remarks, *remarks]) or None
        return Measurement(quality | counts | {"note": note}, part.preview, part.pixels)

    def _generation(self, trajectory: Trajectory, resolved: Resolved, images: range) -> Generation:
        """Of images in batches as all of the cell have them: the last part may have fewer than a batch."""
        batch = min(self._session.batch, resolved.images)
        return Generation(trajectory, images, batch, fixed=resolved.mode.fixed_batch)

    def _watched(self, resolved: Resolved) -> tuple[Any, ...]:
        return self._session.weights, KeptNames(), KeptSampler(resolved.sampler)

    def _require_same(self, resolved: Resolved, preview: Tensor, batch: int) -> None:
        """OtherImages if this process makes other images than others have made, in batches that have fitted."""
        session = self._session
        with arithmetic(resolved.mode.precision), unchanged(resolved.cell.sampler, *self._watched(resolved)):
            trajectory = Trajectory(session, resolved, self._graphs if resolved.mode.graph else None)
            fixed, images = resolved.mode.fixed_batch, range(resolved.images)
            require_again([Scored(resolved, shown(preview))], Generation(trajectory, images, batch, fixed=fixed))
            trajectory.release()

    def problem(self, resolved: Resolved, batch: int | None = None) -> Problem | None:
        """What a cell's solver error and PSNR are measured from; None if it has none.

        The solution is that of the network in plain float32, so that what a mode adds is in the distance.

        Args:
            resolved: the cell.
            batch: images solved at a time, if they fit into the memory (default: the session's).
        """
        session, model, identity = self._session, resolved.model, resolved.identity
        if not identity["solver_images"] or not has_solver_error(resolved.sampler, model.card.is_generator):
            return None
        plain, clip = session.models[resolved.cell.model, PLAIN], identity["clip"]
        weaker = session.weaker_of(resolved.cell, PLAIN)
        guided = plain.guided(resolved.guidance, None if weaker is None else weaker.network)
        return Problem(
            identity=resolved.predictions,
            denoiser=lambda numbers: session.denoiser(plain, resolved.seed, numbers, clip, guided),
            shape=model.card.state_shape,
            first=resolved.levels[0],
            last=resolved.levels[-1],
            seed=resolved.seed,
            count=identity["solver_images"],
            batch=batch or session.batch,
            device=session.device,
            jumps=resolved.guidance.interval if resolved.guidance.varies else (),
            steps=session.study.solver_steps,
            decoded=Decoding(plain),
            value_range=model.card.value_range,
        )

    def _beside_the_flow(self, resolved: Resolved, first: Tensor | None, batch: int) -> dict[str, Any]:
        """The distance to the tight solution from the same noise, of a sampler for which that means anything."""
        problem, metrics = self.problem(resolved, batch), self._session.study.metrics
        if first is None or problem is None:
            return {}
        found = dict[str, Any]()
        with arithmetic(PLAIN.precision):
            if "solver_error" in metrics:
                found |= self._solutions.columns(problem, first)
            if "psnr" in metrics:
                found |= self._solutions.psnr(problem, first)
        return found


def _asked(resolved: Resolved) -> tuple[About, Declared]:
    """What a sampler says of itself, asked before its images are made, which takes long."""
    name, sampler = resolved.cell.sampler, resolved.sampler
    with unchanged(name, ProcessState()):
        return about(name, sampler), resolved.declared()


def _columns(resolved: Resolved, trajectory: Trajectory, generation: Generation) -> dict[str, Any]:
    """Of a record: how images were made."""
    return {
        "guidance_batches": 2 - trajectory.together if resolved.has_halves else None,
        "captured": trajectory.captured,
        "generation_batch": generation.fitting.size,
        "batch_halvings": generation.fitting.halvings,
    }


def _kept(tables: OwnTables) -> list[str]:
    """What a plugin's sampler keeps, of which nobody can tell whether its images depend on it."""
    names = ", ".join(tables.changed())
    return [f"the sampler keeps {names} from call to call: images may depend on what ran before"] if names else []


def _said(trajectory: Trajectory, generation: Generation) -> list[str]:
    """The same in words, of what is out of the ordinary."""
    refusals = [] if trajectory.refusal is None else [trajectory.refusal]
    derivatives = [_DERIVATIVES] if trajectory.differentiated else []
    return [*refusals, *generation.fitting.remarks("images were made"), *derivatives]


def _bibtex(resolved: Resolved, said: About) -> dict[str, str] | None:
    """What plugins bring for the bibliography of whoever shows a cell's row."""
    found = {"sampler": said.bibtex, "grid": resolved.grid.bibtex, "guidance": resolved.guidance.bibtex}
    return {name: text for name, text in found.items() if text} or None


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

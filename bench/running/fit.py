"""What samplers and grids of a run have fitted to its models: each once a model, guidance and clipping, and, where it
is for a number of steps or a sampler, once for each; and kept.

A fit is of the network in plain float32: all modes and seeds share it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from bench.fitting.model import SEED, CountedModel
from bench.purity.unchanged import ProcessState, unchanged
from bench.running.code_hash import code_sha256_of
from bench.running.resolve import Resolved
from bench.running.session import FIT_PROMPTS, PLAIN, Session
from models.common.errors import UsageError
from models.common.explain import shown
from models.common.kept import Found, Kept
from models.denoiser import Denoiser
from models.fitted import OWN, Fitted, Solver, takes_fit
from models.grids.fitted import FittedGrid
from models.networks.execution import arithmetic
from models.networks.network import counted
from models.plugins.foreign import foreign
from models.plugins.plain import parameters_of
from samplers import SAMPLERS, Sampler

Columns = dict[str, Any]


class Fit(NamedTuple):
    """What was fitted.

    Attributes:
        found: tensors on the CPU, as what was fitted reads them.
        images: of noise that it took.
        nfe: network evaluations of the whole fit, of all its images.
        seconds: that it took when it was made.
    """

    found: Mapping[str, Tensor]
    images: int
    nfe: int
    seconds: float


class Part(NamedTuple):
    """One of the things that are fitted for a cell.

    Attributes:
        of: what it is of the cell: its sampler, another sampler that its grid is fitted to, or its grid.
        spec: its specification.
        thing: the sampler or grid.
        solver: the cell with the sampler that is run in the fit.
        content: all that the fit depends on.
    """

    of: Literal["sampler", "solver", "grid"]
    spec: str
    thing: Fitted
    solver: Resolved
    content: dict[str, Any]


def parts_of(resolved: Resolved) -> list[Part]:
    """What is fitted for a cell, each after what it needs.

    Raises:
        UsageError: a sampler or grid says that its fit depends on parameters that it has not.
    """
    cell, grid, named = resolved.cell, resolved.grid, _solver_of(resolved)
    found = list[Part]()
    if isinstance(resolved.sampler, Fitted) and resolved.sampler.takes_fit:
        found.append(Part("sampler", cell.sampler, resolved.sampler, resolved, _of_sampler(resolved, resolved.sampler)))
    if not isinstance(grid, FittedGrid):
        return found
    if grid.fits_sampler is not None and isinstance(named.sampler, Fitted) and named.sampler.takes_fit:
        content = _of_sampler(named, named.sampler)
        if content not in [part.content for part in found]:  # else it is fitted, and counted, once
            found.append(Part("solver", named.cell.sampler, named.sampler, named, content))
    content = _shared(resolved, grid, cell.grid) | {"grid_code": resolved.identity["grid_code_sha256"]}
    if grid.fits_sampler is not None:
        content["solver"] = _said(named.sampler, parameters_of(named.sampler))
    return [*found, Part("grid", cell.grid, grid, named, content)]


class Fits:
    """What is fitted to the models of a run, each once, kept in a folder.

    Args:
        folder: made when something is kept. A file that is damaged is fitted again.
        session: the models.
    """

    def __init__(self, folder: Path, session: Session) -> None:
        self._kept, self._session = Kept(folder), session

    def __call__(self, resolved: Resolved) -> tuple[Resolved, Columns]:
        """A cell with what its sampler and its grid take, and record columns of that: none if they take nothing.

        Returns:
            fit_images: images that the fit took.
            fit_nfe: network evaluations of the whole fit, whatever the number of cells that share it.
            fit_s: seconds of the whole fit.
            fitted_t: noisy times of the levels, where the grid was fitted.
        """
        found = self.of(resolved)
        if not found:
            return resolved, {}
        images, nfe, seconds = (sum(each) for each in zip(*(fit[1:] for fit in found.values()), strict=True))
        columns: Columns = {"fit_images": images, "fit_nfe": nfe, "fit_s": seconds}
        if "sampler" in found:
            resolved = _with_fit(resolved, found["sampler"])
        if isinstance(resolved.grid, FittedGrid):
            levels = resolved.grid.fitted(resolved.model.schedule, resolved.cell.steps, found["grid"].found)
            resolved = replace(resolved, levels=levels)
            columns["fitted_t"] = [level.t for level in levels if not level.is_clean]
        return resolved, columns

    def of(self, resolved: Resolved, last: str | None = None) -> dict[str, Fit]:
        """What is kept of a cell, or fitted now and kept, by what it is of the cell.

        Args:
            resolved: the cell.
            last: the name of a file: what comes after it is left out.
        """
        found = dict[str, Fit]()
        for part in parts_of(resolved):
            found[part.of] = self._one(part, found.get("solver", found.get("sampler")))
            if self._kept.place(part.content)[0].name == last:
                break
        return found

    def places(self, resolved: Resolved) -> list[Path]:
        """The files of what a cell takes, which need not be there, each after what it needs."""
        return [self._kept.place(part.content)[0] for part in parts_of(resolved)]

    def _one(self, part: Part, before: Fit | None) -> Fit:
        """What is kept, or fitted now.

        Args:
            part: that is wanted.
            before: the fit of the sampler that it is fitted to, if there is one.
        """
        if (kept := self._kept.get(part.content)) is not None:
            said = kept.said
            return Fit(kept.tensors, int(said["images"]), int(said["nfe"]), float.fromhex(said["seconds"]))
        solver = part.solver
        if isinstance(part.thing, FittedGrid) and part.thing.fits_sampler is not None and takes_fit(solver.sampler):
            assert before is not None, "a sampler is fitted before the grid that is fitted to it"
            solver = _with_fit(solver, before)
        with arithmetic(PLAIN.precision), torch.inference_mode():
            found = self._fitted(part, solver)
        said = {"images": str(found.images), "nfe": str(found.nfe), "seconds": found.seconds.hex()}
        self._kept.put(part.content, Found(found.found, said))
        return found

    def _fitted(self, part: Part, solver: Resolved) -> Fit:
        thing, start, model = part.thing, time.perf_counter(), self._model(solver)
        with (
            unchanged(part.spec, ProcessState(), self._session.weights),
            foreign(f"{part.spec}: fit()", type(thing).fit),
        ):
            found = thing.fit(model)
            if not (isinstance(found, Mapping) and all(isinstance(each, Tensor) for each in found.values())):
                raise TypeError(f"expected tensors by name, got {shown(found)}")
        return Fit(found, thing.fit_images, model.nfe, time.perf_counter() - start)

    def _model(self, resolved: Resolved) -> CountedModel:
        session, cell = self._session, resolved.cell
        plain, weaker = session.models[cell.model, PLAIN], session.weaker_of(cell, PLAIN)
        shape = plain.card.state_shape

        def make(numbers: Tensor) -> tuple[Denoiser, Callable[[], int]]:
            (network, own), *others = [counted(each.network, shape) for each in (plain, weaker) if each is not None]
            guided = plain.guided(resolved.guidance, others[0][0] if others else None, network)
            # prompts that are on the device however many images the study has
            asked = numbers if plain.prompts is None else numbers % FIT_PROMPTS
            model = session.denoiser(plain, SEED, asked, resolved.clip, guided, resolved.fitted)
            return model, lambda: own.images + sum(count.images for _, count in others)

        return CountedModel(
            plain.schedule,
            shape,
            plain.card.state_range,
            make,
            session.batch,
            session.device,
            cell.steps,
            _solver(resolved.sampler),
            resolved.guidance.interval if resolved.guidance.varies else (),
        )


def _with_fit(resolved: Resolved, fit: Fit) -> Resolved:
    """A cell with what its sampler finds in `model.fitted`."""
    sampler = resolved.sampler
    assert isinstance(sampler, Fitted)
    with foreign(f"{resolved.cell.sampler}: read()", type(sampler).read):
        return replace(resolved, fitted=sampler.read(fit.found, resolved.cell.steps))


def _solver(sampler: Sampler) -> Solver:
    def no_noise(like: Tensor) -> Tensor:
        raise ValueError("it draws noise, and what is fitted is fitted to samplers that draw none")

    return lambda model, x, levels: sampler.sample(model, x, list(levels), no_noise)


def _solver_of(resolved: Resolved) -> Resolved:
    """The cell with the sampler that its grid is fitted to."""
    spec = resolved.grid.fits_sampler if isinstance(resolved.grid, FittedGrid) else None
    if spec is None or spec == OWN:
        return resolved
    return replace(resolved, cell=replace(resolved.cell, sampler=spec), sampler=SAMPLERS.make(spec))


def _of_sampler(resolved: Resolved, sampler: Sampler) -> dict[str, Any]:
    """All that the fit of a cell's sampler depends on."""
    content = _shared(resolved, sampler, resolved.cell.sampler)
    return content | {"code": _said(sampler, {})["code"]}


def _shared(resolved: Resolved, thing: Any, spec: str) -> dict[str, Any]:
    """What the fit of any thing depends on: the model, what the thing is, and those of its parameters that it says."""
    parameters = parameters_of(thing)
    wanted = tuple(parameters) if thing.fit_parameters is None else thing.fit_parameters
    if wrong := [name for name in wanted if name not in parameters]:
        raise UsageError(
            f"{spec}: fit_parameters has {', '.join(map(repr, wrong))}; expected names of its parameters: "
            f"{', '.join(parameters) or 'there are none'}"
        )
    content = {"identity": resolved.predictions, "seed": str(SEED), "type": type(thing).__qualname__}
    told = {name: parameters[name] for name in wanted}
    return content | {"parameters": told, "steps": resolved.cell.steps if thing.fits_steps else None}


def _said(sampler: Sampler, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a sampler is that is run: its code, too."""
    return {"type": type(sampler).__qualname__, "code": code_sha256_of(sampler), "parameters": dict(parameters)}

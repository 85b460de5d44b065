"""Joins the records of several run folders, such as the parts of a study, in a new one. Nothing is measured."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from math import isclose
from pathlib import Path
from typing import Any, NamedTuple

from bench.model_record import FIRST_LOOK, Look, read_look, write_kept
from bench.packed import is_file, read_bytes
from bench.record import IMAGE_FILES, Record, RunFolder
from bench.report.data.distances import quality_columns
from models.common.errors import UsageError
from models.common.writing import naming, new_folder, write_bytes

_OTHERWISE = ("seeds", "device", "threads", "timeout")
"""In what the studies of runs that are joined may differ."""

_COUNTS = ("calls", "calls_declared", "nfe", "nfe_declared")
_AGREE, _ROUNDED = 1e-6, 5e-10
"""How far two results of a cell may be apart: as a fraction of the larger, and, as of values near 0, anyway."""

_CODE = {
    "sampler_sha256": ("sampler", "sampler"),
    "grid_code_sha256": ("grid", "grid"),
    "guidance_code_sha256": ("guidance", "guidance"),
    "architecture_sha256": ("the network of model", "model", "model_sha256"),
    "guidance_architecture_sha256": ("the network of model", "guidance_model", "guidance_model_sha256"),
    "extractor_code_sha256": ("extractor", "extractor"),
}
"""The hashes of code, and of the files, variables and packages that it reads: what it is of, by columns."""

_LONGEST, _DIGITS = 100, 12  # characters of a value, and of a hash, in an error


class Joined(NamedTuple):
    """How many cells a joined run has, how many of them failed, and how many have no record."""

    cells: int
    failed: int
    missing: int


class _Found(NamedTuple):
    """A record, and the run that it is from."""

    record: Record
    folder: RunFolder


def merge(runs: Sequence[Path], out: Path, warn: Callable[[str], None] = lambda _: None) -> Joined:
    """Join runs; previews, images, tracebacks and what was seen of models go with the records. Nobody sees half of it.

    Args:
        runs: run folders.
        out: folder to make.
        warn: told of the files that are no records, which are left out.

    Raises:
        UsageError: a folder that is no run, or given twice; runs of several studies, or whose images grow, or that
            other code has measured; two results of a cell that are not the same; or something is where the joined run
            is to be.
    """
    folders = _folders(runs)
    if os.path.lexists(out):
        raise UsageError(f"{str(out)!r} is there already; merge makes a new run: choose another folder with --out")
    manifests = list(map(_manifest, folders))
    study = _study(folders, [manifest["study"] for manifest in manifests])
    found = _records(folders, warn)
    if not found:
        raise UsageError(f"no cell of {', '.join(map(str, runs))} is measured yet, so that there is nothing to join")
    cells = _cells(manifests, found)
    published = _once(entry for manifest in manifests for entry in manifest.get("published", ()))
    with new_folder(out) as place:
        joined = RunFolder(place)
        joined.create()
        for record, folder in found.values():
            _copy(record, [folder, *folders], joined)
        if (look := _look(folders, warn)) != Look():
            write_kept(place / FIRST_LOOK, look)
        joined.write_manifest(study, cells, published, manifests[0].get("batch"))
    failed = sum(each.record["status"] == "failed" for each in found.values())
    return Joined(len(found), failed, len(cells) - len(found))


def _folders(runs: Sequence[Path]) -> list[RunFolder]:
    if not runs:
        raise UsageError("no run was given; expected run folders of one study, such as its parts")
    if len({path.resolve() for path in runs}) < len(runs):
        raise UsageError(f"a run was given twice: {', '.join(map(str, runs))}; give each run once")
    return [RunFolder(path) for path in runs]


def _manifest(folder: RunFolder) -> dict[str, Any]:
    manifest = folder.manifest()
    if manifest.get("looks"):
        raise UsageError(
            f"the images of {str(folder.path)!r} grew: which settings have more was decided among those of that run. "
            "merge takes runs that were made without --minutes and until"
        )
    return manifest


def _study(folders: Sequence[RunFolder], studies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first, with the seeds of all; UsageError if they differ in anything else that counts."""
    first, *others = ({key: value for key, value in study.items() if key not in _OTHERWISE} for study in studies)
    for folder, other in zip(folders[1:], others, strict=True):
        if (apart := _difference(first, other)) is not None:
            key, *values = apart
            ours, theirs = (json.dumps(value)[:_LONGEST] for value in values)
            raise UsageError(
                f"not the same study: {key} is {ours} in {str(folders[0].path)!r} and {theirs} in "
                f"{str(folder.path)!r}; merge takes runs of one study, which may differ in {', '.join(_OTHERWISE)}"
            )
    return studies[0] | {"seeds": list(dict.fromkeys(seed for study in studies for seed in study["seeds"]))}


def _difference(ours: Any, theirs: Any, at: str = "") -> tuple[str, Any, Any] | None:
    """The first place in which two values of JSON differ, with what is there; None if they do not."""
    if ours == theirs:
        return None
    if isinstance(ours, dict) and isinstance(theirs, dict):
        pairs = [(f"{at}.{key}".lstrip("."), ours.get(key), theirs.get(key)) for key in {**ours, **theirs}]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(f"{at}[{n}]", *pair) for n, pair in enumerate(zip(ours, theirs, strict=True))]
    else:
        pairs = []
    return next((apart for key, a, b in pairs if (apart := _difference(a, b, key)) is not None), (at, ours, theirs))


def _records(folders: Sequence[RunFolder], warn: Callable[[str], None]) -> dict[str, _Found]:
    """The record of each cell that is to be kept."""
    found, before = dict[str, _Found](), dict[tuple[str, ...], _Found]()
    for folder in folders:
        for record in folder.records():
            new = _Found(record, folder)
            _check_code(new, before)
            found[record["id"]] = _better(found[record["id"]], new) if record["id"] in found else new
        for cell, reason in folder.broken.items():
            warn(f"{folder.cells / cell}.json is no record ({reason}); it is left out")
    return found


def _check_code(new: _Found, before: dict[tuple[str, ...], _Found]) -> None:
    """UsageError if other code has measured a record than those before it: nobody could tell their rows apart.

    Args:
        new: the record.
        before: a record before it, by what it has in common with others; those of this one are added.
    """
    for column, what, *same in _measured_by(new.record):
        first = before.setdefault((column, what, *same), new)
        ours, theirs = (each.record.get(column) for each in (first, new))
        if ours != theirs and first.folder is not new.folder:
            raise UsageError(
                f"not measured by the same code: {what} is another, or reads something else: {column} is "
                f"{str(ours)[:_DIGITS]} in {str(first.folder.path)!r} and {str(theirs)[:_DIGITS]} in "
                f"{str(new.folder.path)!r}. Run the study again in one of them, which measures what has changed, or "
                "look at both as they are with report or compare"
            )


def _measured_by(record: Record) -> Iterator[tuple[str, ...]]:
    """What has measured a record: the column, what that is of, and what has to be the same for it to be comparable."""
    yield "code_sha256", "sampler-bench"
    yield "version_torch", "torch", record["device_name"]
    # where packages differ, as between machines, the hash of code that imports them says nothing of the code
    packages = json.dumps({name: each for name, each in record.items() if name.startswith("version_")}, sort_keys=True)
    for column, (what, *names) in _CODE.items():
        if record.get(names[0]) is not None:
            name, *others = (str(record.get(each)) for each in names)
            yield column, f"{what} {name}", packages, *others


def _better(first: _Found, second: _Found) -> _Found:
    """Of two records of a cell a result, of two results that which was timed in more rounds, else the first."""
    if "failed" in (first.record["status"], second.record["status"]):
        return second if first.record["status"] == "failed" and second.record["status"] == "ok" else first
    for name in _compared(first.record | second.record):
        a, b = (each.record.get(name) for each in (first, second))
        if not _agree(a, b):
            raise UsageError(
                f"two results of the cell {first.record['id']} ({first.record['sampler']} on {first.record['grid']}, "
                f"{first.record['steps']} steps, seed {first.record['seed']}) are not the same: {name} is {a} in "
                f"{str(first.folder.path)!r} and {b} in {str(second.folder.path)!r}; leave one of the runs out, or "
                "measure the cell again with --force"
            )
    rounds = [each.record.get("timing_rounds") or 0 for each in (first, second)]
    return second if rounds[1] > rounds[0] else first


def _compared(record: Record) -> list[str]:
    """The columns that do not depend on how fast a machine is."""
    qualities = [name for each in quality_columns(record) for name in (each.key, each.std, f"{each.key}_left_out")]
    return [name for name in (*qualities, *_COUNTS) if name in record]


def _agree(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_agree, a, b))
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return isclose(a, b, rel_tol=_AGREE, abs_tol=_ROUNDED)
    return bool(a == b)


def _cells(manifests: Sequence[dict[str, Any]], found: dict[str, _Found]) -> list[str]:
    """The names of all cells, the baseline's first, as reports expect them: of these who was measured."""
    baselines = dict.fromkeys(cell for each in manifests for cell in each["cells"][: len(each["study"]["seeds"])])
    others = (cell for each in manifests for cell in each["cells"])
    return list(dict.fromkeys([*sorted(baselines, key=lambda cell: cell not in found), *others]))


def _look(folders: Sequence[RunFolder], warn: Callable[[str], None]) -> Look:
    """What all have seen of their models and distances, once."""
    looks = list[Look]()
    for folder in folders:
        look, damage = read_look(folder.files)
        looks.append(look)
        if damage is not None:
            warn(f"{damage}; it is left out")
    models = _once(model.model_dump() for look in looks for model in look.models)
    floors = _once(each.model_dump() for look in looks for each in look.floors)
    return Look.model_validate({"models": models, "floors": floors})


def _once(entries: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of JSON, equal ones once."""
    return list({json.dumps(entry, sort_keys=True): entry for entry in entries}.values())


def _copy(record: Record, sources: Sequence[RunFolder], target: RunFolder) -> None:
    """Write a record, and copy what is kept beside it in the first of these runs, and the images that one has saved."""
    cell, source = record["id"], sources[0]
    for path, place in ((source.preview(cell), target.preview(cell)), (source.traceback(cell), target.traceback(cell))):
        if is_file(path):
            write_bytes(place, read_bytes(path))
    for kind in IMAGE_FILES if record["status"] == "ok" else ():
        saved = next((path for each in sources if (path := each.images(cell, kind)).exists()), None)
        if saved is not None:
            with naming(target.images(cell, kind)):
                copy = shutil.copytree if saved.is_dir() else shutil.copyfile
                copy(saved, target.images(cell, kind))
    target.write(record)

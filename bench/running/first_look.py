"""What a run looks at before its first cell, once: whether each model is what its card says, in short, and the floors.

It is kept in `first-look.json` of the run folder, which the report reads; a folder without one reports all the same. A
model that `check-model` has checked on real images is not looked at again: that check's words are taken over.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.conformance.model_check import BRIEF, Check, check_model
from bench.model_record import FIRST_LOOK, Floors, Look, ModelLook, read_kept, read_look, write_kept
from bench.quality.datasets import ROOT_VARIABLE, data_root
from bench.quality.floors import measure_floors, noise_images
from bench.running.code_hash import architecture_sha256, look_sha256
from bench.running.session import PLAIN, Session
from bench.sealed_json import NewerRun
from models.common.writing import remove_leftovers
from models.loading.model import Model
from models.loading.zoo import load_model
from models.networks.execution import arithmetic
from models.plugins.foreign import INTERRUPTIONS, told

Tell = Callable[[str], None]

_INSTEAD = f"choose another folder for data with {ROOT_VARIABLE}"


def first_look(folder: Path, look: Callable[[Look, Tell], Look], warn: Tell) -> None:
    """Look at what has not been looked at yet, keep it in the folder, and tell what is wrong with the models.

    Nothing that is found, or goes wrong, stops a run; but NewerRun if a newer version has written the folder's look.

    Args:
        folder: of the run.
        look: what there is to be known, given what was known before; see `looked`.
        warn: told.
    """
    before, damage = read_look(folder)
    if damage is not None:
        warn(f"{damage}; it is written again")
    found = look(before, warn)
    for text in found.warnings:
        warn(text)
    if found == before and damage is None:
        return
    try:
        write_kept(folder / FIRST_LOOK, found)
    except (OSError, ValueError) as error:
        warn(f"{folder / FIRST_LOOK} could not be written: {error}")


def looked(session: Session, before: Look, warn: Tell) -> Look:
    """What is to be known of a session's models, given what was known before, which is not asked for again."""
    # models that this run does not have, such as one whose card was wrong, are none of its report's business
    return Look(models=_models(session, before.models, warn), floors=_floors(session, before.floors))


def remember(model: Model, check: Check) -> None:
    """Keep a check on real images for the runs that follow, by the hashes of weights, card and a plugin's network."""
    path = _path(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    write_kept(path, _kept(model, check))


def refuse_newer_check(model: Model) -> None:
    """NewerRun if a newer version has checked a model, whose words are not to be lost."""
    read_kept(_path(model), ModelLook, _INSTEAD)


def _path(model: Model) -> Path:
    code = architecture_sha256(model)
    return data_root() / "checks" / f"{model.sha256}{'' if code is None else f'-{code[:16]}'}.json"


def _kept(model: Model, check: Check) -> ModelLook:
    return ModelLook(
        model=model.card.name,
        model_sha256=model.sha256,
        architecture_sha256=architecture_sha256(model),
        data=check.data,
        evaluations=check.evaluations,
        wrong=check.bad,
        code_sha256=look_sha256(),
    )


def _models(session: Session, before: Sequence[ModelLook], warn: Tell) -> list[ModelLook]:
    """What is wrong with each of the session's models, once, whatever it is called."""
    found: dict[tuple[str, str | None], ModelLook] = {}
    for name in dict.fromkeys(name for name, _ in session.models):
        subject = next(model for (each, _), model in session.models.items() if each == name)
        if (look := _looked(session, name, subject, before, warn)) is not None:
            study = None if session.study.changes_of(name) is None else session.given or session.study.name
            found.setdefault(look.key, look.model_copy(update={"model": subject.card.name, "study": study}))
    return list(found.values())


def _looked(session: Session, name: str, subject: Model, before: Sequence[ModelLook], warn: Tell) -> ModelLook | None:
    """The recorded check of a model, or what a run before found, or a brief look; None for one that needs none."""
    try:
        if (recorded := _recorded(subject, warn)) is not None:
            return recorded
        if subject.card.is_exact:
            return None
        key = (subject.sha256, architecture_sha256(subject))
        alike = (each for each in before if each.key == key and each.code_sha256 == look_sha256())
        done = next((each for each in alike if each.evaluations), None)
        return done or _brief(session, name, subject)
    except INTERRUPTIONS:
        raise
    except BaseException as error:  # whatever a stranger's network raises
        return ModelLook(
            model=subject.card.name,
            model_sha256=subject.sha256,
            architecture_sha256=None,
            data=None,
            evaluations=0,
            wrong=[f"it could not be looked at ({told(error)})"],
        )


def _recorded(model: Model, warn: Tell) -> ModelLook | None:
    """What check-model found, if it was asked."""
    path = _path(model)
    try:
        found, damage = read_kept(path, ModelLook, _INSTEAD)
    except NewerRun as error:  # it is only read, and others' files stop no run
        found, damage = None, str(error)
    if found is not None and found.key != (model.sha256, architecture_sha256(model)):
        found, damage = None, f"{path} is damaged: it is the check of another model"
    if damage is not None:
        warn(f"{damage}; what check-model found of {model.card.name} is not taken over")
    if found is not None and found.code_sha256 != look_sha256():
        warn(f"what check-model found of {model.card.name} is of another version, and not taken over; check it again")
        return None
    return found


def _brief(session: Session, name: str, subject: Model) -> ModelLook:
    plain = session.models.get((name, PLAIN))
    if plain is None:  # a compiled one would be compiled again for so few images
        study = session.study
        plain = load_model(name, session.device, study.changes_of(name), PLAIN, study.most_made)
    with arithmetic(PLAIN.precision):
        return _kept(subject, check_model(plain, session.device, depth=BRIEF))


def _floors(session: Session, there: Sequence[Floors]) -> list[Floors]:
    """Those there are, with the floors of the study's distance in the place of others of it: of another number of
    images, or by other code. Without them if it measures none, or they cannot be had.
    """
    extractor, reference, study = session.extractor, session.reference, session.study
    if extractor is None or reference is None or not {"fd", "fd_infinity"} & set(study.metrics):
        return list(there)
    key = (extractor.column(study.most_images), extractor.sha256, reference.sha256)
    same = [each for each in there if (each.column, each.extractor_sha256, each.reference_sha256) == key]
    made = (noise_images(study.most_images), look_sha256())
    if any((each.noise_images, each.code_sha256) == made for each in same):
        return list(there)
    others = [each for each in there if each not in same]
    try:
        found = measure_floors(extractor, reference, session.subject.card.shape, study.most_images)
    except INTERRUPTIONS:
        raise
    except BaseException:  # whatever a stranger's extractor raises: cells that need the same will say why
        return others
    return [*others, found.model_copy(update={"code_sha256": look_sha256()})]

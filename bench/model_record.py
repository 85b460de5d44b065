"""What is kept of checks of models: a run's, `first-look.json` in its folder, with its floors, and check-model's.

They are sealed as records are. A folder without a look, or with a damaged one, has nothing; what a newer version wrote
is refused. Nothing here needs torch, so that reports read it at once.
"""

import shlex
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, Field

from bench.record_schema import Count, Distance, Name, Number, fault
from bench.sealed_json import NewerRun, read_sealed, write_sealed
from models.cards.schedule_cards import Strict

_STUDIES = Path(__file__).parent / "studies"
FIRST_LOOK = "first-look.json"
SCHEMA = 1


class Floors(Strict):
    """Frechet distances by one extractor and reference that others are to be seen beside.

    Attributes:
        column: what the distance is called in a record.
        extractor_sha256, reference_sha256: what they are measured with.
        noise: of pure noise to the reference, standard normal over half the range of values, clamped and rounded.
        noise_images: how many of it.
        real: between two halves of the reference's images; None: it does not keep their features.
        real_images: in each half.
        code_sha256: of the code that measured them; None: an older version, which did not say.
    """

    column: Name
    extractor_sha256: Name
    reference_sha256: Name
    noise: Distance
    noise_images: Number
    real: Distance | None
    real_images: Number | None
    code_sha256: Name | None = None


class ModelLook(Strict):
    """What is wrong with a model.

    Attributes:
        model: its name.
        model_sha256, architecture_sha256: of weights and card, and of a plugin's code of the network.
        data: where the images come from; None: it could not be looked at.
        evaluations: images that went through the network; 0: it could not be looked at.
        wrong: the words.
        study: whose changes of the card it was checked with, its name or the file that was given; None: there are
            none.
        code_sha256: of the code that checked it; None: an older version, which did not say.
    """

    model: Name
    model_sha256: Name
    architecture_sha256: Name | None
    data: Name | None
    evaluations: Count
    wrong: list[str]
    study: Name | None = None
    code_sha256: Name | None = None

    @property
    def key(self) -> tuple[str, str | None]:
        """What determines it."""
        return self.model_sha256, self.architecture_sha256

    @property
    def warnings(self) -> list[str]:
        """The words, with what to do."""
        command = "check-model" if self.study is None else f"check-model --study {_given(self.study)}"
        return [f"Model {self.model}: {text}; see {command}" for text in self.wrong]


def _given(study: str) -> str:
    """A study as a command takes it, as far as that is known."""
    known = study.endswith(".toml") or (_STUDIES / f"{study}.toml").is_file()
    return shlex.quote(study) if known else f"{study} (its name or file)"


class Look(Strict):
    """What a run looked at before its first cell."""

    models: list[ModelLook] = Field(default=[])
    floors: list[Floors] = Field(default=[])

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the models."""
        return [text for each in self.models for text in each.warnings]


Kept = TypeVar("Kept", bound=BaseModel)


def read_look(folder: Path) -> tuple[Look, str | None]:
    """What a run folder has, if only nothing; and what is damaged, if it is. NewerRun for one of a newer version."""
    found, damage = read_kept(folder / FIRST_LOOK, Look, "choose another folder with --out")
    return found or Look(), damage


def read_kept(path: Path, kind: type[Kept], instead: str) -> tuple[Kept | None, str | None]:
    """The content of a file, None if there is none or it is damaged; and how it is damaged, in words, if it is.

    Args:
        path: the file.
        kind: of its content.
        instead: what to do about one of a newer version but to upgrade.

    Raises:
        NewerRun: a newer version has written it.
    """
    try:
        content = read_sealed(path, SCHEMA, instead)
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except NewerRun:
        raise
    except (ValueError, OSError) as error:
        return None, f"{path} is damaged: {error}"
    schema = content.pop("schema", None) if isinstance(content, dict) else SCHEMA
    reason = f"it has schema {schema!r}; expected {SCHEMA}" if schema != SCHEMA else fault(kind, content)
    return (kind.model_validate(content), None) if reason is None else (None, f"{path} is damaged: {reason}")


def write_kept(path: Path, kept: BaseModel) -> None:
    """Write what `read_kept` reads."""
    write_sealed(path, {"schema": SCHEMA} | kept.model_dump())

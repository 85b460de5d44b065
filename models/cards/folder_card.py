"""What any folder's card says, and what that of an extractor does."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator

from models.cards.schedule_cards import Strict
from models.plugins.names import names_a

_PATTERNS = frozenset("*?[\\")


class FolderCard(Strict):
    """What a folder holds, where it comes from, and the sha256 of every file that belongs to it."""

    schema_version: Literal[1]
    name: Annotated[str, names_a("model")]
    description: str = ""
    data: str = "not stated"
    data_licence: str = "not stated"
    training_command: str = ""
    training: dict[str, int | float | str] = Field(default_factory=dict)
    quality: dict[str, int | float | str] = Field(default_factory=dict)
    files: dict[str, str]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        """A card may be a stranger's: it names files of its own folder, each by its own name, and no others."""
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or str(path) != name or name == "." or _PATTERNS & set(name):
                raise ValueError(f"expected paths inside of the card's folder, such as 'a/b.safetensors', got {name!r}")
        return files


class ExtractorCard(Strict):
    """A compact feature extractor, after which distances are called: fd_<name>.

    It is a classifier, and `test_accuracy` its own on images that it was not trained on.
    """

    name: Annotated[str, names_a("extractor")]
    description: str
    test_accuracy: float = Field(ge=0, le=1)


class ExtractorFolder(FolderCard):
    """A folder without a model: a compact extractor, and the reference statistics of the data it was trained on."""

    kind: Literal["extractor"]
    extractor: ExtractorCard

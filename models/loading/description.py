"""What a model is, told from its card or its configurations. No weights are read and torch is not imported, so that
listing models and planning studies starts at once.
"""

from pathlib import Path

from pydantic import ValidationError

from models.cards.card import Card, Changes, make_card
from models.cards.folder_card import ExtractorFolder, FolderCard
from models.common.errors import UsageError
from models.common.explain import explain
from models.common.files import read_toml, sha256_of
from models.common.program import here
from models.loading.diffusers_folder import describe_folder
from models.loading.sources import CARD, Source, find_source, missing_file


def load_card(folder: Path, changes: Changes | None = None) -> Card:
    """Read and check a model's card, with a study's changes made; UsageError with the place of what is wrong."""
    path = folder / CARD
    content = read_toml(path)
    if "kind" in content:
        raise UsageError(f'{folder} holds a feature extractor and no model; a study names it as extractor = "..."')
    return make_card(content, changes, str(path))


def load_measuring_card(folder: Path) -> Card | ExtractorFolder:
    """Read and check the card of a folder with an extractor, which may be a model's; UsageError as `load_card`."""
    path = folder / CARD
    content = read_toml(path)
    if "kind" not in content:
        return make_card(content, None, str(path))
    try:
        return ExtractorFolder.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error, content)}") from None


def verify_files(folder: Path, card: FolderCard) -> None:
    """Compare every file of the card with its hash; UsageError for one that is missing or differs."""
    for name, expected in card.files.items():
        path = folder / name
        if not path.is_file():
            raise missing_file(card, path)
        actual = sha256_of(path)
        if actual != expected:
            again = f", or train the model again with: {here(card.training_command)}" if card.training_command else ""
            raise UsageError(
                f"{path} has sha256 {actual}, but the card of {card.name!r} says {expected}: the file is damaged or "
                f"was changed. Restore it{again}, or, if this is meant, put the new hash on the card: {actual}"
            )


def describe_model(spec: str, changes: Changes | None = None) -> Card:
    """The card of a model, or the one that follows from a folder's configurations; no weights are read.

    Args:
        spec: an embedded model's name, a folder, or hf:owner/name[@revision], whose configurations are fetched.
        changes: what a study says about it instead of its own configuration.

    Raises:
        UsageError: there is no such model, or it cannot be used; says why and what to do.
    """
    return describe_source(find_source(spec), changes)


def describe_source(source: Source, changes: Changes | None) -> Card:
    """The card of a model whose files have been found; see `describe_model`."""
    if source.has_card:
        return load_card(source.folder, changes)
    return describe_folder(source, changes)

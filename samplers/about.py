"""What a sampler says about itself, of the types that a record holds, whoever has written it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from models.common.errors import PluginError
from models.common.explain import explain
from models.plugins.bibtex import check
from models.plugins.foreign import defined_at, foreign
from models.plugins.plain import plain
from models.schedule import Level
from samplers.base import Sampler


class About(BaseModel):
    """The attributes of a `Sampler`; numbers of NumPy and torch are Python's here."""

    model_config = ConfigDict(strict=True, frozen=True)

    order: int | None
    stochastic: bool
    family: Annotated[str, Field(min_length=1)]
    needs: Literal["denoiser", "generator"]
    places_steps: bool
    takes_betas: bool
    starts_at_noise: bool
    takes_variance: bool
    caveat: str | None
    paper: str | None
    bibtex: Annotated[str, AfterValidator(check)]


def about(name: str, sampler: Sampler) -> About:
    """What a sampler of some name says about itself.

    Raises:
        PluginError: it raises, or says what is of another type.
    """
    said = {each: _asked(name, sampler, each) for each in About.model_fields}
    try:
        return About.model_validate(said)
    except ValidationError as error:
        raise PluginError(f"sampler {name!r}: {explain(error)} ({defined_at(type(sampler))})") from None


def declared_evaluations(name: str, sampler: Sampler, levels: Sequence[Level]) -> int | None:
    """Network evaluations an image that a sampler declares on some levels; None if it cannot say them before.

    Raises:
        PluginError: it raises, or gives what is no whole number from 0 on.
    """
    asked, its = f"sampler {name!r}: nfe()", type(sampler).nfe
    with foreign(asked, its):
        found = plain(sampler.nfe(list(levels)))
    if type(found) is float and found.is_integer():
        found = int(found)
    if found is None or (type(found) is int and found >= 0):
        return found
    raise PluginError(f"{asked} gave {found!r}; expected a whole number from 0 on, or None ({defined_at(its)})")


def _asked(name: str, sampler: Sampler, attribute: str) -> Any:
    with foreign(f"sampler {name!r}: {attribute}", type(sampler)):
        return plain(getattr(sampler, attribute))

"""Which prompts a study asks text-to-image models for, as it says them."""

from typing import Annotated

from pydantic import Field

from models.cards.schedule_cards import Strict

MOST_PROMPTS = 2**31 - 1
MOST_TOKENS = 512
"""Of a prompt: SD3's and FLUX's pipelines refuse more."""

_Text = Annotated[str, Field(max_length=10_000)]


class PromptsChoice(Strict):
    """Prompts in a file; in a study also just its name. Image i is made of prompt i mod n.

    Attributes:
        file: a CSV or TSV file by its name, else one prompt a line, in UTF-8.
        column: of the table; None: its only one, or the one called "prompt" or "caption".
        negative: the prompt that stands for no class in guidance; "": none, as the pipeline has it.
        count: how many prompts there are to be; None: whatever is there.
        tokens: of T5 for a prompt (max_sequence_length in diffusers); None: as many as the pipeline takes, 256 of SD3
            and 512 of FLUX. CLIP's are always its 77.
    """

    file: Annotated[_Text, Field(min_length=1)]
    column: Annotated[_Text, Field(min_length=1)] | None = None
    negative: _Text = ""
    count: Annotated[int, Field(ge=1, le=MOST_PROMPTS)] | None = None
    tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None

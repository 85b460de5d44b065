"""Lists of values as the command line takes them."""

from models.errors import UsageError


def integers(option: str, text: str | None) -> list[int] | None:
    """Whole numbers separated by commas; None if the option was not given. UsageError names it."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text!r}: expected whole numbers separated by commas, such as 5,10,20") from None

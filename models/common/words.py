"""How things are counted in messages."""


def counted(number: float, what: str) -> str:
    """A number of things: "1 step", "1,000 steps", "2.5 evaluations"."""
    return f"{round(number, 4):,.15g} {what}{'s' * (number != 1)}"

"""Any JSON, and some that is nested too deeply to be read."""

from hypothesis import strategies as some

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)

NESTED = "[" * 100_000 + "]" * 100_000

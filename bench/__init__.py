"""The benchmark: a folder is a stage that a study passes through, and imports only from those below it.

- `cli`: the commands; arguments in, calls, messages out
- `interface`: what they do, for notebooks: `bench.run`, `bench.load`, `bench.Run`
- `training`: what trains the embedded models; `versus`: this harness beside what people use
- `running`: how a study is carried out, cell by cell, and what it costs in rounds
- `conformance`: what must be true of every sampler, and of a model and its card
- `report`: from records to tables, figures and a page; never imports torch
- `study`: what is asked: the schema, TOML, the plan; `studies`: those that come with it
- `quality`: data sets, extractors, statistics, distances
- `timing`: clock, capture, monitor: measuring, without knowing what a study is
- `purity`: what samplers share and must leave as they found it
- `noise`: counter-based noise
- `record`, `record_schema`, `column_meanings`, `model_record`: the files that pass from `running` to `report`
- `packed`: a run of these in one file, which `packing` writes
- `environment`, `escape`, `outputs`, `progress`: machine, foreign text, files to write, progress

`lint-imports` holds this order; it stands in `pyproject.toml`.
"""

TYPE_CHECKING = False  # as type checkers read it; to import typing takes time before the first signal is heard
if TYPE_CHECKING:
    from bench.interface import Run, UsageError, Workers, load, run
else:

    def __getattr__(name: str) -> object:
        """The interface, once it is asked for: what imports a part of this package takes that alone."""
        if name in __all__:
            from bench import interface

            return getattr(interface, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """What completes in a notebook."""
        return [*__all__, *globals()]


__all__ = ["Run", "UsageError", "Workers", "load", "run"]

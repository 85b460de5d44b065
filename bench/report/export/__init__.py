"""To the tools that colleagues use: a run there for every row of the table, and one for the report as a whole.

`entries` says what of a row is a parameter, a metric, a tag or a file; `to_mlflow` and `to_wandb` send that through the
packages of those tools, which are extras of this one; `service` is what they have in common. A row is always the same
run there, by its id, and one that is there with the same content is left alone: sent twice, nothing is there twice.
"""

from pathlib import Path

from bench.report.export.service import Service

SERVICES = ("mlflow", "wandb")


def service(name: str, folder: Path) -> Service:
    """One of `SERVICES`, ready to be sent to.

    Args:
        name: of it.
        folder: that of the report, for what is kept on this machine.

    Raises:
        UsageError: its package, an address, or a key is missing; it says which. Nothing has been written then.
    """
    if name == "mlflow":
        from bench.report.export.to_mlflow import Mlflow

        return Mlflow()
    from bench.report.export.to_wandb import Wandb

    return Wandb(folder)

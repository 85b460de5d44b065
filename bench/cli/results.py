"""The commands for what comes of runs: joined, packed, reported, published, compared."""

import gc
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from models.common.errors import UsageError


def merge(*runs: Path, out: Annotated[Path, Parameter(name=("--out", "-o"))]) -> int:
    """Join runs of one study, such as its parts or other seeds of it, into a new one, then report.

    Their studies may differ in seeds, device, threads and timeout, and in nothing else. Results that several have of a
    cell have to agree; a result wins over a failure, more rounds of timing over fewer. Exit status 1 if some cells
    failed.

    Args:
        runs: Run folders.
        out: Run folder to write, which is not there yet.
    """
    from bench.cli.reporting import merge_runs

    return merge_runs(list(runs), out)


def pack(run: Path, /, *, out: Annotated[Path | None, Parameter(name=("--out", "-o"))] = None) -> int:
    """Write a run into one file: study, records, first images, tracebacks.

    Whatever takes a run folder takes that file; called run.zip, it stands for them in a folder of reports. Images that
    were saved all are not in it. The same run has the same bytes.

    Args:
        run: Run folder.
        out: File to write (default: beside the folder, RUN.zip).
    """
    from bench.cli.reporting import pack_run

    return pack_run(run, out)


def report(
    *runs: Path,
    columns: Literal["nfe", "steps", "seconds"] = "nfe",
    metric: str | None = None,
    samplers: str | None = None,
    only: tuple[str, ...] = (),
    x: str | None = None,
    y: str | None = None,
    style: Literal["page", "paper", "slide"] = "page",
    latex: Literal["siunitx", "plain"] = "siunitx",
    formats: Annotated[str | None, Parameter(name="--format")] = None,
    out: Path | None = None,
) -> int:
    """Make tables, figures and the page again from the records of one or more runs.

    Args:
        runs: Run folders.
        columns: What the columns of the table of samplers by budget are: evaluations an image, steps, or seconds an
            image.
        metric: What its cells are, such as fd_digits or recall (default: what rows are ranked by).
        samplers: Show these alone, beside the baseline: names with commas between them, of whatever parameters, or with
            parameters such as ddim[eta=0.5].
        only: Show only the rows that this holds for, beside the baseline's: COLUMN=VALUE, or with !=, <, <=, >, >=,
            such as grid=trailing or nfe<=20. May be given several times.
        x: Column of the table for the x axis of a figure of its own, such as s_per_image_median (default: nfe).
        y: Column for its y axis, such as recall (default: what rows are ranked by).
        style: What figures are for: a page of the report; a paper, in a column's width and letters of 8 points, without
            title and footnotes; a slide, 16 by 9.
        latex: How LaTeX aligns numbers: by siunitx, or plain, without packages but graphicx.
        formats: Of md, latex, csv, parquet, html, png, pdf; all of these by default. mlflow and wandb send a run for
            each row to these, as their environment says (extras of the same names).
        out: Folder for the files (default: the run folder; of several runs results/report).
    """
    gc.set_threshold(500_000, 20, 100)  # what a report makes it keeps, and to look for garbage took a tenth of its time
    from bench.cli.reporting import report_runs
    from bench.report import View, of_texts

    view = View(columns, metric, of_texts(samplers, only), x, y, style, latex)
    return report_runs(list(runs), formats.split(",") if formats is not None else None, out, view)


def publish(*runs: Path, out: Annotated[Path, Parameter(name=("--out", "-o"))]) -> int:
    """Write a site of runs, for any host of files: an index, a page for each with downloads, one of those alike.

    Runs that can be ranked with one another stand together on a page of their own. Writing it again replaces what it
    wrote before, and touches nothing else.

    Args:
        runs: Run folders or packed runs.
        out: Folder of the site.
    """
    gc.set_threshold(500_000, 20, 100)  # as `report` does
    from bench.cli.reporting import publish_runs

    return publish_runs(list(runs), out)


def compare(
    run_a: Path,
    run_b: Path | None = None,
    /,
    *,
    formats: Annotated[str | None, Parameter(name="--format")] = None,
    out: Annotated[Path | None, Parameter(name=("--out", "-o"))] = None,
    pairs: bool = False,
    csv: Path | None = None,
) -> int:
    """Compare two runs setting by setting: what got better or worse or cannot be told, and by how much.

    Ratios of time and differences of quality are given where they may be compared, in pairs of the same images where
    both ran on these.

    Args:
        run_a: Run folder.
        run_b: Run folder, which is told beside the first.
        formats: Files to write, of md, csv, html; all if only a folder is given.
        out: Folder for these files (default: results/compare/A-and-B).
        pairs: Instead, each row of one run beside each other: differences of its distance, with 95 % intervals.
        csv: File for these differences, a line each, with the p values.
    """
    from bench.cli.reporting import compare_pairs, compare_runs

    files = formats is not None or out is not None
    if pairs != (run_b is None) or (csv is not None and not pairs) or (files and pairs):
        raise UsageError(
            "compare takes two runs, which may have --format and --out, or one with --pairs, which may have --csv FILE"
        )
    if run_b is None:
        return compare_pairs(run_a, csv)
    return compare_runs(run_a, run_b, formats.split(",") if formats is not None else None, out)

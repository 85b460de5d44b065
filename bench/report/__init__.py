"""The records of runs as tables, figures, a page and one answer. Reads records only, and never imports torch.

`data` makes rows of records, `tables` and `figures` show them, `page` shows all, `export` sends them to other tools,
`write` writes the files, `site` puts several runs together. Imports `study` and the records, nothing that has run.
"""

from bench.report.data.answer import Answer
from bench.report.data.compare import compare
from bench.report.data.pairs import matrices, pairs
from bench.report.data.selection import of_texts
from bench.report.data.summary import Summary, summarise
from bench.report.data.view import View
from bench.report.site import publish
from bench.report.tables.comparison_terminal import terminal_comparison
from bench.report.tables.terminal import terminal_table
from bench.report.write import (
    COMPARED,
    FORMATS,
    as_csv,
    cells_of,
    check_asked,
    table_of,
    write_comparison,
    write_report,
)

__all__ = [
    "COMPARED",
    "FORMATS",
    "Answer",
    "Summary",
    "View",
    "as_csv",
    "cells_of",
    "check_asked",
    "compare",
    "matrices",
    "of_texts",
    "pairs",
    "publish",
    "summarise",
    "table_of",
    "terminal_comparison",
    "terminal_table",
    "write_comparison",
    "write_report",
]

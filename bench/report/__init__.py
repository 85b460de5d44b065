"""The records of runs as tables, figures, a page and one answer. Reads records only, and never imports torch."""

from bench.report.answer import Answer
from bench.report.compare import as_tables_show, compare
from bench.report.summary import Summary, summarise
from bench.report.terminal import terminal_table
from bench.report.write import FORMATS, write_report

__all__ = ["FORMATS", "Answer", "Summary", "as_tables_show", "compare", "summarise", "terminal_table", "write_report"]

"""The blocks for a reader who has nothing but the document: marks say what others find in table.csv."""

from dataclasses import replace

from bench.report.data.summary import Summary
from bench.report.data.text import ALIKE, DOUBTFUL
from bench.report.tables.blocks import Block, blocks
from bench.report.tables.remarks import DRIFTING, drifting


def marked_blocks(summary: Summary) -> list[Block]:
    """The blocks, with a mark at the times that elsewhere are found in table.csv."""
    sections, found = iter(summary.sections), list[Block]()
    for block in blocks(summary):
        if block.kind == "rows":
            marks = drifting(next(sections))
            timed = [
                replace(each, cells=[_with_mark(*cell) for cell in zip(each.cells, marks, strict=True)])
                if each.heading == "ms/image"
                else each
                for each in block.table
            ]
            block = replace(block, table=timed)
        found.append(block)
    return found


def _with_mark(cell: str, marked: bool) -> str:
    """A cell, its mark behind those that it has."""
    if not marked:
        return cell
    return f"{cell}{DRIFTING}" if cell.endswith((ALIKE, DOUBTFUL)) else f"{cell} {DRIFTING}"

"""What figures show, in words: below those of a page, and as the captions of a paper's."""

from collections.abc import Mapping, Sequence

from bench.column_kinds import with_unit
from bench.escape import latex_text
from bench.report.data.distances import of_key, quality_columns
from bench.report.data.summary import Summary
from bench.report.tables.tabular import breakable
from bench.report.tables.tex import FIT

_CAPTIONS = {
    "quality_vs_nfe": "Frechet distance against network evaluations an image.",
    "quality_vs_seconds": "Frechet distance against time an image.",
    "error_vs_nfe": "Error against network evaluations where the truth is known: of the solver, and of the law "
    "of its samples.",
    "guidance": "Quality against the guidance scale, for as many network evaluations.",
    "precision_recall": "Precision against recall: what guidance trades, its scale along each line.",
    "modes": "What the modes cost and save: quality against speed-up, each beside the study's first mode.",
    "time_split": "Time inside the network, and in the sampler around it.",
    "images": "The first images of each setting shown, from the same noise.",
}
NARROW = ("quality_vs_nfe", "quality_vs_seconds", "chosen")
"""The figures that are as wide as a paper's column; the others are as wide as both."""


def captions(summary: Summary) -> dict[str, str]:
    """The figures by name, with what they show, in the order in which they stand."""
    found = dict(_CAPTIONS)
    if (axes := chosen_axes(summary)) is not None:
        x, y = (axis_name(name, summary) for name in axes)
        found["chosen"] = f"{y[:1].upper()}{y[1:]} against {x}."
    return found


def captioned(summary: Summary, drawn: Mapping[tuple[str, str], bytes]) -> str:
    """The figures of a paper as LaTeX, each with what it shows and what a page has around it as its caption.

    Args:
        summary: what they show.
        drawn: their files by name and kind, of which `said` is what else a caption has to say, in lines.
    """
    names = [name for name, kind in drawn if kind == "pdf"]
    said = {name: drawn.get((name, "said"), b"").decode().splitlines() for name in names}
    shown = captions(summary)
    return _floats([(name, [shown[name], *said[name]], name in NARROW) for name in names])


def chosen_axes(summary: Summary) -> tuple[str, str] | None:
    """The columns of x and y; evaluations and what rows are ranked by where only one is asked for; None: neither is."""
    view = summary.view
    if view.x is None and view.y is None:
        return None
    rank = next((section.rank for section in summary.sections if section.rank is not None), None)
    return view.x or "nfe", view.y or rank or "nfe"


def axis_name(name: str, summary: Summary) -> str:
    """What a column of the table is called, with its unit: a quality by its name, any other by what it is."""
    return with_unit(name, quality_name(name, summary))


def quality_name(name: str, summary: Summary) -> str | None:
    """The name of a quality, or of how far it spreads; None of another column."""
    keys = {each.key for each in quality_columns(summary.table.columns)}
    if name in keys:
        return of_key(name).name.removesuffix(_SCALED)
    for end, words in _ENDS.items():
        base = name.removesuffix(end)
        if name.endswith(end) and (key := next((key for key in (base, f"{base}_mean") if key in keys), None)):
            return f"{words} {quality_name(key, summary)}"
    return None


_SCALED = " \N{MULTIPLICATION SIGN}10\N{SUPERSCRIPT THREE}"
"""What the name of a quality says of how tables show it: figures show it as it is."""
_ENDS = {"_std": "standard deviation of", "_ci": "half the 95 % interval of"}


_LOW = r"\resizebox{!}{\ifdim\totalheight>.57\textheight .57\textheight\else \totalheight\fi}"
"""The same to a height that leaves room for a caption."""


def _floats(figures: Sequence[tuple[str, Sequence[str], bool]]) -> str:
    """Figures in files of PDF as floats, to be read with \\input.

    Args:
        figures: their names, what their captions say in sentences, and whether they fit a column of two.
    """
    lines = ["% Needs \\usepackage{graphicx}. Made by sampler-bench from the records; do not edit."]
    for name, sentences, narrow in figures:
        caption, kind = " ".join(breakable(latex_text(each)) for each in sentences), "figure" if narrow else "figure*"
        lines += [
            f"\\begin{{{kind}}}\n\\centering\\sloppy",
            f"{_LOW}{{{FIT}{{\\includegraphics{{{name}.pdf}}}}}}",
            f"\\caption[{latex_text(sentences[0])}]{{{caption}}}\n\\label{{fig:{name.replace('_', '-')}}}",
            f"\\end{{{kind}}}\n",
        ]
    return "\n".join(lines)

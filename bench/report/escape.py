"""Plain text as LaTeX and Markdown, so that it prints as it is."""

import re

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # a row that begins with a bare one would be read as an argument of the \\ before it
    "*": "{*}",
    "±": r"$\pm$",
    "×10³": r"$\times 10^{3}$",
    "×": r"$\times$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "–": "--",  # noqa: RUF001
    "≤": r"$\leq$",
    "∞": r"$\infty$",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "Δ": r"$\Delta$",
} | {character: f"\\{character}" for character in "&%$#_{}"}
_LATEX_SPECIAL = re.compile("|".join(map(re.escape, sorted(_LATEX, key=len, reverse=True))))


def latex_text(text: str) -> str:
    """Plain text for LaTeX: specials escaped, and the symbols of our headings written as commands.

    pandas' own escaping leaves < > | and brackets at the start of a row, which LaTeX prints or reads as something else.
    """
    return _LATEX_SPECIAL.sub(lambda match: _LATEX[match[0]], text)


def markdown_text(text: str) -> str:
    """Plain text for a Markdown table or list: what would be read as markup or as a cell's end is escaped."""
    return re.sub(r"[\\`*_|<>~\[\]]", r"\\\g<0>", text)

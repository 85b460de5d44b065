"""What is seen of a text: its characters without width, the elements of Markdown, and those of HTML."""

import re
import unicodedata
from html.parser import HTMLParser
from itertools import pairwise

from markdown_it import MarkdownIt


def unseen(text: str) -> list[str]:
    """The control characters of a text but its line ends, and those that have no width or turn the direction."""
    return [each for each in text if each != "\n" and unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def inline_texts(markdown: str, kind: str) -> list[str]:
    """The texts of the elements of a kind, which hold nothing but text."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    found = [inline for before, inline in pairwise(tokens) if before.type == f"{kind}_open"]
    children = [[child for child in each.children or () if child.type != "text" or child.content] for each in found]
    marks = {child.type for each in children for child in each} - {"text", "strong_open", "strong_close"}
    assert not marks, (markdown, marks)
    return ["".join(child.content for child in each if child.type == "text") for each in children]


class Page(HTMLParser):
    """The elements, attributes and text of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text = list[str](), list[tuple[str, str | None]](), ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


_TEX = (
    *((r"~\\cite\{[^}]*\}", ""), (r"\\(bfseries|mdseries|scriptsize|raggedright) ?", ""), (r"\\allowbreak\{\}", "")),
    *(
        (r"\\,", ""),
        (r"\\let\\\\\\tabularnewline ?", ""),
        (r"\\textbf\{(.*?)\}", r"\1"),
        (r"\$\\pm\$ ?", " ± "),
        (r"\\%", "%"),
    ),
    *((r"\$\\dagger\$", " †"), (r"\$\\ddagger\$", " ‡"), (r"\\_", "_"), ("--", "–"), (r"(\(\d+\))", r"\1 ")),  # noqa: RUF001
    *((r"\\multicolumn\{\d+\}\{\w\}", ""), (r"[{}]", ""), (r" +", " ")),
)
"""What is taken out of a cell of LaTeX, so that it reads as the text that it shows."""


def tex_rows(tabular: str) -> list[tuple[str, ...]]:
    """The rows of a table of LaTeX as text, headings of columns first; the heading of a group is one cell."""
    lines = [line.removesuffix(r" \\") for line in tabular.splitlines() if line.endswith(r" \\")]
    return [tuple(map(_shown, line.split(" & "))) for line in lines]


def _shown(cell: str) -> str:
    for pattern, text in _TEX:
        cell = re.sub(pattern, text, cell)
    return cell.strip()


def ungrouped(cells: tuple[str, ...]) -> tuple[str, ...]:
    """Cells without the commas of thousands, which siunitx sets."""
    return tuple(re.sub(r"(?<=\d),(?=\d{3})", "", cell) for cell in cells)

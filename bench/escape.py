# ruff: noqa: RUF001  (the signs that are replaced look like others)
"""Text that is not ours, as each output has it: what is printed or drawn is the text, never a command.

One function an output language. Whatever a study, a plugin, a file or a machine calls itself passes through one of them
on its way out: names, parameters, titles, folders, hosts, devices, errors, notes. Control characters, those that
change the direction of writing and those that nobody sees become escape sequences (ESC is "\\x1b"); where a text has
to stand on one line, its line breaks become spaces.
"""

import re
import unicodedata

from markupsafe import Markup, escape

_BREAKS = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
_ODD = re.compile(r"[^ -~]")
_CONTROLS = ("Cc", "Cf", "Cs")
"""Categories of Unicode: control characters, format characters (direction, width 0), halves of characters."""
# letters and marks that Unicode has no glyph for: fillers and selectors of variants
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")


def plain_line(text: str) -> str:
    """Text on one line without a control character: what all languages have in common."""
    if text.isascii() and text.isprintable():
        return text
    return _ODD.sub(_seen, _BREAKS.sub(" ", text))


def _seen(match: re.Match[str]) -> str:
    """A character, as its escape sequence if nobody could see it."""
    character = match[0]
    hidden = unicodedata.category(character) in _CONTROLS or _UNSEEN.match(character)
    return character.encode("unicode_escape").decode() if hidden else character


def terminal_text(text: str) -> str:
    """Text for a terminal or a log: its lines, and no other control character."""
    return "\n".join(map(plain_line, text.split("\n")))


_MARKUP = re.compile(r"[\\`*_|<>~\[\]$]|&(?=#?\w+;)|(?<!\S)#")
_BLOCK = re.compile(r"^(\d{0,9})([+\-.)])(?=[\s\-]|$)")
"""What makes a list or a rule of a line that begins with it."""


def markdown_text(text: str) -> str:
    """Text for a Markdown table, list or paragraph: what would be read as markup or as a cell's end is escaped."""
    return _BLOCK.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", plain_line(text).strip()))


def html_text(text: object) -> Markup:
    """Text for HTML, in an element or an attribute; what is markup already stays as it is."""
    return text if isinstance(text, Markup) else escape(plain_line(str(text)))


_FORMULA = re.compile(r"['\s]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def csv_text(text: str) -> str:
    """Text for a cell of CSV; what a spreadsheet would compute has an apostrophe in front. Numbers stay numbers."""
    line = plain_line(text)
    return f"'{line}" if _FORMULA.match(line) and not _NUMBER.fullmatch(line) else line


def figure_text(text: str) -> str:
    """Text for matplotlib, its lines kept: a dollar begins no formula.

    A legend leaves out what begins with an underscore, so that a space stands before it.
    """
    shown = terminal_text(text).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # a row that begins with a bare one would be read as an argument of the \\ before it
    "*": "{*}",
    '"': r"\symbol{34}",  # a command to babel, in German
    "×10³": r"$\times 10^{3}$",
    "–": "--",
    "—": r"\textemdash{}",
    "―": r"\textemdash{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "¡": r"\textexclamdown{}",
    "¿": r"\textquestiondown{}",
    "…": r"\dots{}",
    "†": r"$\dagger$",  # of text, pdflatex has it as a picture of points where no other fonts are installed
    "‡": r"$\ddagger$",
    "§": r"\S{}",
    "¶": r"\P{}",
    "©": r"\copyright{}",
    "£": r"\pounds{}",
    "\N{NO-BREAK SPACE}": "~",
}
"""What TeX reads as a command, and the signs that it has in text."""

_COMMANDS = """
    ± pm ∓ mp × times ÷ div · cdot ∗ ast ∘ circ • bullet ≤ leq ≥ geq ≠ neq ≈ approx ≃ simeq ≅ cong ≡ equiv ∼ sim
    ∝ propto ≪ ll ≫ gg ∈ in ∋ ni ⊂ subset ⊃ supset ⊆ subseteq ⊇ supseteq ∪ cup ∩ cap ∥ parallel ⊥ perp ⊕ oplus ⊗ otimes
    ∧ wedge ∨ vee ¬ neg ∀ forall ∃ exists ∅ emptyset → rightarrow ← leftarrow ↑ uparrow ↓ downarrow ↔ leftrightarrow
    ⇒ Rightarrow ⇐ Leftarrow ⇔ Leftrightarrow ↦ mapsto ∞ infty ∂ partial ∇ nabla ∆ Delta ∑ sum ∏ prod ∫ int √ surd
    ⟨ langle ⟩ rangle ‖ Vert ′ prime µ mu ℓ ell ℏ hbar ϵ epsilon ϑ vartheta ϕ phi ϖ varpi ϱ varrho
"""
_MATHS = dict(re.findall(r"(\S+) (\S+)", _COMMANDS))
"""The signs of formulas that LaTeX has without a package, each with its command."""
_GREEK = (
    ("Α", "A B Gamma Delta E Z H Theta I K Lambda M N Xi O Pi P"),
    ("Σ", "Sigma T Upsilon Phi X Psi Omega"),
    ("α", "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi o pi rho varsigma sigma tau"),
    ("υ", "upsilon varphi chi psi omega"),
)
"""Where a row of letters begins in Unicode, and their commands, or the Latin letters that they look like."""


def _latex_signs() -> dict[str, str]:
    """What is replaced by something else."""
    greek = {chr(ord(first) + n): name for first, names in _GREEK for n, name in enumerate(names.split())}
    signs = {sign: name if len(name) == 1 else f"$\\{name}$" for sign, name in (_MATHS | greek).items()}
    signs |= {sign: f"$^{{{digit}}}$" for sign, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True)}
    signs |= {sign: f"$_{{{digit}}}$" for sign, digit in zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True)}
    signs |= {"−": "$-$", "°": r"$^{\circ}$"} | dict.fromkeys("‐‑‒", "-")  # hyphens, the dash of figures
    signs |= dict.fromkeys(map(chr, (*range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)), " ")
    letters = zip("ßæÆœŒøØłŁı", ("ss", "ae", "AE", "oe", "OE", "o", "O", "l", "L", "i"), strict=True)
    signs |= {letter: f"\\{name}{{}}" for letter, name in letters}
    return signs | {sign: f"\\{sign}" for sign in "&%$#_{}"} | _LATEX


_SIGNS = _latex_signs()
# two of these in a row TeX joins to another sign
_PAIRS = r"(?P<twin>[-'`,])(?=(?P=twin))|[!?](?=`)"
_SPECIAL = re.compile("|".join([*map(re.escape, sorted(_SIGNS, key=len, reverse=True)), _PAIRS]))
_MARKS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0323\u0327\u0331"
_ACCENTS = dict(zip(_MARKS, "`'^~=u.\"rHvdcb", strict=True))
_FOREIGN = re.compile(r"[^\0-\x7f]+")
_ABOVE = 230
"""Unicode's class of marks above a letter, where i and j lose their dots."""


def latex_text(text: str) -> str:
    """Text for LaTeX in any engine, without a package.

    Specials are escaped; signs, Greek and accented letters are commands. Other letters, such as Chinese, are printed by
    xelatex and lualatex where the font has them, and pdflatex prints their numbers: see `needs_other_engine`.
    """
    line = unicodedata.normalize("NFC", plain_line(text))
    line = _SPECIAL.sub(lambda match: _SIGNS.get(match[0], f"{match[0]}{{}}"), line)
    return line if line.isascii() else _FOREIGN.sub(_foreign, "".join(map(_accented, line)))


def needs_other_engine(latex: str) -> bool:
    """Whether pdflatex prints only the numbers of some letters of a LaTeX text."""
    return _OTHER_ENGINE in latex


_OTHER_ENGINE = r"\ifdefined\Umathcode"


def _accented(character: str) -> str:
    """A Latin letter as its accents' commands; any other character as it is."""
    parts = unicodedata.normalize("NFD", character)
    base, marks = parts[0], parts[1:]
    if not marks or not base.isascii() or any(mark not in _ACCENTS for mark in marks):
        return character
    letter = f"\\{base}" if base in "ij" and unicodedata.combining(marks[0]) == _ABOVE else base
    for mark in marks:
        letter = f"\\{_ACCENTS[mark]}{{{letter}}}"
    return letter


def _foreign(match: re.Match[str]) -> str:
    """Letters for the engines that read Unicode, and their numbers for the others."""
    numbers = " ".join(f"U+{ord(character):04X}" for character in match[0])
    return f"{_OTHER_ENGINE} {match[0]}\\else({numbers})\\fi{{}}"

"""What is cited: every name has its entry, a plugin's is its own, and nothing that a record says runs in TeX."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from report_records import BASELINE, cell, record, write_run

import bench.quality.metrics as metrics
import models.grids
from bench.quality.extractors import LIBRARY
from bench.report import summarise, write_report
from bench.report.data.references import known_entries, known_names, references
from bench.report.tables.tex import latex
from bench.study.metrics import METRICS
from models.common.errors import PluginError
from models.grids import GRIDS
from models.guidance import GUIDANCES
from models.loading.sources import zoo_names
from models.plugins.bibtex import NoEntries, check_entries, entries
from samplers import SAMPLERS
from samplers.diffusers_schedulers import SCHEDULERS

MINE = """@article{mine2024, author = {M{\\"u}ller, Ann and others}, title = "A {Fast} Sampler", year = 2024,
  eprint = {2401.00001}, archivePrefix = {arXiv}}"""


def _identifier(keys: list[str]) -> str:
    """The arXiv id of the first of some entries."""
    return dict(known_entries()[keys[0]].fields)["eprint"]


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_the_first_entry_of_a_sampler_has_the_arxiv_id_of_its_class_and_of_its_docstring(name: str) -> None:
    cls = SAMPLERS.get(name)
    if not cls.__module__.startswith("samplers."):
        return  # another test's plugin
    found = _identifier(known_names()["samplers"][name])
    assert cls.paper == f"arXiv:{found}"
    words = " ".join((sys.modules[cls.__module__].__doc__ or "").split())
    assert found in re.findall(r"arXiv (\d{4}\.\d{4,5})", words)


def test_the_first_entry_of_a_scheduler_of_diffusers_is_its_paper_and_the_library_follows() -> None:
    for name, scheduler in SCHEDULERS.items():
        keys = known_names()["samplers"][f"diffusers:{name}"]
        assert (scheduler.paper, keys[1]) == (f"arXiv:{_identifier(keys)}", "platen2022diffusers")


def test_the_entry_of_a_metric_has_the_arxiv_id_of_its_docstring() -> None:
    assert set(known_names()["metrics"]) == set(METRICS)
    said = re.findall(r"arXiv (\d{4}\.\d{4,5})", metrics.__doc__ or "")
    names = ("fd", "fd_infinity", "kid", "inception_score", "precision_recall")
    assert [_identifier(known_names()["metrics"][name]) for name in names] == said


def test_every_name_of_the_tree_has_a_place_and_guidances_have_their_papers() -> None:
    known = known_names()
    assert {name for name in known["grids"] if "[" not in name} >= set(GRIDS.names())
    assert set(known["models"]) == set(zoo_names())
    assert set(known["extractors"]) == set(LIBRARY.values())
    for name in GUIDANCES.names():
        keys = known["guidances"][name]
        assert GUIDANCES.get(name).paper == (f"arXiv:{_identifier(keys)}" if keys else "")
    grids = "".join(path.read_text() for path in Path(models.grids.__file__ or "").parent.glob("*.py"))
    papers = (
        "leading",
        "trailing",
        "linspace",
        "power",
        "quad",
        "karras",
        "logsnr",
        "shift",
        "laplace",
        "beta",
        "ays",
        "oss",
    )
    for name in (*papers, "kl-optimal"):
        assert f"arXiv {_identifier(known['grids'][name])}" in grids


def test_every_entry_is_used_says_where_it_is_and_is_one_that_bibtex_reads() -> None:
    used = {key for names in known_names().values() for keys in names.values() for key in keys}
    assert used == set(known_entries())
    for key, entry in known_entries().items():
        assert entries(str(entry)) == [entry], key
        assert {"author", "title", "year"} <= dict(entry.fields).keys()
    without = [key for key, entry in known_entries().items() if not {"doi", "eprint"} & dict(entry.fields).keys()]
    assert without == ["crowson2022kdiffusion", "genmo2024mochi", "krizhevsky2009cifar", "platen2022diffusers"]


def _cited(tex: str) -> set[str]:
    return {key for keys in re.findall(r"\\cite\{([^}]*)\}", tex) for key in keys.split(",")}


def test_dynamic_thresholding_is_cited_where_it_was_used(tmp_path: Path) -> None:
    used = [record(*BASELINE), record("ddim", clip=[-1.0, 1.0, 0.995])]
    for n, cited in ((1, False), (2, True)):
        found = references(summarise([write_run(tmp_path / str(n), used[:n])]))
        assert ("saharia2022imagen" in {each.key for each in found.used}) == cited


def test_the_analytical_first_step_cites_what_it_is_the_first_step_of(tmp_path: Path) -> None:
    inner = {
        "afs": ("zhang2023deis", "liu2022pndm"),
        "afs[sampler=ddpm[variance=learned_range]]": ("ho2020ddpm", "nichol2021improved"),
        "afs[sampler=unipc]": ("zhao2023unipc",),
    }
    run = write_run(tmp_path / "run", [record(*BASELINE), *(record(name, "karras") for name in inner)])
    found = references(summarise([run]))
    for name, keys in inner.items():
        assert found.samplers[name] == ("dockhorn2022genie", *keys)
        assert {each.key for each in found.used} >= {"dockhorn2022genie", *keys}
    assert found.lacking == references(summarise([write_run(tmp_path / "other", [record(*BASELINE)])])).lacking


def test_the_file_has_exactly_what_the_tables_cite(tmp_path: Path) -> None:
    names = ("heun", "ddpm[variance=analytic]", "diffusers:PNDMScheduler")
    cells = [record(*BASELINE), *(record(name, "karras") for name in names)]
    run = write_run(tmp_path / "run", cells)
    write_report([run], ["latex"])
    bib = (run / "references.bib").read_text()
    keys = {each.key for each in entries(bib)}
    assert keys == _cited((run / "table.tex").read_text())
    assert keys >= {"ho2020ddpm", "bao2022analyticdpm", "liu2022pndm", "platen2022diffusers", "alpaydin1998digits"}
    assert not keys & {"song2021ddim", "krizhevsky2009cifar", "zhao2023unipc", "chong2020unbiased"}


def test_a_plugin_brings_its_entries_and_what_has_none_is_named(tmp_path: Path) -> None:
    cells = [
        record(*BASELINE),
        record("mine", bibtex={"sampler": MINE}),
        record("yours", bibtex={"sampler": MINE.replace("Fast", "Slow")}),
        record("theirs", model="mine", model_source="/home/me/model", reference="faces"),
    ]
    summary = summarise([write_run(tmp_path / "run", cells)])
    found = references(summary)
    assert found.samplers["mine"] == ("mine2024",)
    assert found.samplers["yours"] == ("mine2024-2",)
    assert "A {Slow} Sampler" in found.file
    assert list(found.lacking) == ["the sampler theirs", "the reference faces", "the model mine from /home/me/model"]
    for text in (latex(summary), found.file):
        assert "% No entry for the sampler theirs." in text
    assert r"mine~\cite{mine2024}" in latex(summary)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@preamble{ {\\input{/etc/passwd}} }", "no entry begins with"),
        ("@misc{a, title = {x \\}, author = {y}}", r"the command \\;"),
        ("@misc{a, title = {x \\ }, author = {y}}", r"the command \\;"),
        ("@misc{a, title = {x}}@misc{A, title = {y}}", "the key 'A' twice"),
        ("@misc{a, title = {x \\immediate\\write18{rm}}}", r"the command \\immediate"),
        ("@misc{a, title = {x ^^5cinput y}}", "a bare '\\^'"),
        ("@misc{a, title = {x} } trailing", "no entry begins with 'trailing'"),
        ("@misc{a, title = {x}, title = {y}}", "the field title twice"),
        ("@misc{a, author = {x}}", "a has no title"),
        ("@misc{a, title = {x}", "a comma or a brace is missing"),
        ("@misc{a, title = {x{}", "is not closed"),
        ('@misc{a, title = "x} y{"}', "not closed|do not match"),
        ("@misc{a%b, title = {x}}", "is no key"),
        ("@misc{a, title = {x}}@misc{a, title = {x}}", "the key 'a' twice"),
        ("@misc{a, title = {x\u202e}}", "control characters"),
        ("@misc{a, title = {x & y}}", "a bare '&'"),
        ("no entry", "no entry begins with"),
        ("  ", "it has no entry"),
        ("@misc{a, title = {" + "x" * 30_000 + "}}", "characters"),
    ],
)
def test_what_is_no_entry_or_could_run_is_refused_of_plugins_and_not_written_of_records(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(NoEntries, match=words):
        entries(text)
    if text.strip():
        with pytest.raises(PluginError, match=r"sampler 'x': bibtex: .*expected BibTeX entries such as"):
            check_entries("sampler 'x'", SAMPLERS.get("ddim"), text)
    run = write_run(tmp_path / "run", [record(*BASELINE), record("x", bibtex={"sampler": text})])
    found = references(summarise([run]))
    assert found.samplers["x"] == ()
    assert "what it brings cannot be used" in " ".join(found.lacking)
    body = [line for line in found.file.splitlines() if not line.startswith("% No entry")]
    assert not any(word in "\n".join(body) for word in ("input", "write18", "preamble"))
    assert "@" not in "".join(line for line in found.file.splitlines() if line.startswith("%"))


def test_a_sampler_of_a_plugin_says_what_it_brings(tmp_path: Path) -> None:
    from samplers.about import about

    class Mine(SAMPLERS.get("ddim")):  # type: ignore[misc]
        bibtex = MINE

    assert about("mine", Mine()).bibtex == MINE
    Mine.bibtex = "@misc{nothing}"
    with pytest.raises(PluginError, match=r"sampler 'mine': bibtex: .*expected BibTeX entries"):
        about("mine", Mine())


def test_names_of_records_write_no_comment_of_their_own(tmp_path: Path) -> None:
    hostile: dict[str, Any] = {"sampler": "a\n\\input{x}@misc{y, title = {z}}"}
    run = write_run(tmp_path / "run", [record(*BASELINE), cell("ddim", 5, 1.0) | hostile])
    summary = summarise([run])
    assert [each.key for each in entries(re.sub(r"(?m)^%.*$", "", references(summary).file))]
    assert "\n\\input{x}" not in latex(summary) + references(summary).file

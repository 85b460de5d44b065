"""`publish`: whole or not at all, and nothing but its own is ever touched."""

import json
from pathlib import Path

import pytest
from commands import Cli
from renderings import Page
from report_records import BASELINE, record, write_run

from bench.packing import pack
from bench.report import publish, summarise
from bench.report import site as sites
from models.common.errors import UsageError

CELLS = [record(*BASELINE), record("heun"), record("ddim")]


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longest, and have tests of their own."""
    monkeypatch.setattr("bench.report.write._figures", lambda *_: dict)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def text_of(page: Path) -> str:
    return Page(page.read_text()).text


def links(page: Path) -> list[str]:
    return [value or "" for name, value in Page(page.read_text()).attributes if name == "href"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "quick", CELLS, title="A quick study")


def test_the_index_tells_of_each_run_and_every_link_leads_to_a_file(run: Path, tmp_path: Path) -> None:
    other = write_run(
        tmp_path / "other", [record(*BASELINE, reference_sha256="d4" * 32, finished="2026-01-02T03:04:05")]
    )
    site = tmp_path / "site"
    pages = publish([run, other], site)
    assert pages == [site / "index.html", site / "quick" / "index.html", site / "other" / "index.html"]
    told = text_of(site / "index.html")
    for each in ("A quick study", "digits", "Example CPU @ 2.00GHz, 2 threads", "2026-01-02"):
        assert each in told
    assert summarise([run]).answers[0].sentence in told
    for page in pages:
        assert len(links(page)) > 4
        assert all((page.parent / link).is_file() for link in links(page))


def test_a_run_is_there_to_download_and_gives_the_same_tables(run: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    publish([run], site)
    assert {"run.zip", "table.csv", "table.parquet", "table.tex"} <= {path.name for path in (site / "quick").iterdir()}
    assert summarise([site / "quick" / "run.zip"]).table.equals(summarise([run]).table)


def test_runs_of_one_protocol_stand_together_and_others_do_not(run: Path, tmp_path: Path) -> None:
    alike = write_run(tmp_path / "seeds", [record(*BASELINE, seed=1), record("heun", seed=1)])
    other = write_run(tmp_path / "other", [record(*BASELINE, images=2000)])
    site = tmp_path / "site"
    publish([run, alike, other], site)
    assert "quick + seeds" in text_of(site / "index.html")
    assert "2,000 images" not in text_of(site / "together" / "index.html")
    assert not (site / "together" / "run.zip").exists()
    assert sorted(path.name for path in site.iterdir() if path.is_dir()) == ["other", "quick", "seeds", "together"]


def test_packed_runs_are_published_as_folders_are(run: Path, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    pack(run, tmp_path / "reports" / "run.zip")
    publish([tmp_path / "reports" / "run.zip"], tmp_path / "site")
    packed = (tmp_path / "site" / "reports" / "run.zip").read_bytes()
    assert packed == (tmp_path / "reports" / "run.zip").read_bytes()


def test_the_same_runs_have_the_same_bytes(run: Path, tmp_path: Path) -> None:
    publish([run], tmp_path / "one")
    publish([run], tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_to_publish_again_takes_away_what_it_wrote_before_and_nothing_else(run: Path, tmp_path: Path) -> None:
    site, other = tmp_path / "site", write_run(tmp_path / "other", [record(*BASELINE, images=2000)])
    (site / ".git").mkdir(parents=True)
    (site / "CNAME").write_text("example.org")
    publish([run, other], site)
    (site / "other" / "mine.txt").write_text("mine")
    publish([run], site)
    assert (site / "CNAME").read_text() == "example.org"
    assert (site / ".git").is_dir()
    assert [path.name for path in (site / "other").iterdir()] == ["mine.txt"]
    assert sorted(json.loads((site / "site.json").read_text())["files"]) == sorted(
        set(files(site)) - {"site.json", "CNAME", "other/mine.txt"}
    )


def test_what_is_not_its_own_is_never_replaced(run: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "quick").mkdir(parents=True)
    (site / "quick" / "table.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"table\.csv' is there, and publish did not write it"):
        publish([run], site)
    assert files(site) == {"quick/table.csv": b"mine"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quick", "site"]
    before = files(run)
    (run / "index.html").write_text("a report")
    with pytest.raises(UsageError, match="publish did not write it"):
        publish([run], run)
    assert files(run) == before | {"index.html": b"a report"}


@pytest.mark.parametrize("name", ["../victim", "/etc/victim", "a/../../victim", "a/b/c", "..\\victim", ""])
def test_a_list_that_leads_elsewhere_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "victim").write_text("kept")
    (site / "site.json").write_text(json.dumps({"schema": 1, "files": [name]}))
    with pytest.raises(UsageError, match="is not in the site"):
        publish([run], site)
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_folder_of_the_site_that_is_a_link_is_not_followed(run: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    site.mkdir()
    (site / "quick").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is no folder of the site"):
        publish([run], site)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "content", ["", "[]", '{"schema": 1}', '{"schema": "x", "files": []}', '{"schema": 1, "files": 3}']
)
def test_a_damaged_list_is_refused(run: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "site.json").write_text(content)
    with pytest.raises(UsageError, match="is no list of a site's files"):
        publish([run], tmp_path / "site")


def test_a_list_of_a_newer_version_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "site.json").write_text('{"schema": 2, "files": []}')
    with pytest.raises(UsageError, match="upgrade"):
        publish([run], tmp_path / "site")


def test_nothing_is_written_where_a_page_cannot_be_made(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "pack", lambda *_: (_ for _ in ()).throw(UsageError("no pack")))
    with pytest.raises(UsageError, match="no pack"):
        publish([run], tmp_path / "site")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quick"]


def test_folders_have_plain_names_that_differ_whatever_runs_are_called(tmp_path: Path) -> None:
    names = ["../x", "a b", "a-b", "A B", "together", "<b>", "..."]
    found = sites._folders(names, {"together"})
    assert found == ["x", "a-b", "a-b-2", "A-B-3", "together-2", "b", "run"]


def test_names_of_markup_are_text_in_the_index(tmp_path: Path) -> None:
    hostile = '<script>alert(1)</script>"'
    run = write_run(tmp_path / "run", [record(*BASELINE, model=hostile, device_name=hostile)], title=hostile)
    publish([run], tmp_path / "site")
    page = Page((tmp_path / "site" / "index.html").read_text())
    assert "script" not in page.tags
    assert hostile in page.text


def test_wrong_usage_says_what_is_expected(run: Path, tmp_path: Path, cli: Cli) -> None:
    with pytest.raises(UsageError, match="no run was given"):
        publish([], tmp_path / "site")
    with pytest.raises(UsageError, match="given twice"):
        publish([run, run], tmp_path / "site")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file; expected a folder"):
        publish([run], tmp_path / "file")
    assert "expected run folders" in cli("publish", "-o", str(tmp_path / "site"), status=2).err
    assert "index.html" in cli("publish", str(run), "-o", str(tmp_path / "site")).out


def test_a_run_called_as_a_page_of_several_has_a_page_of_its_own(tmp_path: Path) -> None:
    def written(name: str, model: str) -> Path:
        return write_run(tmp_path / name, [record(*BASELINE, model_sha256=model), record("heun", model_sha256=model)])

    runs = [written(name, each) for name, each in (("a", "1"), ("b", "1"), ("together-2", "2"), ("c", "2"))]
    pages = publish(runs, tmp_path / "site")
    assert len({path.parent.name for path in pages}) == len(pages) == 7


def test_runs_of_one_name_are_told_apart_without_their_paths(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / place / "quick", [record(*BASELINE, finished=day), record("heun", finished=day)])
        for place, day in (("a", "2026-01-01T00:00:00"), ("b", "2026-01-02T00:00:00"))
    ]
    publish(runs, tmp_path / "site")
    for path in (tmp_path / "site").rglob("*"):
        if path.suffix in (".csv", ".html", ".md", ".tex"):
            assert str(tmp_path) not in path.read_text(), path
    assert "quick-2" in (tmp_path / "site" / "index.html").read_text()


def test_the_root_of_a_disk_is_no_site(run: Path) -> None:
    with pytest.raises(UsageError, match="is no place for a site"):
        publish([run], Path("/"))

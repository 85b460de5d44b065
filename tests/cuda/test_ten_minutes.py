"""The program of ten minutes: whatever a stage does, the next is run, and what was found comes home."""

import io
import json
import sys
import tarfile
import time
from pathlib import Path

import pytest
import torch
from photographs import write_photographs
from PIL import Image
from ten_minutes.__main__ import Program, main
from ten_minutes.job import Job
from ten_minutes.prepare import unpacked
from ten_minutes.stages import MAIN, STAGES, Stage
from ten_minutes.summary import MOST, summary

from bench.quality.datasets import open_data

_FINDS = """
import json, sys, time
from pathlib import Path
out, work = Path(sys.argv[1]), Path(sys.argv[2])
(out / "NAME.json").write_text(json.dumps({"lines": [{"what": "seen", "ok": OK, "measured": 1.0, "bound": 0.5}]}))
(work / "NAME").mkdir()
(work / "NAME" / "large").write_bytes(bytes(range(256)) * 40)
print("said by NAME", flush=True)
END
"""


def _program(tmp_path: Path, ends: dict[str, str], ok: bool = True, parts: int = 0) -> Program:
    """Stages that find something and then end as they are told."""

    def command(program: Program, stage: Stage, out: Path, box: float) -> list[str]:
        text = _FINDS.replace("NAME", stage.name).replace("END", ends[stage.name]).replace("OK", str(ok))
        return [sys.executable, "-c", text, str(out), str(program.work)]

    for name in ("out", "work"):
        (tmp_path / name).mkdir()
    made = [Stage(name, 3.0, 3.0, parts=parts) for name in ends]
    return Program(tmp_path / "out", tmp_path / "work", None, True, 60.0, made, command, began=time.monotonic())


def test_a_stage_that_fails_or_hangs_stops_no_other_and_what_it_found_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = {
        "fails": "sys.exit(3)",
        "hangs": "time.sleep(600)",
        "dies": "import os; os.kill(os.getpid(), 9)",
        "runs": "",
    }
    program = _program(tmp_path, ends)
    assert program.run(list(ends)) == 1
    found = {name: json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ends}
    assert {name: each["ended"] for name, each in found.items()} == {
        "fails": "failed with status 3",
        "hangs": "ended after its 3 s",
        "dies": "failed with status -9",
        "runs": "done",
    }
    for name, each in found.items():
        assert each["lines"][0]["what"] == "seen"
        assert f"said by {name}" in each["log"]
    assert "== hangs: ended after its 3 s" in capsys.readouterr().out


@pytest.mark.parametrize(("ok", "status"), [(True, 0), (False, 1)])
def test_a_line_that_is_wrong_is_told_by_the_exit_status(tmp_path: Path, ok: bool, status: int) -> None:
    assert _program(tmp_path, {"runs": ""}, ok).run(["runs"]) == status


def test_all_stages_together_take_no_longer_than_they_may(tmp_path: Path) -> None:
    program = _program(tmp_path, {"hangs": "time.sleep(600)", "late": ""})
    program.seconds = 0.0
    program.run(["hangs", "late"])
    assert json.loads((tmp_path / "out" / "hangs.json").read_text())["ended"] == "ended after its 1 s"


@pytest.mark.parametrize(("parts", "left_out"), [(3, None), (2, "bytes are more than 2 files hold")])
def test_a_folder_is_packed_into_files_that_are_the_folder_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int, left_out: str | None
) -> None:
    monkeypatch.setattr("ten_minutes.__main__._PART", 300)
    program = _program(tmp_path, {"packs": ""}, parts=parts)
    program.run(["packs"])
    found = json.loads((tmp_path / "out" / "packs.json").read_text())
    files = sorted((tmp_path / "out").glob("packs.tar.gz.*"))
    assert len(files) == parts
    assert all(path.stat().st_size <= 300 for path in files)
    if left_out is not None:
        assert left_out in found["left_out"]
        return
    with tarfile.open(fileobj=io.BytesIO(b"".join(path.read_bytes() for path in files))) as tar:
        assert tar.getnames() == ["packs", "packs/large", "packs/packs.log"]
        large = tar.extractfile("packs/large")
        assert large is not None
        assert large.read() == bytes(range(256)) * 40


def test_what_comes_home_is_at_most_eight_files_of_the_stages_that_there_are() -> None:
    assert len(MAIN) + sum(stage.parts for stage in STAGES) <= 8
    assert sum(stage.box_s for stage in STAGES if stage.serves is None) <= 60 * 9.3 - 10.0
    assert {stage.serves for stage in STAGES} - {None} <= set(MAIN)


def test_photographs_in_a_tar_are_those_of_the_folder(tmp_path: Path) -> None:
    write_photographs(tmp_path, 32, train=3)
    for path in sorted((tmp_path / "train").rglob("*.png")):
        Image.open(path).save(path.with_suffix(".jpg"), quality=75)
        path.unlink()
    with tarfile.open(tmp_path / "train.tar.xz", "w:xz") as tar:
        tar.add(tmp_path / "train", "train")
    found, expected = unpacked(tmp_path / "train.tar.xz", "train"), open_data(str(tmp_path / "train"))
    assert (found.sha256(), found.classes) == (expected.sha256(), expected.classes)
    assert torch.equal(found.images, expected.images)


def test_numbers_that_are_not_finite_are_kept_in_words(tmp_path: Path) -> None:
    job = Job("stage", tmp_path, tmp_path, None, True, 60.0)
    job.append("rows", {"value": float("nan"), "others": [1.0, float("inf")]})
    with job.attempt("a part"):
        raise ValueError("with a reason")
    found = json.loads((tmp_path / "stage.json").read_text())
    assert found["rows"] == [{"value": "nan", "others": [1.0, "inf"]}]
    assert found["errors"] == [{"what": "a part", "error": "ValueError: with a reason"}]


def test_a_summary_says_what_is_wrong_and_is_short_enough_to_be_seen(tmp_path: Path) -> None:
    lines = [{"what": f"line {n}", "ok": n != 7, "measured": 0.5, "bound": 0.1} for n in range(9)]
    content = {"ended": "ended after its 60 s", "stage_s": 60.0, "lines": lines, "log": "the last words"}
    (tmp_path / "contact.json").write_text(json.dumps(content))
    said = summary(tmp_path, ("contact", "study"))
    assert "BAD line 7: 0.5 (at most 0.1)" in said
    assert "the last words" in said
    assert "== study: nothing was found" in said
    (tmp_path / "study.json").write_text(json.dumps({"errors": [{"what": "x", "error": "y" * 400}] * 100}))
    long = summary(tmp_path, ("contact", "study"))
    assert len(long) <= MOST
    assert "BAD line 7" in long


def test_a_summary_shows_numbers_that_are_not_finite_and_findings_that_are_damaged(tmp_path: Path) -> None:
    job = Job("contact", tmp_path, tmp_path, None, True, 60.0)
    job.append("lines", {"what": "a distance", "ok": False, "measured": float("nan"), "bound": 1e-4})
    (tmp_path / "speed.json").write_text('{"modes": [')
    said = summary(tmp_path, ("contact", "speed"))
    assert "BAD a distance: nan (at most 0.0001)" in said
    assert "== speed: nothing was found" in said


def test_a_stage_whose_folder_cannot_be_packed_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(program: Program, stage: Stage) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Program, "_pack", full)
    program = _program(tmp_path, {"packs": "", "next": ""}, parts=1)
    program.run(["packs", "next"])
    for name in ("packs", "next"):
        found = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert (found["ended"], found["left_out"]) == ("done", "not packed: OSError: no space left")


def test_a_stage_that_does_not_exist_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rehearse", "--out", str(tmp_path), "--only", "contact,sped"])
    assert "--only sped: expected some of contact, speed, train, study" in capsys.readouterr().err

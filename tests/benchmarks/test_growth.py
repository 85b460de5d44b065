"""What `growth.py` measures is a process by itself, its studies have as many cells as they say, and its lines fit."""

import subprocess
import sys
from pathlib import Path

import pytest
from growth import Point, main, measured, read, run_points, write
from growth_cells import study_of
from growth_figure import fit, table

from bench.study.file import load_study
from bench.study.plan import plan

POINTS = [Point("run", "images", n, 5.0 + 0.002 * n, 9.0, 1000.0) for n in (1000, 2000, 5000)]


def _python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_the_peak_is_that_of_the_process_alone_as_long_as_its_parent_is_small() -> None:
    code = (
        "import sys; from growth import measured\n"
        "for work in ('x = bytearray(300 * 2**20)', 'pass'):\n"
        "    print(measured('run', 'images', 1, [sys.executable, '-S', '-c', work]).peak_mib)\n"
        "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, check=True)
    large, small = map(float, done.stdout.split())
    assert large > 300.0
    assert small < 100.0


def test_a_command_that_fails_is_no_point() -> None:
    with pytest.raises(RuntimeError, match="ended with 3:\nno such thing"):
        measured("run", "images", 1, _python("import sys; print('no such thing', file=sys.stderr); sys.exit(3)"))


@pytest.mark.parametrize("count", [5, 10, 100, 1000])
def test_a_study_has_as_many_cells_as_were_asked_for(count: int, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(study_of(count))
    assert len(plan(load_study(str(study)))) == count


def test_a_number_of_cells_that_is_no_product_is_refused() -> None:
    with pytest.raises(ValueError, match="777 cells: expected"):
        study_of(777)


def test_every_point_varies_one_thing_and_has_images_for_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growth.measured", lambda what, axis, value, command: POINTS[0])
    assert len(list(run_points("batch", [1, 4096], ["fd"], tmp_path))) == 2
    found = [load_study(str(tmp_path / f"batch-{batch}.toml")) for batch in (1, 4096)]
    assert [(study.images, study.batch, study.baseline.steps) for study in found] == [(2000, 1, 10), (4096, 4096, 10)]


def test_points_are_read_as_they_were_written(tmp_path: Path) -> None:
    write(POINTS, tmp_path / "growth.csv")
    assert read(tmp_path / "growth.csv") == POINTS


def test_the_line_through_points_on_a_line_is_that_line() -> None:
    start, slope = fit([1.0, 10.0, 100.0], [5.0, 23.0, 203.0])
    assert (start, slope) == pytest.approx((3.0, 2.0))


def test_the_table_says_what_one_more_costs_and_what_stays() -> None:
    assert table(POINTS).splitlines()[-1] == (
        "- run, images: 5.00 s and 2.00 ms a further image; at most 1,000 MiB, whatever the number."
    )


def test_the_figure_and_the_table_can_be_made_again_from_the_points(tmp_path: Path) -> None:
    write(POINTS, tmp_path / "growth.csv")
    main(["--out", str(tmp_path), "--draw"])
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "growth.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "growth.md").read_text() == table(POINTS) + "\n"

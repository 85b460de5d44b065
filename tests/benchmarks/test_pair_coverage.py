"""The table of how often paired intervals hold is right on numbers that are known, and its study is one."""

import math

import numpy as np
import pytest
from pair_coverage import PAIRS, of_pairs, study, table, unpaired

from bench.study.file import parse_study
from bench.study.plan import plan


def test_the_study_has_the_settings_of_all_pairs() -> None:
    cells = plan(parse_study(study(range(3), 100), "pairs"))
    settings = {(cell.sampler, cell.steps, cell.mode) for cell in cells}
    assert settings == {setting for pair in PAIRS.values() for setting in pair}
    assert {cell.seed for cell in cells} == {0, 1, 2}


def test_coverage_and_widths_of_means_that_share_their_luck_are_what_they_must_be() -> None:
    generator, rows = np.random.default_rng(0), list[dict[int, list[float]]]()
    images = generator.normal(size=(2, 400, 10, 20))
    images[1] = 0.9**0.5 * images[0] + 0.1**0.5 * images[1]
    for each in images:
        blocks = each.mean(axis=2)
        without = (blocks.sum(axis=1, keepdims=True) - blocks) / 9
        rows.append(
            {
                n: [float(block.mean()), *left.tolist()]
                for n, (block, left) in enumerate(zip(blocks, without, strict=True))
            }
        )
    held, said, true = of_pairs(rows[0], rows[1], 1)
    expected = math.sqrt(2 * (1 - 0.9**0.5) / 200)
    assert held.held / held.of == pytest.approx(0.95, abs=0.033)
    assert (said, true) == pytest.approx((expected, expected), rel=0.1)
    assert unpaired(rows[0], rows[1]) > 2.5 * held.width
    every = {setting: rows[n] for pair in PAIRS.values() for n, setting in enumerate(pair)}
    assert table(every).count("\n") == 1 + 2 * len(PAIRS)

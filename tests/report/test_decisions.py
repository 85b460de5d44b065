"""What a run whose images grow decides: who is left out, who is the answer, and at which error."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from report_records import record
from scipy import stats

from bench.record import Record
from bench.report.data.answer import Answer
from bench.report.data.columns import KEYS, Row, key_of, rows_of, setting, with_columns
from bench.report.data.decided import decided_answer, left_out_columns, left_out_summary
from bench.report.data.distances import of_key
from bench.report.data.gaps import at_images
from bench.report.data.looks import Decisions, follow
from bench.report.data.rows import PAIRS, aggregate
from bench.report.data.runs import NEEDED, TIMES
from bench.report.data.text import known

Name = tuple[str, int]
BASELINE: Name = ("heun", 10)
LOOKS = (500, 1000)
STEP = np.array([-1.0, 1.0] * 5)
"""Of what is left out block by block, about its mean."""


def made(name: Name, images: int, fd: float, scatter: float = 0.0, **changes: object) -> Record:
    """A record whose distance has left-out values as far apart as a standard error says; nothing is timed."""
    # of values c and -c the jackknife's standard error is 3 c
    left = [fd + scatter / 3 * float(each) for each in STEP]
    untimed = dict.fromkeys((*TIMES, "kid_mean", "kid_std"))
    values = {"fd_digits": fd, "fd_digits_std": scatter, "fd_digits_left_out": left, "nfe": float(name[1]), "run": "r"}
    return record(name[0], "trailing", name[1]) | untimed | values | {"images": images} | changes


def followed(
    records: Sequence[Record],
    looks: Sequence[int] = LOOKS,
    tolerance: float = 0.1,
    planned: int = 0,
    *,
    timed: bool = False,
) -> Decisions:
    frame = with_columns(pd.DataFrame.from_records(records), [*NEEDED, *KEYS, "timed_batch"])
    flags = [(row["sampler"], row["steps"]) == BASELINE for row in rows_of(frame)]
    frame = frame.assign(baseline=flags)
    return follow(frame, aggregate(frame), looks, tolerance, planned, timed=timed)


def study(values: Mapping[Name, tuple[float, float]], looks: Sequence[int] = LOOKS) -> list[Record]:
    """Records of all looks, with the same distances and standard errors; the baseline has 1.0, and no error."""
    everyone = {BASELINE: (1.0, 0.0), **values}
    return [made(name, images, *each) for images in looks for name, each in everyone.items()]


def said(found: Decisions) -> Answer:
    return decided_answer(found, list(found.rows.values()))


def out(found: Decisions) -> dict[Name, tuple[int, str]]:
    return {(e.row["sampler"], e.row["steps"]): (e.row["images"], e.reason) for e in found.out.values()}


def left(found: Decisions) -> set[Name]:
    return {(found.rows[key]["sampler"], found.rows[key]["steps"]) for key in found.left}


def bound(p: float) -> float:
    """The gap in standard errors that has a one-sided p value on nine degrees of freedom."""
    return float(stats.t.isf(p, 9))


def test_what_is_far_off_is_left_out_at_the_first_look_and_what_is_in_question_is_not() -> None:
    found = followed(study({("ddim", 2): (5.0, 0.1), ("ddim", 5): (1.1, 0.1)}))
    assert out(found) == {("ddim", 2): (500, "shown not to be within 10 %")}
    assert left(found) == {BASELINE, ("ddim", 5)}
    assert (found.done, found.decided, found.winner) == (2, False, None)


def test_the_cheapest_that_is_shown_to_be_good_enough_is_the_answer_once_nobody_cheaper_is_left() -> None:
    found = followed(study({("ddim", 2): (5.0, 0.1), ("ddim", 5): (0.9, 0.001), ("ddim", 7): (0.9, 0.001)}))
    assert (found.done, found.decided) == (1, True)
    assert found.winner is not None
    assert setting(found.rows[found.winner]) == "ddim on trailing at 5 steps"
    assert out(found)["ddim", 7][1].startswith("no cheaper and no better than")
    widths = [max(len(cell) for cell in column.cells) for column in left_out_summary(list(found.out.values()))]
    assert sum(widths) + len("Images  Left out") < 80, "as wide as a terminal"


def test_who_costs_more_stays_only_where_it_is_shown_to_be_better_than_all_that_are_good_enough() -> None:
    values = {("ddim", 5): (0.9, 0.001), ("ddim", 3): (1.1, 0.1), ("ddpm", 8): (0.5, 0.001), ("dpm++2m", 8): (0.9, 0.1)}
    found = followed(study(values))
    assert left(found) == {BASELINE, ("ddim", 5), ("ddim", 3), ("ddpm", 8)}
    assert [row["sampler"] for row in (each.other for each in found.out.values()) if row is not None] == ["ddim"]
    assert not found.decided, "with three steps may be good enough"


def test_one_that_hardly_costs_less_than_the_answer_is_worth_no_images() -> None:
    values = {("ddim", 100): (0.9, 0.001), ("ddpm", 96): (1.1, 0.1), ("ddpm", 94): (1.1, 0.1)}
    records = [made(BASELINE, images, 1.0, nfe=200.0) for images in LOOKS]
    records += [made(name, images, *each) for images in LOOKS for name, each in values.items()]
    assert left(followed(records)) == {BASELINE, ("ddim", 100), ("ddpm", 94)}


@pytest.mark.parametrize(("part", "is_out"), [(0.99, True), (1.01, False)])
@pytest.mark.parametrize("looks", [(500, 1000), (250, 500, 1000)])
def test_a_look_spends_the_share_of_two_and_a_half_per_cent_that_its_images_are_of_the_most(
    part: float, is_out: bool, looks: Sequence[int]
) -> None:
    level = 0.025 * looks[0] / looks[-1]
    records = [made(BASELINE, looks[0], 1.0), made(("ddim", 5), looks[0], 1.1 + 0.1 * bound(part * level), 0.1)]
    assert (("ddim", 5) in out(followed(records, looks))) == is_out


@pytest.mark.parametrize(("part", "is_good"), [(0.99, True), (1.01, False)])
@pytest.mark.parametrize("others", [0, 3])
def test_whoever_is_taken_for_good_enough_is_corrected_for_all_that_may_be(
    part: float, is_good: bool, others: int
) -> None:
    level = 0.025 * 0.5 / (1 + others)
    values = {("ddpm", steps): (1.1, 0.1) for steps in range(2, 2 + others)}
    records = [made(BASELINE, 500, 1.0), *(made(name, 500, *each) for name, each in values.items())]
    records.append(made(("ddim", 6), 500, 1.1 - 0.1 * bound(part * level), 0.1))
    found = followed(records)
    assert (found.winner is not None) == is_good


def test_distances_are_taken_to_what_they_are_expected_to_be_with_the_most_images() -> None:
    """A bias of c / N, exactly: without a tenth of the images c / 0.9 N."""
    truth, c = 0.3, 200.0
    pairs = {0: [truth + c / 500, *[truth + c / 450] * 10]}
    row: Row = {"fd_x": truth + c / 500, "images": 500, PAIRS: {"fd_x": pairs}}
    for images in (500, 1000, 50_000):
        assert at_images(row, of_key("fd_x"), images) == pytest.approx(truth + c / images)
    assert at_images(row, of_key("fd_x"), None) == row["fd_x"]


def test_a_bias_that_hides_a_difference_at_few_images_does_not_make_it_good_enough() -> None:
    """1.5 times the baseline's distance in truth; with the bias of 500 images 1.05 times."""

    def biased(name: Name, truth: float) -> Record:
        left = [truth + 4500 / 450 + 0.001 * float(each) for each in STEP]
        return made(name, 500, truth + 4500 / 500) | {"fd_digits_left_out": left}

    found = followed([biased(BASELINE, 1.0), biased(("ddim", 5), 1.5)], (500, 50_000))
    assert out(found) == {("ddim", 5): (500, "shown not to be within 10 %")}


def test_a_look_that_is_not_complete_is_not_taken() -> None:
    records = study({("ddim", 5): (1.1, 0.1), ("ddpm", 5): (1.1, 0.1)})
    assert followed(records).done == 2
    assert followed(records[:-1]).done == 1
    assert followed(records[:2], planned=2).done == 1
    assert followed(records[:2], planned=3).done == 0


def test_while_settings_are_still_timed_nobody_is_left_out_for_that_and_nothing_is_decided() -> None:
    """Killed in the first round of timing, which has come to two of four settings."""
    done: Record = {"latency_s": [0.5, 0.5], "timed_batch": 250, "timing_note": None}
    waiting: Record = {"timed_batch": None, "timing_note": None}
    times = (done, waiting, done, waiting)
    values = {("ddim", 2): (0.9, 0.001), ("ddim", 5): (0.9, 0.001), ("ddpm", 5): (0.9, 0.001)}
    records = [each | more for each, more in zip(study(values)[:4], times, strict=True)]
    found = followed(records, timed=True)
    assert (found.done, found.decided, found.out) == (0, False, {})
    failed = [each if known(each["timed_batch"]) else each | {"timing_note": "timing failed: x"} for each in records]
    assert set(out(followed(failed, timed=True)).values()) >= {(500, "was not timed")}
    assert followed(records).done == 1, "of a study without timing, nobody waits for it"


def test_a_baseline_that_is_expected_below_0_is_as_good_as_itself() -> None:
    """Round-off or the extrapolation takes distances there: the tolerance is on their far side."""
    left = [1.0 + 0.12 + 0.0001 * float(each) for each in STEP]
    alike = {"fd_digits_left_out": left}
    other = {"fd_digits_left_out": [each + 1e-5 * n for n, each in enumerate(left)]}
    assert (
        at_images(
            {"fd_digits": 1.0, "images": 500, PAIRS: {"fd_digits": {0: [1.0, *left]}}}, of_key("fd_digits"), 50_000
        )
        < 0
    )
    found = followed([made(BASELINE, 500, 1.0) | alike, made(("ddim", 5), 500, 1.0) | other], (500, 50_000))
    assert found.winner is not None


def test_a_setting_that_fails_is_left_out_and_holds_up_nobody() -> None:
    records = study({("ddim", 5): (1.1, 0.1), ("ddpm", 5): (1.1, 0.1)})
    failed = records[-1] | {"status": "failed", "error": "x", "fd_digits": None, "fd_digits_left_out": None}
    found = followed([*records[:-1], failed])
    assert (found.done, out(found)) == (2, {("ddpm", 5): (1000, "a cell of it failed")})
    assert left_out_columns(list(found.out.values()))[5].cells[0] == "–"  # noqa: RUF001


def test_without_a_baseline_nothing_is_decided_and_nothing_goes_on() -> None:
    found = followed(study({("ddim", 5): (1.1, 0.1)})[1:2])
    assert (found.left, found.winner) == ([], None)
    assert out(found) == {("ddim", 5): (500, "there is no baseline to compare it with")}


def test_seeds_are_waited_for_and_pooled() -> None:
    seeds = [[made(name, 500, fd, 0.1, seed=seed) for seed in (0, 1, 2)] for name, fd in ((BASELINE, 1.0),)]
    others = [made(("ddim", 5), 500, 1.1 + 0.02 * seed, 0.1, seed=seed) for seed in (0, 1, 2)]
    found = followed([*seeds[0], *others])
    assert found.rows[found.left[-1]]["seeds"] == 3
    second = [made(BASELINE, 1000, 1.0, 0.1, seed=seed) for seed in (0, 1, 2)]
    assert followed([*seeds[0], *others, *second]).done == 1


def test_the_answer_says_who_it_is_and_how_sure_or_who_is_in_question() -> None:
    good = said(followed(study({("ddim", 2): (5.0, 0.1), ("ddim", 5): (0.9, 0.001)})))
    assert good.sentence.startswith("ddim on trailing at 5 steps (5 evaluations) is the setting of fewest evaluations ")
    assert good.sentence.endswith("Decided with 500 of 1,000 images (95 %, over all looks and settings; costs to 5 %).")
    assert good.speedup == pytest.approx(2.0)
    none = said(followed(study({("ddim", 2): (5.0, 0.1)})))
    assert none.sentence.startswith("No setting whose fd_digits is within 10 % of the baseline's (1.00, heun on ")
    assert none.winner is None
    question = said(followed(study({("ddim", 5): (1.12, 0.1)})))
    assert question.sentence.startswith("Not decided with 1,000 of 1,000 images: it is not shown whether ddim on ")
    assert "images would probably tell" in question.sentence


def test_the_answer_names_settings_that_could_not_be_compared_and_speaks_of_none_of_them() -> None:
    records = study({("ddim", 2): (5.0, 0.1), ("ddpm", 3): (1.0, 0.1)}, [500])
    failed = records[-1] | {"status": "failed", "error": "x", "fd_digits": None, "fd_digits_left_out": None}
    found = followed([*records[:-1], failed])
    assert found.decided
    assert said(found).sentence.endswith("Not compared: 1 setting (1: a cell of it failed).")
    assert [each.compared for each in found.out.values()] == [False, True]


def test_two_kinds_of_missing_are_the_same_setting() -> None:
    here = made(("ddim", 5), 500, 1.0) | {"labels": None}
    assert key_of(here) == key_of(here | {"labels": math.nan, "images": 1000})
    assert key_of(here) != key_of(here | {"mode": "bf16"})

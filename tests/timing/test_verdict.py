"""Whether times hold up, from what was watched while they were taken, and what is said of those that do not."""

from dataclasses import replace
from typing import Any

import pytest

from bench.timing.monitor import WINDOW_S, Watch, summed, verdict


def calls(count: int, share: float | None = 0.0, seconds: float = WINDOW_S, **changes: Any) -> list[Watch]:
    values = {"throttled": (), "other_processes": None, "energy_j": None} | changes
    return [Watch(share, seconds=seconds, **values)] * count


def test_calls_are_summed_by_how_long_they_were_watched() -> None:
    long = Watch(0.1, ("a",), 1, 3.0, 3.0)
    short = Watch(0.5, ("b", "a"), 2, 1.0, 1.0)
    total = summed([long, short])
    assert total.others_share == pytest.approx(0.2)
    assert replace(total, others_share=None) == Watch(None, ("a", "b"), 2, 4.0, 4.0)
    assert summed([long, Watch(None, (), None, None, 1.0)]) == Watch(None, ("a",), 1, None, 4.0)


def test_undisturbed_times_are_valid() -> None:
    assert verdict([1.0, 1.01, 1.02, 1.03, 5.0], calls(5, share=0.04), None) is None


def test_the_reasons_stand_in_one_line() -> None:
    times = [1.0, 1.1, 1.2, 1.3]
    assert verdict(times, calls(4, share=0.12), None) == "others used 12 % of the processors; times spread by 13 %"


def test_a_spread_needs_four_times() -> None:
    assert verdict([1.0, 2.0, 3.0], calls(3), None) is None
    assert verdict([1.0, 2.0, 3.0, 4.0], calls(4), None) == "times spread by 60 %"


def test_one_disturbed_call_of_many_leaves_the_median_valid_and_half_of_them_do_not() -> None:
    times = [1.0] * 9
    assert verdict(times, [*calls(8), *calls(1, share=0.9)], None) is None
    assert verdict(times, [*calls(4), *calls(5, share=0.9)], None) == "others used 90 % of the processors"


def test_calls_too_short_for_the_kernels_counters_are_looked_at_together() -> None:
    short = WINDOW_S / 4
    ticks = [*calls(1, share=0.5, seconds=short), *calls(3, share=-0.1, seconds=short)]  # 5 % in all
    assert verdict([short] * 4, ticks, None) is None
    assert verdict([short] * 4, calls(4, share=0.5, seconds=short), None) == "others used 50 % of the processors"
    assert verdict([short] * 3, calls(3, share=0.5, seconds=short), None) is None  # nothing can be said of 0.3 s


def test_beside_a_gpu_the_host_may_be_in_use_as_long_as_a_processor_is_left() -> None:
    assert verdict([1.0], calls(1, share=0.3), [1.0]) is None
    assert verdict([1.0], calls(1, share=0.7), [1.0]) == "others used 70 % of the processors"


def test_throttling_and_other_processes_count_from_a_quarter_of_the_calls_on() -> None:
    held = calls(1, throttled=("software power cap",), other_processes=2)
    free = calls(1, other_processes=0)
    assert verdict([1.0] * 5, held + free * 4, [1.0] * 5) is None
    said = "held back in 1 of 4 rounds: software power cap; 2 other processes on the device"
    assert verdict([1.0] * 4, held + free * 3, [1.0] * 4) == said


def test_the_two_clocks_have_to_agree_to_5_percent_or_50_microseconds() -> None:
    assert verdict([100e-6], calls(1), [60e-6]) is None
    assert verdict([10e-3], calls(1), [9.6e-3]) is None
    said = "the host's clock says 10 ms and CUDA's events 9 ms"
    assert verdict([10e-3], calls(1), [9e-3]) == said

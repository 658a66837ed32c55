"""Intervals and verdicts on numbers worked by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdsearch.evidence import Interval, difference_interval, effect, mean_interval, pooled, verdict

approx = pytest.approx
accuracies = st.dictionaries(st.integers(0, 9), st.integers(0, 1000).map(lambda right: right / 1000), min_size=1)


def interval(low: float, high: float) -> Interval:
    return Interval(mean=(low + high) / 2, low=low, high=high, seeds=5)


def test_golden_mean_of_three_seeds_with_students_t():
    # mean 0.92, standard deviation 0.02, t(0.975; 2) = 4.3027: half width 4.3027 * 0.02 / sqrt(3)
    found = mean_interval({0: 0.90, 1: 0.92, 2: 0.94}, 1000)
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert (found.mean, found.low, found.high, found.seeds) == (
        approx(0.92), approx(0.92 - half, abs=1e-6), approx(0.92 + half, abs=1e-6), 3,
    )  # fmt: skip


def test_a_mean_is_clipped_to_what_an_accuracy_can_be():
    assert mean_interval({0: 0.99, 1: 1.0}, 100).high == 1.0
    assert mean_interval({0: 0.01, 1: 0.0}, 100).low == 0.0


def test_golden_wilson_where_all_seeds_agree():
    # Wilson (1927) for 90 of 100, z = 1.959964: (0.8256, 0.9448)
    for sample in ({0: 0.9}, {0: 0.9, 1: 0.9, 2: 0.9}):
        found = mean_interval(sample, 100)
        assert (found.low, found.high) == (approx(0.8256, abs=1e-4), approx(0.9448, abs=1e-4))


def test_golden_paired_difference():
    # differences 0.01, 0.02, 0.03: mean 0.02, standard deviation 0.01; the seeds' own spread does not count
    found = difference_interval({0: 0.71, 1: 0.82, 2: 0.93}, {2: 0.90, 0: 0.70, 1: 0.80}, 1000)
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert (found.mean, found.low, found.high) == (approx(0.02), approx(0.02 - half, abs=1e-6), approx(0.02 + half))
    assert found.seeds == 3


def test_seeds_that_only_one_side_has_are_left_out_of_a_pairing():
    whole = difference_interval({0: 0.71, 1: 0.82, 9: 0.10}, {0: 0.70, 1: 0.80, 8: 0.99}, 1000)
    assert whole == difference_interval({0: 0.71, 1: 0.82}, {0: 0.70, 1: 0.80}, 1000)


def test_golden_welch_without_a_seed_in_common():
    # equal variances 1e-4 and sizes 3: standard error sqrt(2e-4 / 3), 4 degrees of freedom, t = 2.776445
    found = difference_interval({0: 0.90, 1: 0.91, 2: 0.92}, {3: 0.80, 4: 0.81, 5: 0.82}, 1000)
    half = 2.776445 * math.sqrt(2e-4 / 3)
    assert (found.mean, found.low) == (approx(0.1), approx(0.1 - half, abs=1e-6))


def test_golden_newcombe_where_all_pairs_differ_alike():
    # Newcombe (1998), table II (a): 56/70 against 48/80, method 10: 0.0524 to 0.3339. Here with one size for both:
    # 80 and 60 of 100: Wilson (0.7112, 0.8666) and (0.5020, 0.6906)
    found = difference_interval({0: 0.8, 1: 0.8}, {0: 0.6, 1: 0.6}, 100)
    assert found.low == approx(0.2 - math.hypot(0.8 - 0.71117, 0.69060 - 0.6), abs=1e-4)
    assert found.high == approx(0.2 + math.hypot(0.86663 - 0.8, 0.6 - 0.50200), abs=1e-4)


@given(accuracies)
def test_a_sample_is_no_better_than_itself(sample):
    found = difference_interval(sample, sample, 1000)
    assert found.mean == 0
    assert found.low <= 0 <= found.high
    assert effect(found) == ("no effect seen" if len(sample) > 1 else "unclear")


@given(accuracies, accuracies)
def test_ends_hold_the_mean_and_turn_round_with_the_sides(these, those):
    one, other = difference_interval(these, those, 1000), difference_interval(those, these, 1000)
    assert -1 <= one.low <= one.mean + 1e-12 and one.mean - 1e-12 <= one.high <= 1
    assert (one.mean, one.low, one.high) == (approx(-other.mean), approx(-other.high), approx(-other.low))


def test_pooled_is_the_mean_of_each_seed_that_all_have():
    assert pooled([{0: 0.5, 1: 0.7, 2: 0.9}, {0: 0.7, 1: 0.9}]) == {0: approx(0.6), 1: approx(0.8)}
    assert pooled([]) == {}


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.001, 0.010), "better"),
        ((0.0, 0.010), "unclear"),
        ((-0.010, 0.0019), "no better"),
        ((-0.010, 0.002), "unclear"),
        ((-0.02, -0.01), "no better"),
        ((0.0001, 0.0015), "better"),
    ],
)
def test_verdicts(ends, said):
    assert verdict(interval(*ends)) == said


def test_one_seed_gives_no_verdict():
    alone = difference_interval({0: 0.9855}, {0: 0.98}, 10_000)
    assert alone.low > 0, "the examples alone would call it better"
    assert (verdict(alone), effect(alone)) == ("unclear", "unclear")


def test_rounding_in_the_last_bit_is_no_spread():
    pooled_seeds = pooled([{0: 359 / 360, 1: 358 / 360}, {0: 343 / 360, 1: 344 / 360}])
    assert mean_interval(pooled_seeds, 360).high - mean_interval(pooled_seeds, 360).low > 0.02
    other = {seed: value + 1e-17 for seed, value in pooled_seeds.items()}
    found = difference_interval(pooled_seeds, other, 360)
    assert found.low < -0.01 and found.high > 0.01


def test_intervals_of_a_comparison_hold_together():
    these, those = {0: 0.71, 1: 0.82, 2: 0.93}, {0: 0.70, 1: 0.80, 2: 0.90}
    by_itself, together = (difference_interval(these, those, 1000, among=among) for among in (1, 4))
    # t(1 - 0.025 / 4; 2) = 8.8602 against t(0.975; 2) = 4.3027
    assert (together.high - together.mean) / (by_itself.high - by_itself.mean) == approx(8.8602 / 4.3027, abs=1e-3)


def test_effects():
    assert effect(interval(0.001, 0.1)) == "better"
    assert effect(interval(-0.1, -0.001)) == "worse"
    assert effect(interval(-0.1, 0.0)) == "no effect seen"


def test_no_runs_say_nothing():
    with pytest.raises(ValueError, match="at least one run"):
        mean_interval({}, 10)
    with pytest.raises(ValueError, match="either side"):
        difference_interval({0: 0.5}, {}, 10)

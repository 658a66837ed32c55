import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdsearch.pareto import epsilon_net, front, hypervolume, hypervolumes, knees, ranks

# few different values, so that ties and equal points are common
coordinates = st.integers(0, 6).map(float)
points_2 = arrays(np.float64, st.tuples(st.integers(1, 25), st.just(2)), elements=coordinates)
points_3 = arrays(np.float64, st.tuples(st.integers(1, 25), st.just(3)), elements=coordinates)
CORNER = np.array([5.0, 5.0])


def dominates(one, other) -> bool:
    return bool((one <= other).all() and (one < other).any())


def test_front_of_five_points_by_hand():
    points = np.array([[1, 4], [2, 2], [4, 1], [3, 3], [2, 5]], dtype=float)
    assert front(points).tolist() == [2, 1, 0]  # rising by the last objective


def test_front_keeps_equal_points_and_drops_ties_in_one_objective():
    points = np.array([[1, 1], [1, 1], [1, 2], [0, 3]], dtype=float)
    assert sorted(front(points).tolist()) == [0, 1, 3]


def test_front_of_nothing_is_empty():
    assert front(np.empty((0, 2))).tolist() == []


@given(points_2 | points_3)
def test_front_members_are_not_dominated_and_all_others_are(points):
    members = set(front(points).tolist())
    assert members
    for index, point in enumerate(points):
        dominated = any(dominates(other, point) for other in points)
        assert dominated == (index not in members)


@given(points_2 | points_3)
def test_front_rises_by_the_last_objective(points):
    last = points[front(points), -1]
    assert (np.diff(last) >= 0).all()


def test_hypervolume_of_a_staircase_by_hand():
    # 4x1 for (1, 4), 3x2 more for (2, 2), 1x1 more for (4, 1)
    assert hypervolume(np.array([[1, 4], [2, 2], [4, 1]], dtype=float), CORNER) == pytest.approx(4 * 1 + 3 * 2 + 1 * 1)


def test_hypervolume_of_one_point_is_its_rectangle():
    assert hypervolume(np.array([[2.0, 1.0]]), CORNER) == pytest.approx(3 * 4)


@pytest.mark.parametrize("outside", [[5.0, 0.0], [0.0, 5.0], [6.0, 0.0], [0.0, 9.0]])
def test_hypervolume_ignores_points_that_are_not_below_the_reference(outside):
    inside = [2.0, 1.0]
    assert hypervolume(np.array([outside]), CORNER) == 0.0
    assert hypervolume(np.array([inside, outside]), CORNER) == pytest.approx(12)


def test_hypervolume_of_nothing_is_zero():
    assert hypervolume(np.empty((0, 2)), CORNER) == 0.0


@given(points_2, st.randoms(use_true_random=False))
def test_hypervolume_does_not_depend_on_the_order(points, random):
    order = list(range(len(points)))
    random.shuffle(order)
    assert hypervolume(points[order], CORNER) == pytest.approx(hypervolume(points, CORNER))


@given(points_2)
def test_hypervolumes_are_those_of_each_beginning(points):
    assert hypervolumes(points, CORNER).tolist() == [hypervolume(points[: n + 1], CORNER) for n in range(len(points))]


@given(points_2, st.tuples(coordinates, coordinates))
def test_hypervolume_never_falls_with_one_more_point(points, point):
    before = hypervolume(points, CORNER)
    after = hypervolume(np.vstack([points, point]), CORNER)
    assert after >= before - 1e-12
    dominated = any((other <= point).all() for other in points)
    inside = (np.array(point) < CORNER).all()
    assert (after > before) == (inside and not dominated)


@given(points_2)
def test_hypervolume_counts_the_unit_squares_that_are_dominated(points):
    squares = sum(any(x >= a and y >= b for a, b in points) for x in range(5) for y in range(5))
    assert hypervolume(points, CORNER) == pytest.approx(squares)


def test_knee_is_farthest_below_the_line_between_the_ends():
    # scaled to [0, 1], the coordinates of the inner two sum to 0.3 + 0.3 and 0.1 + 0.8
    points = np.array([[0, 10], [3, 3], [1, 8], [10, 0], [9, 9]], dtype=float)
    assert knees(points).tolist() == [1, 2, 3, 0]


def test_knee_does_not_depend_on_units():
    points = np.array([[0, 10], [3, 3], [1, 8], [10, 0]], dtype=float)
    assert knees(points * [0.01, 1e6] + [7, -3])[0] == 1


def test_knee_of_a_front_of_two_is_the_best_in_the_first_objective():
    assert knees(np.array([[3.0, 1.0], [1.0, 3.0], [4.0, 4.0]]))[0] == 1


def test_knee_of_equal_points_is_one_of_them():
    assert knees(np.array([[5.0, 5.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]))[0] in (1, 2, 3)


def test_ranks_of_seven_points_by_hand():
    points = np.array([[1, 4], [2, 2], [4, 1], [3, 3], [2, 5], [4, 4], [2, 2]], dtype=float)
    assert ranks(points).tolist() == [0, 0, 0, 1, 1, 2, 0]


def test_ranks_of_nothing_are_none():
    assert ranks(np.empty((0, 2))).tolist() == []


@given(points_2)
def test_a_rank_is_the_front_of_what_the_ranks_before_leave(points):
    found = ranks(points)
    left = np.arange(len(points))
    for rank in range(int(found.max()) + 1):
        members = left[front(points[left])]
        assert sorted(members) == np.flatnonzero(found == rank).tolist()
        left = np.setdiff1d(left, members)
    assert not len(left)


def test_epsilon_net_begins_with_the_best_then_takes_the_farthest():
    points = np.array([[1, 0], [0, 0], [10, 0], [4, 0]], dtype=float)
    assert epsilon_net(points).tolist() == [1, 2, 3, 0]
    assert epsilon_net(points, 2).tolist() == [1, 2]


def test_epsilon_net_of_nothing_is_empty():
    assert epsilon_net(np.empty((0, 2))).tolist() == []


@given(points_2 | points_3)
def test_each_next_of_an_epsilon_net_is_the_farthest_from_those_before(points):
    order = epsilon_net(points).tolist()
    assert sorted(order) == list(range(len(points)))
    assert points[order[0], 0] == points[:, 0].min()
    for place in range(1, len(order)):
        apart = [min(np.linalg.norm(points[one] - points[other]) for other in order[:place]) for one in order[place:]]
        assert apart[0] == pytest.approx(max(apart))

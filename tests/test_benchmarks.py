"""The races without their hours: traces, seconds to a level, figures and exit status, and how a side is run."""

import json
import math
import time
from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import peers, sides, timeline, vanilla
from benchmarks.common import Figure, at_least, finish
from benchmarks.sides import Run
from benchmarks.timeline import Measured, Reference
from kdsearch import api
from kdsearch.mistakes import Mistake
from tests.studies_for_tests import write_study

ZERO = Reference(accuracy=0.1, parameters=10_000)


def student(seconds: float, accuracy: float, parameters: int, full: bool = True) -> Measured:
    return Measured(seconds=seconds, accuracy=accuracy, parameters=parameters, full=full)


# 0.8 above guessing, one decade below the teacher: 0.8; then 0.4 above, three decades: two decades more at 0.4
LOOP = (student(100, 0.9, 1000), student(300, 0.5, 10), student(600, 0.4, 10))


def test_hypervolume_of_two_students_worked_by_hand():
    assert timeline.hypervolume(LOOP[:1], ZERO) == pytest.approx(0.8)
    assert timeline.hypervolume(LOOP[:2], ZERO) == pytest.approx(0.8 + 0.4 * 2)
    assert timeline.hypervolume((), ZERO) == 0


def test_a_student_as_large_as_the_teacher_or_no_better_than_guessing_adds_nothing():
    assert timeline.hypervolume((student(1, 0.9, 10_000), student(2, 0.1, 10)), ZERO) == 0


def test_seconds_to_a_level_are_those_of_the_student_that_reached_it():
    assert timeline.seconds_to(LOOP, ZERO, 0.8) == 100
    assert timeline.seconds_to(LOOP, ZERO, 0.81) == 300
    assert timeline.seconds_to(LOOP, ZERO, timeline.hypervolume(LOOP, ZERO)) == 300  # the last one added nothing
    assert timeline.seconds_to(LOOP, ZERO, 1.7) == math.inf
    assert timeline.seconds_to((), ZERO, 0.5) == math.inf


@given(
    st.lists(st.builds(student, st.floats(0, 1000), st.floats(0, 1), st.integers(1, 20_000)), min_size=1, max_size=12)
)
def test_a_search_has_its_own_hypervolume_in_the_end_and_never_loses_any(students):
    found = timeline.trace(vars(one) for one in students)
    assert [one.seconds for one in found] == sorted(one.seconds for one in students)
    volumes = [timeline.hypervolume(found[:count], ZERO) for count in range(len(found) + 1)]
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(volumes))
    assert timeline.seconds_to(found, ZERO, volumes[-1]) <= found[-1].seconds


def test_a_trace_survives_its_file_and_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "plain.jsonl"
    timeline.write(path, LOOP)
    with path.open("a") as file:
        file.write('{"seconds": 700, "accu')
    assert timeline.read(path) == LOOP


def test_only_full_trials_count_in_trials_an_hour():
    found = (
        student(20, 0.5, 100, full=False),
        student(110, 0.9, 100),
        student(210, 0.9, 50),
        student(300, 0.2, 5, full=False),
    )
    assert timeline.full_per_hour(found, began=10) == pytest.approx(2 * 3600 / 200)
    assert math.isnan(timeline.full_per_hour(found[:1]))


def test_a_race_pairs_every_run_with_every_trace():
    run = Run(trace=(student(20, 0.9, 1000), student(30, 0.6, 10)), search_began=10, student_share=0.9)
    race = vanilla.Race(seconds=600, sooner=6, beyond=20, throughput=4)
    table = {figure.name: figure for figure in vanilla.figures([LOOP], [run], ZERO, race, 600, "plain")}
    assert table["plain: seconds to it"].value == 300
    assert table["kdsearch: seconds to it"].value == 30
    assert table["times sooner"] == at_least("times sooner", 10, 6)
    assert table["times sooner, beyond the target"].holds is False
    assert table["times sooner to what it has at half time"].value == pytest.approx(10)
    assert table["times sooner than all the loop's time"].value == pytest.approx(20)
    assert table["times the full trials an hour"].value == pytest.approx((2 / 20) / (3 / 600))


def test_a_level_never_reached_misses_its_target_and_is_null_in_json(capsys):
    run = Run(trace=(student(20, 0.2, 1000),), search_began=10, student_share=0.9)
    found = vanilla.figures([LOOP], [run], ZERO, vanilla.RACES["small"], 600, "plain")
    assert finish(found, as_json=True) == 1
    printed = json.loads(capsys.readouterr().out)
    assert all(set(entry) == {"name", "value", "target", "holds"} for entry in printed)
    known = {entry["name"]: entry for entry in printed}
    assert known["kdsearch: seconds to it"]["value"] is None
    assert known["times sooner"] == {"name": "times sooner", "value": 0.0, "target": ">= 6", "holds": False}


@pytest.mark.parametrize(("values", "status"), [([6.0, 7.0, 5.0], 0), ([5.0, 7.0, 5.5], 1)])
def test_the_median_is_judged_and_its_spread_is_shown(values, status, capsys):
    figures = timeline.spread("times sooner", values, 6)
    assert [figure.value for figure in figures] == [sorted(values)[1], min(values), 7.0]
    assert finish(figures, as_json=False) == status
    assert ("MISSED" in capsys.readouterr().out) == bool(status)


def test_the_peers_race_is_for_the_most_that_any_of_them_has():
    weaker, ours = (student(50, 0.9, 1000),), (student(10, 0.9, 1000), student(40, 0.5, 10))
    assert peers.race([weaker, LOOP], ours, ZERO) == (300, 40)
    tuned = {("A", "plain"): [weaker], ("B", "plain"): [LOOP], ("B", "advance"): [LOOP]}
    table = {figure.name: figure for figure in peers.figures(tuned, [ours], ZERO)}
    assert table["times sooner than the best of them"] == at_least("times sooner than the best of them", 7.5, 5)
    assert table["times sooner than the best of them with kdsearch.advance"].holds is None


def test_a_peer_that_is_not_installed_is_skipped_with_its_reason(capsys):
    absent = peers.Peer(name="Absent", module="none", package="no_such_package", distribution="no-such-package")
    figure = peers.skipped(absent)
    assert figure.holds is None
    assert "no-such-package is not installed" in figure.name
    assert finish([figure, Figure(name="x", value=1.0)], as_json=False) == 0
    assert " - " in capsys.readouterr().out


def test_quick_without_a_recorded_trace_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setattr(vanilla, "RECORDED", tmp_path)
    with pytest.raises(Mistake, match="no recorded trace"):
        vanilla._recorded("small")


def test_a_run_is_read_off_the_database_with_the_studys_own_hypervolume(tmp_path):
    workspace = tmp_path / "runs"
    began = time.time()
    results = api.run(write_study(tmp_path), workspace=workspace, engine="inline", track=False, confirm=False)
    run = sides._account(results.records, workspace, began)
    zero = Reference(accuracy=results.facts.reference["accuracy"], parameters=results.facts.teacher["parameters"])
    assert timeline.hypervolume(run.trace, zero) == pytest.approx(results.hypervolume)
    assert len(run.trace) == 4
    assert 0 < run.search_began < run.trace[0].seconds
    assert 0 < run.student_share < 1
    assert sides._run_of(json.loads(json.dumps(asdict(run)))) == run


def test_a_side_that_fails_says_why_and_where(tmp_path):
    with pytest.raises(Mistake, match=r"json\.tool ended with .*No such file.*its output is in .*side\.log"):
        sides.watch(["json.tool", tmp_path / "missing"], tmp_path / "side.log", limit=60)


def test_a_side_is_interrupted_when_it_has_done_enough(tmp_path):
    sides.watch(["timeit", "-n1", "-r1", "__import__('time').sleep(100)"], tmp_path / "log", 200, enough=lambda: True)
    assert "best of" not in (tmp_path / "log").read_text()  # what timeit prints in the end

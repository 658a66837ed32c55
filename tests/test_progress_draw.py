"""What the live panel shows, at several sizes of a terminal."""

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from kdsearch.events import (
    AnewBegan,
    AnewEpoch,
    RepeatBegan,
    RepeatEnded,
    RepeatEpoch,
    RepeatsBegan,
    SegmentBegan,
    TeacherEpoch,
    TrialBegan,
    TrialEnded,
    TrialEpoch,
    TrialWaits,
)
from kdsearch.progress.draw import draw
from kdsearch.progress.plot import plot, short, sparkline
from kdsearch.progress.tally import Picture
from tests.events_for_tests import began, facts, line, repeat, trial

SIZES = [(width, height) for width in (40, 80, 120) for height in (12, 24, 50)]
HOSTILE = "[red]x[/red]\x1b[2J\x9b31m\r\nnext\u202e:smile:"
SEARCH = (
    began(target=10, workers=3, accuracy=0.98),
    *(TrialBegan(trial(number, start="hints")) for number in range(6)),
    TrialEnded(trial(0, 0.97, 2_573, start="hints")),
    TrialEnded(trial(1, 0.95, 20_000)),
    TrialEnded(trial(2, 0.80, 300)),
    TrialEnded(trial(3, None, state="failed", reason=HOSTILE)),
    TrialWaits(5, 2, 5),
    SegmentBegan(4, 0, 5),
    TrialEpoch(4, line(2, "hints", 0.25)),
)
REPEATS = (
    RepeatsBegan(facts(), wanted=6, done=0, workers=2),
    RepeatEnded(repeat("trial 0 distilled", 0, 0.96)),
    RepeatEnded(repeat("trial 0 alone", 0, None)),
    RepeatBegan("trial 0 distilled", 1, epoch=0, epochs=5, start_epochs=0, family="ConvNet", parameters=2573.0),
    RepeatEpoch("trial 0 distilled", 1, line(3, accuracy=0.91)),
)
ANEW = (AnewBegan("made", trial=7, epoch=3, epochs=6), AnewEpoch(7, {"epoch": 1, "loss": 0.25}))
PICTURES = {
    "nothing yet": (),
    "teacher": (TeacherEpoch(0, 30, {"epoch": 12, "loss": 0.25, "validation_accuracy": 0.875}),),
    "search begins": (began(),),
    "search": SEARCH,
    "many workers": (began(workers=64), *SEARCH[1:]),
    "hostile names": (began(name=HOSTILE * 5), TrialBegan(trial(0)), SegmentBegan(0, 0, 5)),
    "hostile stage": (*SEARCH, TrialEpoch(4, line(1, HOSTILE))),
    "long front": (began(*(trial(n, 0.5 + n / 100, 100 + n) for n in range(40)), target=1000),),
    "one point": (began(trial(0, 0.0, 1), accuracy=math.nan),),
    "all right": (began(trial(0, 1.0, 100_000), accuracy=1.0),),
    "fresh seeds": REPEATS,
    "anew": ANEW,
    "many recipes": (
        *REPEATS,
        *(RepeatEnded(repeat(f"start hints (epochs 5, regressor pooled), arm {n}", 0, 0.9)) for n in range(40)),
    ),
}


def shown(events, width, height, color_system=None):
    """The panel as it comes out of a console that lets it be as large as it likes."""
    picture = Picture()
    for event in events:
        picture.hear(event)
    stream = io.StringIO()
    console = Console(file=stream, width=1000, force_terminal=True, color_system=color_system, legacy_windows=False)
    console.print(draw(picture, width, height), crop=False)
    return stream.getvalue()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PICTURES)
def test_nothing_is_larger_than_the_terminal(name, size):
    width, height = size
    lines = [text.rstrip() for text in shown(PICTURES[name], width, height).split("\n")]
    assert max(len(text) for text in lines) <= width
    assert len(lines) <= height, "the last is empty: where the cursor stands"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", ["hostile names", "hostile stage"])
def test_names_steer_neither_the_terminal_nor_rich(name, size):
    said = shown(PICTURES[name], *size, color_system="truecolor")
    assert "\x1b[2J" not in said and "\x9b" not in said and "\u202e" not in said and "\r" not in said
    assert "[red]" in said


def test_a_terminal_of_80_columns_shows_workers_plot_and_figures():
    said = shown(SEARCH, 80, 30)
    for part in (
        *("made", "4/10", "1 failed", "1 wait at a rung"),
        *("worker 1  trial 4  ConvNet 1,000  hints", "2/5", "25.00%"),
        *("● front  · dominated  ★ teacher", "front 2, best 97.00% with 2,573", "hypervolume", "▁"),
        "15 epochs trained",
    ):
        assert part in said, part
    rows = said.split("\n")
    assert sum(text.count("●") for text in rows) == 1 + 2
    assert sum(text.count("★") for text in rows) == 1 + 1
    assert [text for text in rows if "worker" in text and "free" in text]


def test_a_wide_one_shows_the_front_as_a_table_beside_the_plot():
    row = next(text for text in shown(SEARCH, 120, 30).split("\n") if "2,573" in text and "%" in text)
    assert "│" in row and row.split("│")[-2].split()[-5:] == ["0", "2,573", "97.00%", "2.57%", "hints"]


def test_a_narrow_or_low_one_shows_the_front_as_a_table_instead():
    for size in ((40, 40), (120, 20)):
        said = shown(SEARCH, *size)
        assert "●" not in said and "╭" not in said
        row = next(text for text in said.split("\n") if "2,573" in text and "best" not in text).split()
        assert row[:3] == ["0", "2,573", "97.00%"]


def test_at_most_eight_of_a_long_front_are_listed_with_its_ends():
    rows = [text.split() for text in shown(PICTURES["long front"], 80, 23).split("\n")]
    listed = [int(row[0]) for row in rows if len(row) > 3 and row[2].endswith("%")]
    assert (len(listed), listed[0], listed[-1]) == (8, 0, 39)


def test_the_teachers_training_and_fresh_seeds_have_bars_of_their_own():
    teacher = shown(PICTURES["teacher"], 80, 24)
    assert "epoch 12/30" in teacher and "validation 87.50%" in teacher and "━" in teacher
    anew = shown(ANEW, 80, 24)
    assert "made" in anew and "trial 7 again" in anew and "epoch 4/6" in anew and "loss 0.2500" in anew
    seeds = shown(REPEATS, 80, 24)
    assert "2/6" in seeds and "1 failed" in seeds
    assert "worker 1  trial 0 distilled, seed 1" in seeds and "3/5" in seeds
    assert ["trial", "0", "distilled", "1", "96.00%"] in [text.strip(" │").split() for text in seeds.split("\n")]


def test_golden_marks_stand_where_errors_and_sizes_have_them():
    # half of 100 examples' errors, a twentieth, and so on: heights -log10 of 1, 0.1 and 0.01 are evenly apart
    points = [(100, 0.005), (1_000, 0.905), (10_000, 0.905)]
    front = [(100, 0.005), (1_000, 0.905)]
    rows = [text.plain for text in plot(points, front, (10_000, 0.995), validation=100, width=29, height=7)]
    assert [row.rstrip() for row in rows] == [
        " 99.5% │                    ★",
        "       │",
        " 90.5% │          ●         ·",
        "       │",
        "  0.5% │●",
        "       └─────────────────────",
        "        100     1.0k      10k",
    ]


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1)), min_size=1, max_size=20),
    st.integers(20, 120),
    st.integers(4, 30),
)
def test_a_plot_never_leaves_its_lines(points, width, height):
    rows = plot(points, points[:1], (5, math.nan), validation=100, width=width, height=height)
    assert len(rows) == height
    assert all(row.cell_len <= width for row in rows)
    assert sum(text.plain.count("●") for text in rows) == 1


def test_golden_a_sparkline_ends_with_the_last_value():
    assert sparkline([0.0, 1.0, 2.0, 7.0], 10) == "▁▂▃█"
    assert sparkline(list(range(100)), 3) in ("▁▅█", "▁▄█")
    assert sparkline([3.0, 3.0], 8) == "▁▁"
    assert sparkline([], 8) == ""


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0"), (812, "812"), (999.6, "1.0k"), (5_800, "5.8k"), (230_266, "230k"), (1.2e6, "1.2M")]
)
def test_golden_short_counts(number, told):
    assert short(number) == told

"""Listeners as users meet them: lines, quiet, JSON, and a real run in a terminal of its own."""

import contextlib
import fcntl
import io
import json
import math
import os
import pty
import re
import struct
import sys
import termios
from datetime import datetime, timedelta
from pathlib import Path

import pyte
import pytest
from rich.console import Console

from kdsearch import api, cli
from kdsearch.events import (
    AnewBegan,
    AnewEpoch,
    Happening,
    Note,
    RepeatEnded,
    RepeatsBegan,
    RepeatsEnded,
    SearchEnded,
    SegmentBegan,
    SegmentEnded,
    TeacherEpoch,
    TeacherMeasured,
    TrialBegan,
    TrialEnded,
    TrialEpoch,
    TrialWaits,
)
from kdsearch.ledger import Confirmed
from kdsearch.markup import printable
from kdsearch.progress import JsonLog, listener
from kdsearch.progress.jsonlog import event_name
from kdsearch.progress.lines import Lines, Quiet
from kdsearch.progress.panel import LivePanel
from tests.commands import kdsearch
from tests.events_for_tests import began, facts, line, repeat, trial
from tests.studies_for_tests import with_moods, write_study

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = "[bold]\x1b[31mred\x1b]0;owned\x07\r\nnext"
EVENTS = (
    TeacherEpoch(0, 2, {"epoch": 1, "loss": 1.0, "validation_accuracy": 0.5}),
    TeacherEpoch(0, 2, {"epoch": 2, "loss": 0.5, "validation_accuracy": 0.75}),
    began(target=3, accuracy=math.nan),
    TeacherMeasured(0.98),
    TrialBegan(trial(0)),
    SegmentBegan(0, 0, 5),
    TrialEpoch(0, line(1)),
    SegmentEnded(0),
    TrialWaits(0, 2, 5),
    TrialEnded(trial(0, 0.9, 1_234)),
    TrialEnded(trial(1, None, state="failed", reason=HOSTILE)),
    Note("stopping: 1 running trials are kept for the next run", warning=False),
    Note(HOSTILE),
    SearchEnded(facts(accuracy=math.inf), [trial(0, 0.9)], Confirmed(), "the space is exhausted"),
    RepeatsBegan(facts(), wanted=2, done=0, workers=1),
    RepeatEnded(repeat("trial 0 distilled", 0, 0.875)),
    RepeatEnded(repeat(f"trial 0 {HOSTILE}", 0, None)),
    RepeatsEnded(facts(), [trial(0, 0.9)], Confirmed(), interrupted=True),
    AnewBegan("made", trial=7, epoch=3, epochs=6),
    AnewEpoch(7, {"epoch": 1, "loss": 1.0}),
    AnewEpoch(7, {"epoch": 2, "loss": 0.5, "validation_accuracy": 0.75}),
    AnewEpoch(7, {"epoch": 3, "loss": 0.25, "validation_accuracy": 0.875}),
)


def told(make, terminal=False):
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=terminal, color_system=None, _environ={})
    with make(console) as screen:
        for event in EVENTS:
            screen(event)
        screen.say("MLflow is [away]")
    return stream.getvalue()


def test_golden_lines_of_a_search():
    said = re.sub(r"about \d+:\d\d left", "about T left", told(Lines))
    escaped = "[bold]\\x1b[31mred\\x1b]0;owned\\x07\\r\\nnext"
    assert said.splitlines() == [
        "teacher: epoch 1/2, loss 1.0000, validation 50.00%",
        "teacher: epoch 2/2, loss 0.5000, validation 75.00%",
        "study made, 3 wanted; teacher of 100,000 parameters; 2 workers",
        "the teacher's validation accuracy is 98.00%",
        "trial 0 waits after 2 of 5 epochs",
        "[1/3] trial 0: 90.00% with 1,234 parameters (start none, T 4, alpha 0.9); front 1, hypervolume 1.527, "
        "best 90.00% with 1,234, about T left",
        f"[2/3] trial 1 failed: {escaped}",
        "stopping: 1 running trials are kept for the next run",
        escaped,
        "ended before its budget: the space is exhausted",
        "on fresh seeds: 2 runs",
        "[1/2] trial 0 distilled, seed 0: validation 90.00%, test 87.50%; about T left",
        f"[2/2] trial 0 {escaped}, seed 0, failed: no more patience",
        "trial 7 again: epoch 6/6, loss 0.2500, validation 87.50%",
        "MLflow is [away]",
    ]


def test_quiet_tells_only_of_what_went_wrong():
    lines = told(Quiet).splitlines()
    assert [text.split(":")[0].split("]")[0] for text in lines] == [
        *("[2/3", "[bold", "ended before its budget", "[2/2", "MLflow is [away"),
    ]


def test_the_live_panel_leaves_the_lines_and_nothing_of_itself():
    screen = pyte.HistoryScreen(100, 40)
    pyte.Stream(screen).feed(told(LivePanel, terminal=True).replace("\n", "\r\n"))
    lines = [text.rstrip() for text in screen.display if text.strip()]
    assert not any(sign in text for text in lines for sign in "╭│╰━")
    assert lines[0] == "teacher: epoch 2/2, loss 0.5000, validation 75.00%", "the first epoch was in the panel"
    assert "trial 0 waits" not in " ".join(lines)
    assert "MLflow is [away]" in lines
    assert not screen.cursor.hidden


@pytest.mark.parametrize("make", [Lines, Quiet, LivePanel])
def test_messages_steer_no_terminal(make):
    said = told(make, terminal=make is LivePanel)
    assert "\x1b[31m" not in said and "\x1b]0;" not in said and "\x07" not in said
    assert "[bold]\\x1b[31mred" in said


def test_printable_keeps_what_can_be_seen():
    assert printable("résumé ● [x] 日本") == "résumé ● [x] 日本"
    assert printable("a\tb\x00\u2028\ud800") == "a\\tb\\x00\\u2028\\ud800"


def test_the_style_follows_the_terminal():
    pipe, tty = Console(file=io.StringIO()), Console(file=io.StringIO(), force_terminal=True)
    assert isinstance(listener(pipe), Lines)
    assert isinstance(listener(tty), LivePanel)
    assert isinstance(listener(tty, "plain"), Lines)
    assert isinstance(listener(tty, "quiet"), Quiet)
    latin = Console(file=io.TextIOWrapper(io.BytesIO(), "latin-1"), force_terminal=True)
    assert isinstance(listener(latin), Lines), "it could not show the panel's signs"


def strict(text):
    """A line as JSON, without Python's extensions of it."""

    def refuse(name):
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def test_every_event_is_one_json_object_of_its_name():
    stream = io.StringIO()
    with JsonLog(stream) as log:
        for event in EVENTS:
            log(event)
    assert stream.getvalue().isascii()
    found = [strict(text) for text in stream.getvalue().splitlines()]
    assert [one["event"] for one in found] == [event_name(type(event)) for event in EVENTS]
    assert all(datetime.fromisoformat(one["time"]).utcoffset() == timedelta(0) for one in found)
    by_name = {one["event"]: one for one in found}
    assert by_name["search_began"]["teacher"]["accuracy"] is None
    ended = next(one for one in found if one["event"] == "trial_ended")
    assert (ended["trial"], ended["state"], ended["measured"]["accuracy"]) == (0, "complete", 0.9)
    assert "curve" not in ended
    assert next(one for one in found if one["event"] == "repeat_ended")["measured"]["macro_f1"] is None
    assert by_name["note"]["text"] == HOSTILE, "JSON has its own way of writing it"
    assert by_name["search_ended"]["trials"] == {"complete": 1}


def test_the_docstring_names_every_event():
    import kdsearch.progress.jsonlog as module

    for kind in Happening.__args__:
        assert f"`{event_name(kind)}`" in module.__doc__


def test_a_script_sees_progress_if_it_asks_for_it(tmp_path, capsys):
    options = {"workspace": tmp_path / "runs", "engine": "inline", "track": False, "confirm": False}
    path = write_study(tmp_path)
    api.run(path, trials=1, **options)
    assert capsys.readouterr().out == ""
    api.run(path, trials=2, progress=True, **options)
    assert "continuing study small: 1 trials so far, 2 wanted" in capsys.readouterr().out


CHATTY = ("    whole = digits()\n", '    whole = digits()\n    print("loading")\n    os.system("echo from a child")\n')


def test_the_json_log_of_a_real_run_adds_up_whatever_the_study_prints(tmp_path):
    path = write_study(tmp_path, CHATTY, with_moods("good", "fails"), ("trials=4", "trials=5"))
    options = ("--workspace", tmp_path / "runs", "--engine", "inline", "--no-confirm", "--json-log")
    ran = kdsearch("run", path, *options, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    found = [strict(text) for text in ran.stdout.splitlines()]
    assert "loading" in ran.stderr and "from a child" in ran.stderr
    ended = [one["state"] for one in found if one["event"] == "trial_ended"]
    result = found[-1]
    assert result["event"] == "result" and Path(tmp_path, result["report"]).exists()
    assert {state: count for state, count in result["trials"].items() if count} == {
        state: ended.count(state) for state in set(ended)
    }
    assert len(ended) == 5
    assert sum(one["event"] == "trial_epoch" for one in found) == result["account"]["epochs_trained"] > 0
    again = kdsearch("confirm", "small", "--seeds", 1, *options[:4], "--json-log", cwd=tmp_path)
    confirmed = [strict(text) for text in again.stdout.splitlines()]
    repeats = [one for one in confirmed if one["event"] == "repeat_ended"]
    assert len(repeats) == next(one for one in confirmed if one["event"] == "repeats_began")["wanted"]
    assert confirmed[-1]["findings"]
    quiet = kdsearch("run", path, *options[:5], "--quiet", cwd=tmp_path)
    said = quiet.stdout.replace("from a child", "").replace("loading", "")  # what the study prints is its own affair
    assert said.lstrip().startswith("teacher: ") and "trial" in said
    assert "study small" not in quiet.stdout + quiet.stderr


@pytest.mark.parametrize("command", [("run", "x.py"), ("confirm", "x")])
@pytest.mark.parametrize("pair", [("--plain", "--quiet"), ("--quiet", "--json-log"), ("--json-log", "--plain")])
def test_styles_that_contradict_each_other_are_refused(command, pair, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, *pair])
    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def in_terminal(columns, rows, command, cwd):
    """Run a command in a terminal of that size; gives what came out and the exit status."""
    child, ours = pty.fork()
    if child == 0:
        os.chdir(cwd)
        os.execve(command[0], command, {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"})
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    out = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux tells that the other side is closed
            break
        if not part:
            break
        out += part
    return out, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_real_run_in_a_terminal_shows_the_panel_and_leaves_only_lines(tmp_path):
    path = write_study(tmp_path, with_moods("good", "slow"))
    options = ("--smoke", "--no-confirm", "--workers", "2", "--workspace", str(tmp_path / "runs"))
    command = [sys.executable, "-m", "kdsearch", "run", str(path), *options]
    out, status = in_terminal(90, 30, command, tmp_path)
    assert status == 0, out.decode()
    said = out.decode()
    assert "worker 1" in said and "worker 2" in said and "● front" in said
    screen = pyte.HistoryScreen(90, 30, history=1000)
    pyte.ByteStream(screen).feed(out)
    above = ["".join(row[column].data for column in range(90)) for row in screen.history.top]
    lines = [text.rstrip() for text in [*above, *screen.display]]
    assert not any(sign in text for text in lines for sign in "╭╮╰╯│━●\x1b")
    assert sum(bool(re.match(r"\[\d/4\] trial \d: ", text)) for text in lines) == 4
    assert any(text.startswith("front:   ") for text in lines)
    assert not screen.cursor.hidden


def test_a_reader_of_the_json_log_that_ends_ends_no_search(capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", closefd=False) as stream:
        log = JsonLog(stream)
        log.say("one")
        log.say("two")
        assert capsys.readouterr().err.count("nobody reads the JSON log any more") == 1
        with contextlib.suppress(BrokenPipeError):
            stream.close()
    os.close(writing)

"""Workers that die, hang or grow, and the others who never notice: with workers that import nothing, in moments."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from kdsearch.processes import LostError, Workers
from kdsearch.spawning import in_words
from tests.processes_for_tests import dies_at_once, main

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 30


@pytest.fixture(scope="module")
def workers():
    made = Workers(main, (), 2)
    yield made
    made.close()


def ask(workers, message):
    return workers.submit(message.encode()).result(timeout=SECONDS)


def both(workers):
    """The process ids of the two workers: the second answers while the first is busy."""
    found = set()
    while len(found) < 2:
        pair = [workers.submit(b"who") for _ in range(8)]
        found |= {int(one.result(timeout=SECONDS)) for one in pair}
    return found


DEATHS = {
    "signal 9": "was killed by signal 9, SIGKILL (out of memory?)",
    "signal 11": "was killed by signal 11, SIGSEGV (a fault in native code)",
    "exit 0": "ended unexpectedly (exit code 0)",
    "exit 3": "ended unexpectedly (exit code 3)",
    "torn": "was killed by signal 9, SIGKILL (out of memory?)",
}


@pytest.mark.parametrize("how", DEATHS)
def test_whoever_dies_is_told_in_words_and_the_other_goes_on(workers, how):
    other = workers.submit(b"grow 0 0.3")
    with pytest.raises(LostError) as lost:
        ask(workers, how)
    assert str(lost.value) == f"its worker {DEATHS[how]}"
    assert other.result(timeout=SECONDS) == b"grown"
    assert len(both(workers)) == 2


@pytest.mark.parametrize("how", ["deaf", "hang"])
def test_one_that_hangs_is_ended_whatever_it_is_at_and_no_other_is(workers, how):
    before = both(workers)
    hanging = workers.submit(how.encode())
    while not hanging.running():
        time.sleep(0.01)
    time.sleep(0.1)
    survivor = int(ask(workers, "who"))
    workers.end(hanging, "it took too long")
    with pytest.raises(LostError, match="it took too long"):
        hanging.result(timeout=SECONDS)
    assert survivor in before
    after = both(workers)
    assert len(after) == 2 and survivor in after and after != before


def test_one_that_is_killed_with_nothing_to_do_is_missed_by_nobody(workers):
    for pid in both(workers):
        os.kill(pid, signal.SIGKILL)
        psutil.Process(pid).wait(SECONDS)  # takes the exit code with it
    assert len(both(workers)) == 2


def test_what_is_ended_before_it_has_begun_is_never_begun(workers):
    busy = [workers.submit(b"grow 0 0.3") for _ in range(2)]
    queued = workers.submit(b"exit 3")
    assert not queued.running()
    workers.end(queued, "not wanted")
    with pytest.raises(LostError, match="not wanted"):
        queued.result(timeout=SECONDS)
    assert [one.result(timeout=SECONDS) for one in busy] == [b"grown"] * 2


def test_one_that_cannot_be_set_up_loses_each_task_and_says_how():
    workers = Workers(dies_at_once, (), 1)
    for _ in range(2):
        with pytest.raises(LostError, match="exit code 4"):
            ask(workers, "who")
    workers.close()


def test_a_runaway_is_ended_in_the_middle_and_told_what_to_lower():
    workers = Workers(main, (), 1, limit_bytes=200 * 2**20)
    first = ask(workers, "who")
    with pytest.raises(LostError, match=r"more than the 0.21 GB .* lower the student's batch_size"):
        ask(workers, "grow 300 30")
    assert ask(workers, "who") != first
    workers.close()


def test_one_that_has_grown_hands_over_what_it_made_and_is_replaced():
    workers = Workers(main, (), 1, limit_bytes=400 * 2**20)
    first = ask(workers, "who")
    assert ask(workers, "grow 10 0") == b"grown"
    assert ask(workers, "who") == first
    assert ask(workers, "grow 320 0") == b"grown", "three quarters of the limit are 300 MB"
    assert ask(workers, "who") != first
    workers.close()


def test_closing_ends_all_and_everything_under_way():
    workers = Workers(main, (), 1)
    pid = int(ask(workers, "who"))
    hanging, queued = workers.submit(b"hang"), workers.submit(b"who")
    workers.close()
    for future in (hanging, queued):
        with pytest.raises(LostError, match="its worker was ended"):
            future.result(timeout=SECONDS)
    assert not psutil.pid_exists(pid)
    assert not [thread for thread in threading.enumerate() if thread.name == "worker" and thread in workers._threads]


DRIVER = """
import sys
from kdsearch.processes import Workers
from tests.processes_for_tests import main
workers = Workers(main, (), 2)
pids = set()
while len(pids) < 2:
    pids |= {int(one.result()) for one in [workers.submit(b"who") for _ in range(8)]}
hanging = workers.submit(b"hang")
while not hanging.running():
    pass
print(*pids, flush=True)
sys.stdin.read()
"""


def test_all_end_with_the_driver_however_it_ends_also_one_that_hangs():
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pids = [int(pid) for pid in driver.stdout.readline().split()]
    time.sleep(0.3)
    assert all(psutil.pid_exists(pid) for pid in pids) and len(pids) == 2
    driver.kill()
    driver.wait()
    until = time.monotonic() + SECONDS
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    driver.stdin.close()
    driver.stdout.close()


@pytest.mark.parametrize(("code", "words"), [(None, "not known"), (-64, "was killed by signal 64")])
def test_ends_without_a_name(code, words):
    assert words in in_words(code)

"""Workers that die, hang or grow, and the others who never notice: with workers that import nothing, in moments."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from kdsearch.mistakes import Mistake
from kdsearch.processes import LostError, Orders, TooLargeError, Workers
from kdsearch.spawning import _CODE, in_words
from tests.processes_for_tests import dies_at_once, main

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 30


@pytest.fixture(scope="module")
def workers():
    made = Workers(Orders(main=main), 2)
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
    workers = Workers(Orders(main=dies_at_once), 1)
    for _ in range(2):
        with pytest.raises(LostError, match="exit code 4"):
            ask(workers, "who")
    workers.close()


def test_one_that_takes_too_much_fails_at_once_by_itself_and_is_tried_anew_after_others():
    workers = Workers(Orders(main=main, limit_bytes=200 * 2**20), 1)
    with pytest.raises(TooLargeError, match=r"more than the 0.21 GB .* lower the student's batch_size"):
        ask(workers, "grow 300 30")
    first = ask(workers, "who")
    with pytest.raises(LostError, match="with what was left of others"):
        ask(workers, "grow 300 30")
    assert ask(workers, "who") != first
    workers.close()


def test_one_that_has_grown_hands_over_what_it_made_and_is_replaced_which_is_told_once_if_it_is_each_time():
    said = []
    workers = Workers(Orders(main=main, limit_bytes=400 * 2**20, warn=said.append), 1)
    first = ask(workers, "who")
    assert ask(workers, "grow 10 0") == b"grown"
    assert ask(workers, "who") == first
    for _ in range(2):
        assert ask(workers, "grow 320 0") == b"grown", "three quarters of the limit are 300 MB"
        assert said == []
        assert ask(workers, "who") != first
    workers.end(workers.submit(b"hang"), "enough")
    for _ in range(2):
        assert ask(workers, "grow 320 0") == b"grown"
    assert len(said) == 1 and "replaced after every segment" in said[0]
    workers.close()


def test_less_memory_than_a_worker_begins_with_is_refused_with_how_much_that_is():
    workers = Workers(Orders(main=main, limit_bytes=2**20), 1)
    with pytest.raises(
        Mistake, match=r"^--worker-memory of 0.00105 GB is less than .* which is 0\.0\d+ GB: allow more"
    ):
        ask(workers, "who")
    workers.close()


@pytest.fixture
def no_more_files():
    """A function that lets this process open no further file, as a system that is at its limit; None puts it back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit(count=before[0]):
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))

    yield limit
    limit()


def test_a_worker_that_cannot_be_started_is_waited_for_and_costs_no_task(workers, no_more_files):
    alive, killed = both(workers)
    os.kill(killed, signal.SIGKILL)
    psutil.Process(killed).wait(SECONDS)
    no_more_files(3)
    tasks = [workers.submit(b"who") for _ in range(8)]
    assert {int(one.result(timeout=SECONDS)) for one in tasks} == {alive}, "the other does them meanwhile"
    no_more_files()
    assert len(both(workers)) == 2


def test_where_no_worker_can_be_had_for_long_that_is_said_with_the_reason(no_more_files):
    workers = Workers(Orders(main=main, patience_seconds=0.5), 1)
    no_more_files(3)
    task = workers.submit(b"who")
    with pytest.raises(Mistake, match=r"no worker process can be started \(Too many open files\).*ulimit.*run again"):
        task.result(timeout=SECONDS)
    waiting = workers.submit(b"who")
    workers.close()
    assert isinstance(waiting.exception(timeout=SECONDS), LostError | Mistake)


def test_a_worker_tells_in_the_middle_and_sees_the_flag():
    heard = []
    workers = Workers(Orders(main=main, hear=heard.append), 1)
    assert ask(workers, "tell one") == b"told"
    workers.flag(True)
    assert ask(workers, "tell two") == b"flagged"
    workers.flag(False)
    assert ask(workers, "tell three") == b"told"
    assert heard == [b"one", b"two", b"three"], "all before the answer"
    workers.close()


def test_closing_ends_all_and_everything_under_way():
    workers = Workers(Orders(main=main), 1)
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
from kdsearch.processes import Orders, Workers
from tests.processes_for_tests import main
workers = Workers(Orders(main=main), 2)
pids = set()
while len(pids) < 2:
    pids |= {int(one.result()) for one in [workers.submit(b"who") for _ in range(8)]}
hanging = workers.submit(b"hang")
while not hanging.running():
    pass
print(*pids, flush=True)
sys.stdin.read()
"""


def test_all_end_with_the_driver_however_it_ends_also_one_that_hangs_and_one_that_is_stopped():
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pids = [int(pid) for pid in driver.stdout.readline().split()]
    processes = psutil.Process(driver.pid).children(recursive=True)
    assert {process.pid for process in processes} == set(pids), "and there are no others, that could outlive it"
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    driver.kill()
    driver.wait()
    assert psutil.wait_procs(processes, SECONDS)[1] == []
    driver.stdin.close()
    driver.stdout.close()


def test_a_worker_whose_driver_is_gone_before_it_begins_ends_at_once():
    gone = _CODE.format(
        kill=9, driver=1, argv=[], path=[], module="tests", function="never", pipe=0, life=0, flag=0, count=0
    )
    assert subprocess.run([sys.executable, "-c", gone], timeout=SECONDS).returncode == 1


@pytest.mark.parametrize(("code", "words"), [(None, "not known"), (-64, "was killed by signal 64")])
def test_ends_without_a_name(code, words):
    assert words in in_words(code)

"""The two sides of a race, each as the subprocess that a user would start: the plain loop, and `kdsearch run`.

What a side was measured to do is kept in a folder, so that an interrupted measurement goes on where it was.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from benchmarks import mnist_space, timeline
from benchmarks.common import say
from benchmarks.timeline import Reference, Trace
from kdsearch import api, metrics
from kdsearch.executors.engine import cores
from kdsearch.files import load_tensors, write_atomically, write_text
from kdsearch.mistakes import Mistake
from kdsearch.records import TrialRecord
from kdsearch.teacher import freeze

ROOT = Path(__file__).resolve().parents[1]
STUDY = "vanilla"
WIDTHS = {"small": 32, "large": 96}
_POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one `kdsearch run` did: seconds count from the start of its process.

    `student_share` is the share of its workers' time, from the first trial's begin until all workers had ended, that
    went into training steps (teacher signals, evaluation, start-up of workers and waiting are the rest).
    """

    trace: Trace
    search_began: float
    student_share: float


def settle(teacher: str, data: str | None) -> None:
    """Say by the environment which data and teacher `mnist_space` has, here and in all subprocesses."""
    os.environ["KDSEARCH_BENCHMARK_WIDTH"] = str(WIDTHS[teacher])
    if data is not None:
        os.environ["KDSEARCH_DATA"] = data
    if "KDSEARCH_DATA" not in os.environ:
        raise Mistake("where is MNIST? give the folder of its IDX files by --data DIR or KDSEARCH_DATA")
    os.environ["KDSEARCH_DATA"] = str(Path(os.environ["KDSEARCH_DATA"]).resolve())


def teacher_weights(given: Path | None, kept: Path) -> Path:
    """The weights that both sides get: `given`, or those in `kept`, trained once where there are none."""
    if given is not None:
        if not given.is_file():
            raise Mistake(f"the teacher's weights {given} do not exist; leave --weights out to train them")
        return given.resolve()
    if not kept.is_file():
        say("training the teacher, once")
        os.environ.pop("KDSEARCH_BENCHMARK_TEACHER", None)
        data = mnist_space.data()
        frozen = freeze(mnist_space.teacher(data), data, kept.parent / "teacher")
        write_atomically(kept, lambda path: save_file(frozen.members[0].state_dict(), path))
    return kept.resolve()


def reference() -> Reference:
    data = mnist_space.data()
    return Reference(accuracy=1 / data.classes, parameters=metrics.parameters(mnist_space.teacher(data).build()))


def plain(weights: Path, seconds: float, seed: int, folder: Path) -> Trace:
    """The plain loop's trace; its seconds count from where its loop begins, without start-up and data."""
    kept = folder / f"plain-{seed}.jsonl"
    if not kept.exists():
        say(f"plain loop, seed {seed}: {seconds:.0f} s")
        part = kept.with_suffix(".part")
        part.unlink(missing_ok=True)
        command = ["benchmarks.plain", "--teacher", weights, "--seconds", seconds, "--seed", seed, "--out", part]
        # the loop ends by itself, after the trial it is in
        watch(command, folder / f"plain-{seed}.log", 4 * seconds + 600)
        if not part.exists():
            raise Mistake(f"the plain loop finished no trial in {4 * seconds + 600:.0f} s; see {folder}")
        part.replace(kept)
    return timeline.until(timeline.read(kept), seconds)


def kdsearch(weights: Path, seed: int, folder: Path, enough: Callable[[Trace], bool], limit: float) -> Run:
    """`kdsearch run` in a fresh workspace until `enough` of its trace, or `limit` seconds; Ctrl-C ends it."""
    kept = folder / f"kdsearch-{seed}.json"
    if kept.exists():
        return _run_of(json.loads(kept.read_text(encoding="utf-8")))
    say(f"kdsearch, seed {seed}: at most {limit:.0f} s")
    workspace = folder / f"workspace-{seed}"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    began = time.time()
    watch(
        ["kdsearch", "run", mnist_space.__file__, "--workspace", workspace, "--no-confirm"],
        folder / f"kdsearch-{seed}.log",
        limit,
        enough=_told_of_news(workspace, began, enough),
        extra={"KDSEARCH_BENCHMARK_TEACHER": str(weights), "KDSEARCH_BENCHMARK_SEED": str(seed)},
    )
    run = _account(_records(workspace), workspace, began)
    write_text(kept, json.dumps(asdict(run)))
    shutil.rmtree(workspace, ignore_errors=True)  # features of a large teacher take gigabytes
    return run


def _told_of_news(workspace: Path, began: float, enough: Callable[[Trace], bool]) -> Callable[[], bool]:
    """`enough` of the trace, asked only when there is a new trial: reading the database takes the workers' time."""
    known = 0

    def asked() -> bool:
        nonlocal known
        if len(list((workspace / STUDY / "students").glob("*.safetensors"))) == known:
            return False
        found = _trace(_records(workspace), began)
        known = len(found)
        return enough(found)

    return asked


def watch(
    command: Sequence[object],
    log: Path,
    limit: float,
    *,
    enough: Callable[[], bool] = lambda: False,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Run a command of this very tree until it ends, interrupted when `enough` or after `limit` seconds.

    Its working folder is the log's, its output goes to `log`, `extra` is added to its environment. Raises `Mistake`
    where it fails by itself.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", *map(str, command)],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env={**os.environ, "PYTHONPATH": path, **(extra or {})},
        )
    until = time.monotonic() + limit
    try:
        while process.poll() is None and time.monotonic() < until and not enough():
            time.sleep(_POLL_SECONDS)
    finally:
        failed = process.poll()
        _end(process)
    if failed:
        last = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
        raise Mistake(f"{command[0]} ended with {failed} ({last}); its output is in {log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask politely, as Ctrl-C would, then kill."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _records(workspace: Path) -> list[TrialRecord]:
    # a student's file means that the database is there: opening it earlier would race for its creation
    if not any((workspace / STUDY / "students").glob("*.safetensors")):
        return []
    return list(api.open_study(STUDY, workspace=workspace).records)


def _trace(records: Sequence[TrialRecord], began: float) -> Trace:
    return timeline.trace(
        {
            "seconds": record.ended_ms / 1000 - began,
            "accuracy": record.measured["accuracy"],
            "parameters": int(record.known["parameters"]),
        }
        for record in records
        if record.state == "complete" and record.ended_ms is not None
    )


def _account(records: Sequence[TrialRecord], workspace: Path, began: float) -> Run:
    """Takes in the trials that were interrupted: their checkpoints say what was trained, and when workers ended."""
    trials = [record for record in records if record.state != "screened"]
    if not trials:
        return Run(trace=(), search_began=0.0, student_share=0.0)
    curves = {record.number: record.curve for record in trials}
    ended = [record.ended_ms / 1000 for record in trials if record.ended_ms is not None]
    for checkpoint in (workspace / STUDY / "checkpoints").glob("*.safetensors"):
        notes = load_tensors(checkpoint)[1]
        curves[notes["trial"]] = notes["curve"]
        ended.append(checkpoint.stat().st_mtime)
    # what another trial trained of a curve is counted there
    inherited = {record.number: record.inherited.epochs if record.inherited else 0 for record in trials}
    lines = [line for number, curve in curves.items() for line in curve[inherited.get(number, 0) :]]
    search_began = min(record.began_ms for record in trials) / 1000
    worked = sum(line["seconds"] for line in lines)
    return Run(
        trace=_trace(records, began),
        search_began=search_began - began,
        student_share=worked / (cores() * (max(ended) - search_began)) if ended else 0.0,
    )


def _run_of(kept: Mapping[str, Any]) -> Run:
    return Run(
        trace=timeline.trace(kept["trace"]), search_began=kept["search_began"], student_share=kept["student_share"]
    )

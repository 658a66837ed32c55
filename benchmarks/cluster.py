"""What does Ray cost beside local processes, and what does a lost machine cost?

Question   At equal cores, how much later does a search on Ray end, with how much more for each segment? Is the table of
           a search that lost a machine in the middle that of an undisturbed one?
Data       scikit-learn's digits (benchmarks/digits_space.py), random sampler: the same trials with any engine
Command    python -m benchmarks.cluster

The cluster is several machines' worth of Ray's processes on this one: a head without processors, and two node processes
with one processor each; `local` has two workers. Seconds are since the first epoch was told: what workers need to start
stands apart. "To the same front" is until the last trial that belongs to the final front is told; as all engines train
the same trials to the same bits, they end with the same front. What a segment takes beyond its work is the time from
its submission to its result, one at a time, for a student of one epoch on 60 examples, less what the worker spent on
it: the median over segments.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from ray.cluster_utils import Cluster as Machines

import kdsearch
from benchmarks import digits_space
from benchmarks.common import Figure, at_most, finish, options, say
from kdsearch import ConvNet, Data, Recipe, Study, digits
from kdsearch.data.kept import keep_data
from kdsearch.events import Happening, TrialEnded
from kdsearch.executors import Executor, Job, Local
from kdsearch.executors.ray import cluster
from kdsearch.prepare import prepare
from kdsearch.results import Results
from kdsearch.source import Source
from kdsearch.trial import Progress, Seeds, Segment
from kdsearch.workspace import Workspace

CORES = 2


def main() -> int:
    arguments = options(__doc__).parse_args()
    study = replace(digits_space.study(), sampler="random", trials=12 if arguments.quick else 40)
    segments = 50 if arguments.quick else 300
    machines = Machines(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [machines.add_node(num_cpus=1) for _ in range(CORES)]
        ray.init(machines.address, log_to_driver=False, logging_level="ERROR")
        figures = overhead(machines.address, segments)
        runs = {
            "local": searched(study, "local"),
            "ray": searched(study, "ray", address=machines.address),
            "ray, a machine killed": searched(study, "ray", address=machines.address, middle=swap(machines, nodes[0])),
        }
    finally:
        ray.shutdown()
        machines.shutdown()
    for name, (results, told) in runs.items():
        last = max(told[int(number)] for number in results.front.index)
        figures.append(Figure(name=f"{name}: seconds to the same front", value=last))
        figures.append(Figure(name=f"{name}: seconds to the end", value=max(told.values())))
    undisturbed = table(runs["local"][0])
    for name in ("ray", "ray, a machine killed"):
        differing = sum(row != other for row, other in zip(table(runs[name][0]), undisturbed, strict=True))
        figures.append(at_most(f"{name}: trials that differ from local's", differing, 0))
    return finish(figures, as_json=arguments.json)


def swap(machines: Machines, doomed: Any) -> Callable[[], None]:
    """Kills a machine as a power cut does, and adds another."""

    def act() -> None:
        machines.remove_node(doomed, allow_graceful=False)
        machines.add_node(num_cpus=1)

    return act


def searched(
    study: Study, engine: str, *, address: str | None = None, middle: Callable[[], None] | None = None
) -> tuple[Results, dict[int, float]]:
    """A search, and when each of its trials was told, in seconds since the first began to train; `middle` is called
    once half of them are.
    """
    told: dict[int, float] = {}
    began: list[float] = []

    def listen(event: Happening) -> None:
        if not began and type(event).__name__ == "TrialEpoch":
            began.append(time.perf_counter())
        if isinstance(event, TrialEnded):
            told[event.record.number] = time.perf_counter() - began[0]
            if middle is not None and len(told) == study.trials // 2:
                middle()

    say(f"{engine}: {study.trials} trials")
    with tempfile.TemporaryDirectory() as folder:
        results = kdsearch.run(
            study,
            workspace=folder,
            engine=engine,
            address=address,
            workers=CORES,
            track=False,
            confirm=False,
            listeners=[listen],
            complain=say,
        )
        results.front  # noqa: B018 - read while the database is there
    return results, told


def table(results: Results) -> list[tuple[Any, ...]]:
    """What does not depend on who trained when."""
    return [
        (record.number, record.state, record.params, record.measured, [line["loss"] for line in record.curve])
        for record in results.records
    ]


def overhead(address: str, segments: int) -> list[Figure]:
    """Milliseconds that a segment takes beyond what its worker spends on it, for both engines."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(Source.of(replace(digits_space.study(), data=few)), Workspace.chosen(folder))
        place = prepared.workspace.study(prepared.study.name)
        keep_data(prepared.data, place / "data")
        job = Job(
            source=prepared.source,
            folder=place,
            data_fingerprint=prepared.data.fingerprint,
            teacher_key=prepared.teacher.key,
        )
        engines: dict[str, Callable[[], AbstractContextManager[Executor]]] = {
            "local": partial(Local, job, 1),
            "ray": partial(cluster, job, 1, address),
        }
        figures = []
        for name, engine in engines.items():
            with engine() as executor:
                begun = time.perf_counter()
                beyond(executor, 0)
                figures.append(Figure(name=f"{name}: seconds to the first segment", value=time.perf_counter() - begun))
                spent = statistics.median(1000 * beyond(executor, number) for number in range(segments))
            figures.append(Figure(name=f"{name}: ms beyond a segment's work", value=spent))
        return figures


def few() -> Data:
    whole = digits()
    return replace(whole, train=whole.train.head(60), validation=whole.validation.head(60))


def beyond(executor: Executor, number: int) -> float:
    recipe = Recipe(student=ConvNet(width=2, depth=2), epochs=2)
    segment = Segment(
        trial=number, recipe=recipe, seeds=Seeds.of(0, recipe, number), state=None, upto=1, objectives=("accuracy",)
    )
    begun = time.perf_counter()
    result = executor.submit(segment).result(timeout=300)
    taken = time.perf_counter() - begun
    assert isinstance(result, Progress)
    return taken - result.worked_seconds


if __name__ == "__main__":
    raise SystemExit(main())

"""What driver and workers on Ray tell each other: a small actor beside the driver, which ends with it.

Its class is made in a function, so that cloudpickle sends it by value: the actor's process imports nothing of kdsearch,
and torch least of all. A board whose process dies is started again by Ray; what it held then was for showing only, and
the wish to stop comes with each of the driver's calls.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_ANSWER_SECONDS = 60.0
"""A board that does not answer for so long is gone for good, and with it Ray."""


def started_board() -> Any:
    """A board on the driver's own machine, which takes no processor."""

    class Board:
        """Messages are {"trial": its number, "line": an epoch's line of the curve, None where a worker takes it up}."""

        def __init__(self) -> None:
            self._told: list[dict[str, Any]] = []
            self._stopping = False

        def tell(self, message: dict[str, Any]) -> bool:
            """Take a worker's message; gives whether it is to stop."""
            self._told.append(message)
            return self._stopping

        def exchange(self, stopping: bool) -> list[dict[str, Any]]:
            """Take the driver's wish; gives what was told since the last call."""
            self._stopping = stopping
            told, self._told = self._told, []
            return told

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Board)
    return actor.options(scheduling_strategy=here).remote()


def exchanged(board: Any, *, stopping: bool) -> list[dict[str, Any]]:
    """For the driver: what workers told since the last call. Raises `RayError` where Ray is lost."""
    told: list[dict[str, Any]] = ray.get(board.exchange.remote(stopping), timeout=_ANSWER_SECONDS)
    return told


_asking: list[ThreadPoolExecutor] = []


def told(board: Any, message: dict[str, Any]) -> bool:
    """For workers: tell the driver; gives whether to stop. A message that cannot be told is missed, no more: the
    segment's result carries all of them.

    Asked in a thread of its own: a task that waits for an answer in its main thread gives its processor away, and Ray
    would start another beside it.
    """
    if not _asking:
        _asking.append(ThreadPoolExecutor(1, "board"))
    answer: Future[bool] = _asking[0].submit(lambda: ray.get(board.tell.remote(message), timeout=_ANSWER_SECONDS))
    try:
        return answer.result()
    except RayError:
        return False

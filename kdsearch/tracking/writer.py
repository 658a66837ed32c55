"""Writes one study to an MLflow store: experiment, parent run, and a child run for each trial and each fresh seed."""

import json
import logging
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kdsearch.ledger import RepeatRecord
from kdsearch.store import StudyFacts, TrialRecord
from kdsearch.training import Epoch
from kdsearch.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_STATUS = {"complete": "FINISHED", "failed": "FAILED", "running": "KILLED", "pruned": "FINISHED"}
_BATCH = 900


class Writer:
    """Writes one study to MLflow, creating only what is not there."""

    def __init__(self, workspace: Workspace, facts: StudyFacts, began_ms: int) -> None:
        self._facts = facts
        self._client = _client(workspace)
        self._experiment = self._find_experiment(workspace)
        runs = {int(run.data.tags["kdsearch.trial"]): run for run in self._search("trial")}
        self._done = {number for number, run in runs.items() if run.data.tags.get("kdsearch.mirrored") == "whole"}
        self._ids: dict[int, str] = {number: run.info.run_id for number, run in runs.items()}
        repeats = {str(run.data.tags["kdsearch.repeat"]): run for run in self._search("confirm")}
        self._repeats = {key: str(run.info.run_id) for key, run in repeats.items()}
        self._repeated = {key for key, run in repeats.items() if run.data.tags.get("kdsearch.mirrored") == "whole"}
        self._logged: dict[int, set[tuple[str, int]]] = defaultdict(set)
        self._starts: dict[int, int] = {}
        self._whole: set[int] = set()
        parents = list(self._search("search"))
        self._parent = parents[0].info.run_id if parents else self._create_parent(began_ms)
        self._describe_parent()

    def search(self, status: str) -> None:
        if status == "RUNNING":
            self._client.update_run(self._parent, status=status)
        else:
            self._client.set_terminated(self._parent, status=status)

    def end(self) -> None:
        """Close a parent run that no search is going to close."""
        if self._client.get_run(self._parent).info.status == "RUNNING":
            self._client.set_terminated(self._parent, status="FINISHED")

    def page(self, name: str, content: str) -> None:
        self._client.log_text(self._parent, content, name)

    def begin(self, record: TrialRecord) -> None:
        """Show a trial as running."""
        run = self._run(record)
        self._client.update_run(run, status="RUNNING")

    def curve(self, number: int, lines: list[Epoch]) -> None:
        """Log lines of a running trial's curve; those of a trial that has no run yet come with its record."""
        if number in self._ids and number not in self._done:
            self._log_lines(number, lines)

    def trial(self, record: TrialRecord) -> None:
        """Bring a trial's run up to its record: all of its curve, its figures, its status."""
        if record.number in self._done or record.state == "screened":
            return
        run = self._run(record)
        self._log_lines(record.number, record.curve)
        self._client.set_terminated(run, status=_STATUS[record.state], end_time=record.ended_ms)
        if record.state == "running":
            return
        spent = {f"seconds_{name}": seconds for name, seconds in record.spent.items()}
        figures = {**record.known, **record.measured, "seconds": record.seconds or 0.0, **spent}
        if "parameters" in figures:
            figures["share_of_teacher"] = figures["parameters"] / self._facts.teacher["parameters"]
        self._log_metrics(run, [(name, value, record.ended_ms or 0, 0) for name, value in figures.items()])
        if record.reason:
            self._client.set_tag(run, "kdsearch.reason", record.reason[:5000])
        self._client.set_tag(run, "kdsearch.mirrored", "whole")
        self._done.add(record.number)

    def repeat(self, record: RepeatRecord) -> None:
        """Write a run on a fresh seed, a kind of its own: never shown among the trials when one filters by role."""
        known_as = f"{record.arm}-{record.seed}-{record.ended_ms}"
        if known_as in self._repeated:
            return
        tags = {
            **self._tags("confirm"),
            "mlflow.parentRunId": self._parent,
            "kdsearch.repeat": known_as,
            "kdsearch.arm": record.label,
            "kdsearch.fresh_seed": str(record.seed),
            "kdsearch.fingerprint": record.fingerprint,
        }
        if record.reason:
            tags["kdsearch.reason"] = record.reason[:5000]
        name = f"confirm {record.label}, seed {record.seed}"
        if known_as not in self._repeats:
            created = self._client.create_run(self._experiment, start_time=record.began_ms, tags=tags, run_name=name)
            self._repeats[known_as] = str(created.info.run_id)
        run = self._repeats[known_as]
        seeds = {f"seed_{stage}": seed for stage, seed in record.seeds.items()}
        self._log_params(run, {**record.described, **seeds})
        self._log_metrics(run, _points(record.curve, int(record.described.get("start_epochs", 0))))
        figures = {**record.known, **record.measured, "seconds": record.seconds}
        self._log_metrics(run, [(figure, value, record.ended_ms, 0) for figure, value in figures.items()])
        status = "FINISHED" if record.state == "complete" else "FAILED"
        self._client.set_terminated(run, status=status, end_time=record.ended_ms)
        self._client.set_tag(run, "kdsearch.mirrored", "whole")
        self._repeated.add(known_as)

    def _run(self, record: TrialRecord) -> str:
        """The trial's run, created where there is none. What an earlier writer may have left out is written again."""
        number = record.number
        self._starts[number] = int(record.described.get("start_epochs", 0))
        if number in self._whole:
            return self._ids[number]
        if number in self._ids:
            self._recall(number)
        else:
            self._ids[number] = self._create_run(record)
        run = self._ids[number]
        seeds = {f"seed_{stage}": seed for stage, seed in record.seeds.items()}
        self._log_params(run, {**record.described, **seeds})
        self._client.log_text(run, json.dumps(record.recipe, indent=2), "recipe.json")
        self._whole.add(number)
        return run

    def _create_run(self, record: TrialRecord) -> str:
        tags = {
            **self._tags("trial"),
            "mlflow.parentRunId": self._parent,
            "kdsearch.trial": str(record.number),
            "kdsearch.fingerprint": record.fingerprint,
        }
        if record.continues is not None:
            tags["kdsearch.continues"] = str(record.continues)
        described = record.described
        name = f"trial {record.number:03d} {described.get('family', '')} {described.get('start', '')}".strip()
        run = self._client.create_run(self._experiment, start_time=record.began_ms, tags=tags, run_name=name)
        return str(run.info.run_id)

    def _recall(self, number: int) -> None:
        """Learn which epochs an earlier writer logged: trained again after a kill, they give the same values later."""
        for stage in ("hints", "pretrain", "distil"):
            before = self._starts[number] if stage == "distil" else 0
            points = self._client.get_metric_history(self._ids[number], f"{stage}/loss")
            self._logged[number] |= {(stage, point.step - before) for point in points}

    def _log_params(self, run: str, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(run, params=[Param(key, str(value)) for key, value in params.items()])

    def _log_lines(self, number: int, lines: list[Epoch]) -> None:
        fresh = [line for line in lines if (line["stage"], line["epoch"]) not in self._logged[number]]
        self._log_metrics(self._ids[number], _points(fresh, self._starts[number]))
        self._logged[number] |= {(line["stage"], line["epoch"]) for line in fresh}

    def _log_metrics(self, run: str, values: list[tuple[str, float, int, int]]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, float(value), at_ms, step) for name, value, at_ms, step in values]
        for begin in range(0, len(metrics), _BATCH):
            self._client.log_batch(run, metrics=metrics[begin : begin + _BATCH])

    def _find_experiment(self, workspace: Workspace) -> str:
        name = self._facts.name
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            own = not os.environ.get("MLFLOW_TRACKING_URI")
            location = (workspace.artifacts / name).as_uri() if own else None
            return str(self._client.create_experiment(name, artifact_location=location))
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _create_parent(self, began_ms: int) -> str:
        name = f"search {self._facts.name}"
        run = self._client.create_run(
            self._experiment, start_time=began_ms - 1, tags=self._tags("search"), run_name=name
        )
        return str(run.info.run_id)

    def _describe_parent(self) -> None:
        facts = self._facts
        shown: dict[str, Any] = {
            "data": facts.data["name"],
            "data_fingerprint": facts.data["fingerprint"],
            "train_examples": facts.data["train"],
            "teacher_parameters": facts.teacher["parameters"],
            "objectives": ", ".join(facts.objectives),
            "seed": facts.seed,
        }
        self._log_params(self._parent, shown)
        self._client.set_tag(self._parent, "mlflow.note.content", facts.card)

    def teacher(self, facts: StudyFacts) -> None:
        """Log the teacher's accuracy, which may come only while students are trained."""
        if not math.isnan(facts.teacher["accuracy"]):
            self._log_params(self._parent, {"teacher_accuracy": facts.teacher["accuracy"]})

    def _tags(self, role: str) -> dict[str, str]:
        return {"kdsearch.role": role, "kdsearch.study": self._facts.name, "kdsearch.study_id": self._facts.id}

    def _search(self, role: str) -> "Iterator[Run]":
        wanted = f"tags.`kdsearch.study_id` = '{self._facts.id}' and tags.`kdsearch.role` = '{role}'"
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment], wanted, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return


def _points(lines: list[Epoch], start_epochs: int) -> list[tuple[str, float, int, int]]:
    """Lines of a curve as MLflow's metrics: name, value, time and step, the epoch of the whole budget."""
    return [
        (
            f"{line['stage']}/{name}",
            value,
            line["at_ms"],
            line["epoch"] + (start_epochs if line["stage"] == "distil" else 0),
        )
        for line in lines
        for name, value in line.items()
        if name not in ("stage", "epoch", "at_ms")
    ]


def _client(workspace: Workspace) -> "MlflowClient":
    # a server that does not answer is given up on in seconds, not in MLflow's default of many minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # after the import, which sets them up
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or workspace.tracking_uri)

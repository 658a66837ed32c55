"""Writes one study to an MLflow store: experiment, parent run, and a child run for each trial and each fresh seed."""

import getpass
import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch.ledger import RepeatRecord
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.surroundings import processor, versions
from kdsearch.tracking.connection import connect
from kdsearch.tracking.experiment import as_text, describe, find_experiment
from kdsearch.tracking.inputs import log_inputs
from kdsearch.tracking.logged import TAG_CHARACTERS, Point, cut, log, points
from kdsearch.training import Epoch
from kdsearch.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.entities import Run

_STATUS = {"complete": "FINISHED", "failed": "FAILED", "running": "KILLED", "pruned": "FINISHED"}
_FRONT, _RANK = "kdsearch.on_front", "kdsearch.rank"
# what other trials and confirmations say of a trial: it may come after the trial's own figures, and change
_STANDING = (_FRONT, _RANK, "points_below_teacher", "gain_over_alone")


class Writer:
    """Writes one study to MLflow, creating only what is not there."""

    def __init__(self, workspace: Workspace, facts: StudyFacts, began_ms: int) -> None:
        self._facts = facts
        self._client = connect(workspace)
        self._experiment = find_experiment(self._client, workspace, facts)
        describe(self._client, self._experiment, facts)
        runs = {int(run.data.tags["kdsearch.trial"]): run for run in self._search("trial")}
        self._done = {number for number, run in runs.items() if run.data.tags.get("kdsearch.mirrored") == "whole"}
        self._ids: dict[int, str] = {number: run.info.run_id for number, run in runs.items()}
        repeats = {str(run.data.tags["kdsearch.repeat"]): run for run in self._search("confirm")}
        self._repeats = {key: str(run.info.run_id) for key, run in repeats.items()}
        self._repeated = {key for key, run in repeats.items() if run.data.tags.get("kdsearch.mirrored") == "whole"}
        self._standing: dict[int, dict[str, str | float]] = defaultdict(
            dict, {number: _standing_of(run) for number, run in runs.items()}
        )
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
        """Show a trial as running, which a run that is created is."""
        found = record.number in self._ids
        run = self._run(record)
        if found:
            self._client.update_run(run, status="RUNNING")

    def curve(self, number: int, lines: list[Epoch]) -> None:
        """Log lines of a running trial's curve; those of a trial that has no run yet come with its record."""
        if number in self._ids and number not in self._done:
            log(self._client, self._ids[number], metrics=self._fresh(number, lines))

    def trial(self, record: TrialRecord) -> None:
        """Bring a trial's run up to its record: all of its curve, its figures, its status."""
        if record.number in self._done or record.state == "screened":
            return
        run = self._run(record)
        curve = self._fresh(record.number, record.curve)
        self._client.set_terminated(run, status=_STATUS[record.state], end_time=record.ended_ms)
        if record.state == "running":
            log(self._client, run, metrics=curve)
            return
        spent = {f"seconds_{name}": seconds for name, seconds in record.spent.items()}
        figures = {**record.known, **record.measured, "seconds": record.seconds or 0.0, **spent}
        if "parameters" in figures:
            figures["share_of_teacher"] = figures["parameters"] / self._facts.teacher["parameters"]
        tags = {"kdsearch.mirrored": "whole"}
        if record.reason:
            tags["kdsearch.reason"] = record.reason
        log(self._client, run, metrics=[*curve, *_figures(figures, record.ended_ms)], tags=tags)
        self._done.add(record.number)

    def stand(
        self,
        records: Collection[TrialRecord],
        front: Collection[int],
        ranks: Mapping[int, int] | None = None,
        gains: Mapping[int, float] | None = None,
    ) -> None:
        """Say where complete trials stand: on the `front` or not, their `ranks`, their `gains` over the student alone.

        Only what has changed is written. Points below the teacher are there once its accuracy is known.
        """
        accuracy = self._facts.teacher["accuracy"]
        for record in records:
            if record.state != "complete" or record.number not in self._ids:
                continue
            wanted: dict[str, str | float] = {_FRONT: "true" if record.number in front else "false"}
            if ranks is not None:
                wanted[_RANK] = f"{ranks[record.number]:04d}"  # text, which sorts as the numbers do
            if not math.isnan(accuracy):
                wanted["points_below_teacher"] = 100 * (accuracy - record.measured["accuracy"])
            if gains is not None and record.number in gains:
                wanted["gain_over_alone"] = gains[record.number]
            self._update(record, wanted)

    def _update(self, record: TrialRecord, wanted: Mapping[str, str | float]) -> None:
        known = self._standing[record.number]
        changed = {key: value for key, value in wanted.items() if known.get(key) != value}
        if not changed:
            return
        figures = {key: value for key, value in changed.items() if isinstance(value, float)}
        tags = {key: value for key, value in changed.items() if isinstance(value, str)}
        log(self._client, self._ids[record.number], metrics=_figures(figures, record.ended_ms), tags=tags)
        known |= changed

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
            tags["kdsearch.reason"] = cut(record.reason, TAG_CHARACTERS)
        name = f"confirm {record.label}, seed {record.seed}"
        if known_as not in self._repeats:
            created = self._client.create_run(self._experiment, start_time=record.began_ms, tags=tags, run_name=name)
            self._repeats[known_as] = str(created.info.run_id)
        run = self._repeats[known_as]
        seeds = {f"seed_{stage}": seed for stage, seed in record.seeds.items()}
        curve = points(record.curve, int(record.described.get("start_epochs", 0)))
        log(self._client, run, metrics=curve, params={**record.described, **seeds})
        figures = {**record.known, **record.measured, "seconds": record.seconds}
        status = "FINISHED" if record.state == "complete" else "FAILED"
        self._client.set_terminated(run, status=status, end_time=record.ended_ms)
        log(self._client, run, metrics=_figures(figures, record.ended_ms), tags={"kdsearch.mirrored": "whole"})
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
        log(self._client, run, params={**record.described, **seeds})
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
        family, start = (str(record.described.get(key, "")) for key in ("family", "start"))
        tags |= {f"kdsearch.{key}": value for key, value in (("family", family), ("start", start)) if value}
        if record.continues is not None:
            tags["kdsearch.continues"] = str(record.continues)
        size = f"{record.known['parameters']:,.0f}" if "parameters" in record.known else ""
        name = " ".join(["trial", f"{record.number:04d}", *filter(None, (family, size, start))])
        run = self._client.create_run(self._experiment, start_time=record.began_ms, tags=tags, run_name=name)
        return str(run.info.run_id)

    def _recall(self, number: int) -> None:
        """Learn which epochs an earlier writer logged: trained again after a kill, they give the same values later."""
        for stage in ("hints", "pretrain", "distil"):
            before = self._starts[number] if stage == "distil" else 0
            points = self._client.get_metric_history(self._ids[number], f"{stage}/loss")
            self._logged[number] |= {(stage, point.step - before) for point in points}

    def _fresh(self, number: int, lines: list[Epoch]) -> list[Point]:
        """What of the lines was not logged yet, as metrics."""
        fresh = [line for line in lines if (line["stage"], line["epoch"]) not in self._logged[number]]
        self._logged[number] |= {(line["stage"], line["epoch"]) for line in fresh}
        return points(fresh, self._starts[number])

    def _create_parent(self, began_ms: int) -> str:
        name = f"search {self._facts.name}"
        created = self._client.create_run(
            self._experiment, start_time=began_ms - 1, tags=self._tags("search"), run_name=name
        )
        run = str(created.info.run_id)
        log_inputs(self._client, self._experiment, run, self._facts)
        return run

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
        note = cut(as_text(facts.card), TAG_CHARACTERS)
        tags = {
            "mlflow.note.content": note,
            **{f"kdsearch.made_with.{name}": said for name, said in versions().items()},
        }
        log(self._client, self._parent, params=shown, tags={**tags, "kdsearch.made_with.processor": processor()})
        self.teacher(facts)

    def teacher(self, facts: StudyFacts) -> None:
        """Log the teacher's accuracy, which may come only while students are trained."""
        self._facts = facts
        if not math.isnan(facts.teacher["accuracy"]):
            log(self._client, self._parent, params={"teacher_accuracy": facts.teacher["accuracy"]})

    def _tags(self, role: str) -> dict[str, str]:
        facts = self._facts
        return {
            "kdsearch.role": role,
            "kdsearch.study": facts.name,
            "kdsearch.study_id": facts.id,
            "mlflow.user": _user(),
            "mlflow.source.name": Path(facts.file).name if facts.file is not None else f"study {facts.name}",
            "mlflow.source.type": "LOCAL",
        }

    def _search(self, role: str) -> "Iterator[Run]":
        wanted = f"tags.`kdsearch.study_id` = '{self._facts.id}' and tags.`kdsearch.role` = '{role}'"
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment], wanted, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return


def _figures(figures: Mapping[str, float], at_ms: int | None) -> list[Point]:
    return [(name, value, at_ms or 0, 0) for name, value in figures.items()]


def _standing_of(run: "Run") -> dict[str, str | float]:
    known: dict[str, str | float] = {**run.data.tags, **run.data.metrics}
    return {key: known[key] for key in _STANDING if key in known}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # a container's user may have no name
        return "unknown"

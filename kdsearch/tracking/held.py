"""What an MLflow store holds of a study, compared to what the study is; and what puts the two together again.

Nothing here creates a store or an experiment. Runs that are removed go to MLflow's trash, from which `mlflow gc` frees
their rows; the artifacts of the workspace's own store are files of ours, and are removed.
"""

import math
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlparse

from kdsearch.ledger import Confirmed
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.tracking.connection import connect
from kdsearch.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

Kind = Literal["missing", "extra", "double", "differing", "model", "elsewhere"]


@dataclass(frozen=True, kw_only=True)
class Discrepancy:
    """One difference, in words. `runs` are those to be removed before the study is mirrored again, `versions` those of
    the registered model whose files are gone.
    """

    kind: Kind
    what: str
    runs: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()


def is_there(workspace: Workspace) -> bool:
    """Whether there is a store to look into; one that MLFLOW_TRACKING_URI names is taken to be."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (workspace.root / "mlflow.db").exists()


def holds(workspace: Workspace, facts: StudyFacts) -> bool:
    """Whether the store has the study's experiment. Raises what MLflow does where it is away, and `Mistake`."""
    return is_there(workspace) and _experiment(connect(workspace), facts.name) is not None


def discrepancies(
    workspace: Workspace, facts: StudyFacts, records: Sequence[TrialRecord], confirmed: Confirmed
) -> Iterator[Discrepancy]:
    """How the store differs from the study; nothing where it has no experiment of it. Raises as `holds` does."""
    if not is_there(workspace):
        return
    client = connect(workspace)
    experiment = _experiment(client, facts.name)
    if experiment is None:
        return
    runs = list(_runs(client, experiment.experiment_id, f"tags.`kdsearch.study_id` = '{facts.id}'"))
    by_role: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_role[run.data.tags.get("kdsearch.role", "")].append(run)
    yield from _elsewhere(workspace, facts, experiment)
    yield from _parents(facts, by_role["search"], by_role["trial"])
    yield from _trials(records, by_role["trial"])
    yield from _repeats(confirmed, by_role["confirm"])
    yield from _models(client, facts)


def remove(workspace: Workspace, facts: StudyFacts, found: Discrepancy) -> None:
    """Remove what is not to be there: runs to MLflow's trash, versions of the model for good."""
    client = connect(workspace)
    for run in found.runs:
        client.delete_run(run)
    for version in found.versions:
        client.delete_model_version(facts.name, version)


def forget(workspace: Workspace, name: str) -> list[str]:
    """Remove all of a study's: the registered model with its versions for good, the experiment to MLflow's trash under
    a name that leaves its own free, the artifacts that are in the workspace. Gives in words what was removed.

    What is not of kdsearch is left alone. May be repeated. Raises what MLflow does where it is away, and `Mistake`.
    """
    said: list[str] = []
    if is_there(workspace):
        client = connect(workspace)
        said += _forget_model(client, name)
        experiment = client.get_experiment_by_name(name)
        if experiment is not None and "kdsearch.study" in experiment.tags:
            known = str(experiment.experiment_id)
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(known)  # else it cannot be renamed, and holds the name
            client.rename_experiment(known, f"{name} (deleted, {known})")
            client.delete_experiment(known)
            said.append("its MLflow experiment is in MLflow's trash (mlflow gc empties that)")
    artifacts = workspace.artifacts / name
    if artifacts.is_dir() and not artifacts.is_symlink():
        shutil.rmtree(artifacts)
        said.append(f"removed {artifacts}")
    return said


def _forget_model(client: "MlflowClient", name: str) -> list[str]:
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return []
    if "kdsearch.study" not in model.tags:
        return []
    client.delete_registered_model(name)
    return [f"removed the registered model {name} and its versions"]


def _experiment(client: "MlflowClient", name: str) -> "Experiment | None":
    found = client.get_experiment_by_name(name)
    return found if found is not None and found.lifecycle_stage == "active" else None


def _runs(client: "MlflowClient", experiment: str, wanted: str) -> "Iterator[Run]":
    token: str | None = None
    while True:
        page = client.search_runs([experiment], wanted, max_results=1000, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _elsewhere(workspace: Workspace, facts: StudyFacts, experiment: "Experiment") -> Iterator[Discrepancy]:
    """A workspace that was copied or moved keeps writing artifacts to where it was."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return
    own = (workspace.artifacts / facts.name).as_uri()
    if experiment.artifact_location.rstrip("/") != own:
        yield Discrepancy(kind="elsewhere", what=f"its artifacts are at {experiment.artifact_location}, not at {own}")


def _parents(facts: StudyFacts, parents: "list[Run]", trials: "list[Run]") -> Iterator[Discrepancy]:
    if not parents:
        yield Discrepancy(kind="missing", what=f"the search of {facts.name} has no run")
        return
    children = Counter(run.data.tags.get("mlflow.parentRunId") for run in trials)
    _, *others = sorted(parents, key=lambda run: (-children[run.info.run_id], run.info.start_time))
    if others:
        runs = tuple(run.info.run_id for run in others)
        yield Discrepancy(kind="double", what=f"the search of {facts.name} has {len(parents)} runs", runs=runs)


def _trials(records: Sequence[TrialRecord], runs: "list[Run]") -> Iterator[Discrepancy]:
    by_number: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        by_number[int(run.data.tags["kdsearch.trial"])].append(run)
    wanted = {record.number: record for record in records if record.state != "screened"}
    for number in sorted(set(by_number) - set(wanted)):
        known = tuple(run.info.run_id for run in by_number[number])
        yield Discrepancy(kind="extra", what=f"there is a run of trial {number}, which the study has not", runs=known)
    for number, record in wanted.items():
        found = by_number.get(number, [])
        if len(found) > 1:
            known = tuple(run.info.run_id for run in found)
            yield Discrepancy(kind="double", what=f"trial {number} has {len(found)} runs", runs=known)
        elif record.state != "running" and not (found and _whole(found[0])):
            yield Discrepancy(kind="missing", what=f"trial {number} has no run, or part of one")
        elif record.state != "running" and (differing := _differing(record, found[0])):
            runs_of_it = (found[0].info.run_id,)
            yield Discrepancy(kind="differing", what=f"the run of trial {number} has {differing}", runs=runs_of_it)


def _differing(record: TrialRecord, run: "Run") -> str:
    """The first figure in which a run differs from its trial."""
    for name, figure in {**record.known, **record.measured}.items():
        shown = run.data.metrics.get(name)
        if shown != figure and not (math.isfinite(figure) is False and shown is not None):
            return f"{name} {shown}, the trial {figure}"
    return ""


def _repeats(confirmed: Confirmed, runs: "list[Run]") -> Iterator[Discrepancy]:
    by_key: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_key[run.data.tags.get("kdsearch.repeat", "")].append(run)
    for key, found in by_key.items():
        if len(found) > 1:
            known = tuple(run.info.run_id for run in found)
            yield Discrepancy(kind="double", what=f"a run on a fresh seed ({key}) is there twice", runs=known)
    for record in confirmed.records:
        found = by_key.get(f"{record.arm}-{record.seed}-{record.ended_ms}", [])
        if not (found and _whole(found[0])):
            what = f"{record.label} on fresh seed {record.seed} has no run, or part of one"
            yield Discrepancy(kind="missing", what=what)


def _whole(run: "Run") -> bool:
    return bool(run.data.tags.get("kdsearch.mirrored") == "whole")


def _models(client: "MlflowClient", facts: StudyFacts) -> Iterator[Discrepancy]:
    """Versions of the registered model whose files were on this machine and are gone."""
    for version in client.search_model_versions(f"name = '{facts.name}'"):
        if version.tags.get("kdsearch.study_id") != facts.id:
            continue
        folder = _local(version.source)
        if folder is not None and not (folder / "MLmodel").is_file():
            yield Discrepancy(
                kind="model",
                what=f"the files of {facts.name} version {version.version} in the model registry are gone ({folder})",
                versions=(str(version.version),),
            )


def _local(address: str | None) -> Path | None:
    """The folder at an address on this machine; None for one that is elsewhere."""
    parsed = urlparse(address or "")
    if parsed.scheme == "file" and parsed.netloc in ("", "localhost"):
        return Path(unquote(parsed.path))
    return Path(str(address)) if parsed.scheme == "" and parsed.path.startswith("/") else None

"""MLflow's model registry: an exported student as a version of a model that is called like its study.

The version is a logged model of the trial's own run, of MLflow's onnx flavour: no pickle, no code. The alias `best`
moves to it only where it is better on the validation split. Everything goes through a client of its own, so that
nothing of MLflow's global state (tracking URI, active run) is touched.
"""

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch.data.base import Data
from kdsearch.markup import code_span
from kdsearch.masking import masked
from kdsearch.mistakes import Mistake
from kdsearch.records import StudyFacts
from kdsearch.tracking.connection import connect
from kdsearch.tracking.experiment import describe, find_experiment
from kdsearch.tracking.logged import log
from kdsearch.tracking.network import digest, onnx_file, read, save
from kdsearch.tracking.promotion import BEST, Standing, judged
from kdsearch.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from onnx import ModelProto


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What became of an export in the model registry.

    `version` of the model `name`, None where it was not registered; `new` unless that student was there already;
    `best` whether the alias points to it now; `why` in words: of the alias, or of not being registered.
    """

    name: str
    version: str | None
    new: bool
    best: bool
    why: str

    def __str__(self) -> str:
        if self.version is None:
            return f"not registered: {self.why}"
        known = "registered as" if self.new else "already registered as"
        alias = f", alias {BEST}" if self.best else ""
        return f"{known} {self.name} version {self.version}{alias} ({self.why})"


def register(
    workspace: Workspace, facts: StudyFacts, card: Mapping[str, Any], folder: Path, data: Data, *, force: bool = False
) -> Registered:
    """Register the student whose export, described by `card`, is in `folder`; `force` moves the alias in any case.

    A student that is registered already, the same network, gets no second version. Whatever keeps it from being
    registered (no ONNX file; a store that is away, another program's or of another version of MLflow) is said in the
    result: the export stands all the same. Examples of the signature are of the validation split.
    """
    if (file := onnx_file(card)) is None:
        return _not_registered(facts, "the registry takes the ONNX file, which this export has not")
    try:
        return _register(workspace, facts, card, folder / file, data, force)
    except Mistake as mistake:
        return _not_registered(facts, f"{mistake}; exporting again registers it")
    except Exception as error:  # whatever a tracking store does must not reach the export
        reason = masked(str(error).strip().split("\n")[0])[:200]
        return _not_registered(
            facts, f"MLflow is away ({type(error).__name__}: {reason}); exporting again registers it"
        )


def _not_registered(facts: StudyFacts, why: str) -> Registered:
    return Registered(name=facts.name, version=None, new=False, best=False, why=why)


def _register(
    workspace: Workspace, facts: StudyFacts, card: Mapping[str, Any], file: Path, data: Data, force: bool
) -> Registered:
    client = connect(workspace)
    network = read(file)
    known_as = digest(network)
    model = _registered_model(client, facts)
    versions = _versions(client, facts.name)
    found = next((one for one in versions if one.tags.get("kdsearch.network") == known_as), None)
    made = found if found is not None else _new_version(client, workspace, facts, card, network, data, known_as)
    number = str(made.version)
    standings = {str(one.version): Standing.of(str(one.version), one.tags) for one in [*versions, made]}
    holder = model.aliases.get(BEST)
    moved, why = judged(standings[number], standings.get(str(holder)) if holder is not None else None, force)
    if moved:
        client.set_registered_model_alias(facts.name, BEST, number)
    return Registered(name=facts.name, version=number, new=found is None, best=moved or str(holder) == number, why=why)


def _registered_model(client: "MlflowClient", facts: StudyFacts) -> "RegisteredModel":
    """The model of the study's name, created where there is none. Raises `Mistake` where it is not of kdsearch."""
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(facts.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return client.create_registered_model(
            facts.name,
            tags={"kdsearch.study": facts.name},
            description=f"Students of the study {code_span(facts.name)}, distilled by kdsearch.",
        )
    if "kdsearch.study" not in model.tags:
        raise Mistake(
            f"MLflow has a model {facts.name} that is not of kdsearch; rename it there, or name another store with "
            "MLFLOW_TRACKING_URI"
        )
    return model


def _versions(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += page
        if not (token := page.token):
            return found


def _new_version(
    client: "MlflowClient",
    workspace: Workspace,
    facts: StudyFacts,
    card: Mapping[str, Any],
    network: "ModelProto",
    data: Data,
    known_as: str,
) -> "ModelVersion":
    """The network logged as a model of the trial's run, and registered."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    experiment = find_experiment(client, workspace, facts)
    run = _run(client, experiment, facts, card)
    facts_of_it = _tags(facts, card, known_as)
    logged = client.create_logged_model(
        experiment,
        name="student",
        source_run_id=run,
        params={name: str(value) for name, value in card["described"].items()},
        tags=facts_of_it,
        model_type="student",
    )
    client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=0)])
    client.log_batch(run, metrics=_metrics(card, run, logged.model_id))
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "model", network, card, data, logged)
        client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    made = client.create_model_version(
        facts.name,
        logged.artifact_location,  # its models:/ address would be looked up in the global tracking store
        run_id=run,
        tags=facts_of_it,
        description=_description(card),
        model_id=logged.model_id,
    )
    link = json.dumps([{"name": made.name, "version": made.version}])
    client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": link})  # as MLflow's own registering does
    return made


def _run(client: "MlflowClient", experiment: str, facts: StudyFacts, card: Mapping[str, Any]) -> str:
    """The trial's own run; of a study that was not tracked, a run for what was exported of the trial."""
    for role in ("trial", "export"):
        wanted = {"study_id": facts.id, "role": role, "trial": str(card["trial"])}
        found = client.search_runs(
            [experiment], " and ".join(f"tags.`kdsearch.{key}` = '{value}'" for key, value in wanted.items())
        )
        if found:
            return str(found[0].info.run_id)
    describe(client, experiment, facts)
    tags = {f"kdsearch.{key}": value for key, value in wanted.items()}
    created = client.create_run(experiment, tags=tags, run_name=f"export trial {card['trial']:04d}")
    run = str(created.info.run_id)
    log(client, run, params=card["described"])
    client.set_terminated(run)
    return run


def _description(card: Mapping[str, Any]) -> str:
    accuracies = ", ".join(f"{name.replace('_', ' ')} {value:.2%}" for name, value in _accuracies(card).items())
    return f"{card['metrics']['parameters']:,} parameters, {accuracies}: {code_span(card['command'])}"


def _metrics(card: Mapping[str, Any], run: str, model_id: str) -> "list[Metric]":
    """The model's accuracies, for its page and to sort by."""
    from mlflow.entities import Metric

    now_ms = time.time_ns() // 1_000_000
    return [Metric(name, value, now_ms, 0, model_id=model_id, run_id=run) for name, value in _accuracies(card).items()]


def _accuracies(card: Mapping[str, Any]) -> dict[str, float]:
    """Those that it has: none on the validation split where it learned from that too."""
    figures = {name: card["metrics"][name] for name in ("validation_accuracy", "test_accuracy")}
    return {name: value for name, value in figures.items() if value is not None}


def _tags(facts: StudyFacts, card: Mapping[str, Any], known_as: str) -> dict[str, str]:
    said = {
        "trial": card["trial"],
        "parameters": card["metrics"]["parameters"],
        **_accuracies(card),
        "trained_on": card["trained_on"],
        "study": facts.name,
        "study_id": facts.id,
        "network": known_as,
        "data_fingerprint": card["data"]["fingerprint"],
        "teacher": card["teacher"]["key"],
    }
    return {f"kdsearch.{name}": str(value) for name, value in said.items()}

"""A study's experiment: what it is called, what is written on it, and the view of its runs that it offers.

MLflow's list of runs shows no figure by itself, and folds trials away below the search. So the experiment has a view of
its own, in the form in which MLflow keeps those that its users share: trials by accuracy, with what tells them apart.
"""

import json
import os
from typing import TYPE_CHECKING

from kdsearch.records import StudyFacts
from kdsearch.tracking.logged import NOTE_CHARACTERS, cut
from kdsearch.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

_VIEW = "kdsearch"
_COLUMNS = (
    *("metrics.`accuracy`", "metrics.`parameters`", "metrics.`points_below_teacher`", "metrics.`gain_over_alone`"),
    *("tags.`kdsearch.on_front`", "params.`start`", "params.`temperature`", "params.`alpha`"),
)


def find_experiment(client: "MlflowClient", workspace: Workspace, facts: StudyFacts) -> str:
    """The id of the study's experiment, created where there is none, and brought back where it was deleted."""
    experiment = client.get_experiment_by_name(facts.name)
    if experiment is None:
        own = not os.environ.get("MLFLOW_TRACKING_URI")
        location = (workspace.artifacts / facts.name).as_uri() if own else None
        return str(client.create_experiment(facts.name, artifact_location=location))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def describe(client: "MlflowClient", experiment: str, facts: StudyFacts) -> None:
    """Write the study's card, how to see its report, its tags and its view on the experiment."""
    report = f"`kdsearch report {facts.name}` writes reports/{facts.name}/index.html: the front, charts and findings."
    tags = {
        "mlflow.note.content": cut(f"{report}\n\n{as_text(facts.card)}", NOTE_CHARACTERS),
        "mlflow.experimentKind": "custom_model_development",  # else its pages are those for language models
        f"mlflow.sharedViewState.{_VIEW}": json.dumps(_view(facts)),
        "kdsearch.study": facts.name,
        "kdsearch.study_id": facts.id,
        "kdsearch.data": facts.data["name"],
        "kdsearch.objectives": ", ".join(facts.objectives),
        "kdsearch.teacher_parameters": str(facts.teacher["parameters"]),
    }
    for key, value in tags.items():
        client.set_experiment_tag(experiment, key, value)


def as_text(card: str) -> str:
    """The card as a block of Markdown in which nothing has a meaning, neither Markdown's nor HTML's."""
    return "\n".join(f"    {line}" for line in card.splitlines())


def view_page(address: str, experiment: str) -> str:
    """The page of the study's own view of its runs, in MLflow's UI at `address`."""
    return f"{address}/#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey={_VIEW}"


def _view(facts: StudyFacts) -> dict[str, object]:
    return {
        "searchFilter": f"tags.`kdsearch.role` = 'trial' and tags.`kdsearch.study_id` = '{facts.id}'",
        "orderByKey": "metrics.`accuracy`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(_COLUMNS),
    }

"""The data set and the teacher as what MLflow calls a run's inputs: names and digests, no files and no pickles."""

import json
from typing import TYPE_CHECKING

from kdsearch.records import StudyFacts

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DIGEST_CHARACTERS = 36


def log_inputs(client: "MlflowClient", experiment: str, run: str, facts: StudyFacts) -> None:
    """Log both as inputs of the parent run. Call it once a run: MLflow would show a second teacher beside the first."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, LoggedModelStatus

    data, teacher = facts.data, facts.teacher
    examples = {name: data[name] for name in ("train", "validation", "test") if name in data}
    dataset = Dataset(
        name=data["name"],
        digest=data["fingerprint"][:_DIGEST_CHARACTERS],
        source_type="code",
        source=json.dumps({"study": facts.name, "fingerprint": data["fingerprint"]}),
        profile=json.dumps({**examples, "classes": data["classes"]}),
    )
    model = client.create_logged_model(
        experiment,
        name="teacher",
        source_run_id=run,
        params={"parameters": str(teacher["parameters"]), "members": str(teacher.get("members", 1))},
        tags={"kdsearch.study_id": facts.id, "kdsearch.teacher": str(teacher["key"])},
        model_type="teacher",
    )
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    context = [InputTag("mlflow.data.context", "training")]
    client.log_inputs(run, [DatasetInput(dataset, context)], [LoggedModelInput(model.model_id)])

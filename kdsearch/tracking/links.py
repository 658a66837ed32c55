"""From studies and trials to their pages in MLflow's UI."""

import os
from collections.abc import Iterator

import sqlalchemy

from kdsearch.masking import masked, without_user
from kdsearch.mistakes import Mistake
from kdsearch.records import StudyFacts
from kdsearch.tracking.connection import check_store, connect
from kdsearch.tracking.experiment import view_page
from kdsearch.workspace import Workspace

# MLflow's own search reads every metric and param of the runs it finds: 4 seconds for 1,000
_RUNS = sqlalchemy.text(
    """
    select numbers.value, runs.experiment_id, runs.run_uuid from runs
    join tags as numbers on numbers.run_uuid = runs.run_uuid and numbers.key = 'kdsearch.trial'
    join tags as studies on studies.run_uuid = runs.run_uuid and studies.key = 'kdsearch.study_id'
    where studies.value = :study and runs.lifecycle_stage = 'active'
    """
)

_STUDIES = sqlalchemy.text(
    """
    select experiments.name, experiments.experiment_id from experiments
    join experiment_tags as studies
        on studies.experiment_id = experiments.experiment_id and studies.key = 'kdsearch.study_id'
    where experiments.lifecycle_stage = 'active' order by experiments.last_update_time desc
    """
)


def study_pages(uri: str, address: str) -> dict[str, str]:
    """The page with each study's own view of its runs, in the MLflow UI at `address`: the last that was touched first.

    `uri` is that of a database; raises `Mistake` where it is none of MLflow's (`check_store`).
    """
    return {str(name): view_page(address, str(experiment)) for name, experiment in _rows(uri, _STUDIES)}


def run_links(workspace: Workspace, facts: StudyFacts, address: str) -> dict[int, str]:
    """The addresses of the trials' runs in the MLflow UI at `address`, by trial; those that have no run have none.

    Raises `Mistake` where `address` is no http or https URL, where the store is none of MLflow's (`check_store`) or a
    server that does not answer.
    """
    if not address.startswith(("http://", "https://")):
        raise Mistake(f"the address of MLflow's UI must begin with http:// or https://, got {masked(address)!r}")
    address = without_user(address)
    uri = os.environ.get("MLFLOW_TRACKING_URI") or workspace.tracking_uri
    away = uri.startswith(("http://", "https://"))
    if not away and uri == workspace.tracking_uri and not (workspace.root / "mlflow.db").exists():
        return {}
    found = _by_server(workspace, facts) if away else _by_database(uri, facts)
    return {number: f"{address.rstrip('/')}/#/experiments/{experiment}/runs/{run}" for number, experiment, run in found}


def _by_database(uri: str, facts: StudyFacts) -> Iterator[tuple[int, str, str]]:
    for number, experiment, run in _rows(uri, _RUNS, study=facts.id):
        yield int(str(number)), str(experiment), str(run)


def _rows(uri: str, query: sqlalchemy.TextClause, **values: str) -> list[tuple[object, ...]]:
    check_store(uri)
    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query, values)]
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = masked(str(getattr(error, "orig", None) or error).strip().split("\n")[0])
        shown = masked(engine.url.render_as_string())
        raise Mistake(f"{shown} cannot be read as MLflow's database ({reason})") from None
    finally:
        engine.dispose()


def _by_server(workspace: Workspace, facts: StudyFacts) -> Iterator[tuple[int, str, str]]:
    from mlflow.exceptions import MlflowException

    try:
        yield from _asked(workspace, facts)
    except MlflowException as error:
        reason = masked(str(error).strip().split("\n")[0])[:200]
        raise Mistake(f"MLflow's server cannot be asked ({reason}); see that it runs at MLFLOW_TRACKING_URI") from None


def _asked(workspace: Workspace, facts: StudyFacts) -> Iterator[tuple[int, str, str]]:
    client = connect(workspace)
    experiment = client.get_experiment_by_name(facts.name)
    if experiment is None:
        return
    wanted = f"tags.`kdsearch.study_id` = '{facts.id}' and tags.`kdsearch.role` = 'trial'"
    token: str | None = None
    while True:
        page = client.search_runs([experiment.experiment_id], wanted, max_results=10_000, page_token=token)
        for run in page:
            yield int(run.data.tags["kdsearch.trial"]), str(experiment.experiment_id), str(run.info.run_id)
        if not (token := page.token):
            return

"""A study's pages: the report that a user asks for, and what the study's own run in MLflow shows."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from kdsearch.findings import findings_frame
from kdsearch.ledger import Confirmed
from kdsearch.mistakes import Mistake
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.results import Results
from kdsearch.stored import Where, store_of
from kdsearch.study import check_name
from kdsearch.workspace import Workspace


def write_report(
    name: str,
    *others: str,
    to: Where | None = None,
    ui: str | None = None,
    workspace: Where | None = None,
    storage: str | None = None,
    complain: Callable[[str], None] = print,
) -> Path:
    """Write the study's page, by default to `reports/NAME/index.html`; gives its path. With `others` the page compares
    the studies instead, by default in `reports/NAME-vs-OTHER`.

    `ui` is the address of an MLflow UI, to which the trials then lead (default: MLFLOW_TRACKING_URI where that is a web
    address; a server that is lost is told to `complain`, and the page is without links). Raises `Mistake`, also where
    the folder holds what kdsearch did not write.
    """
    from kdsearch import report
    from kdsearch.files import writable
    from kdsearch.report.folders import check_ours

    names = [name, *others]
    for one in names:
        check_name(one)
    folder = Path(to) if to is not None else Path("reports") / "-vs-".join(names)
    place = Workspace.chosen(workspace)
    with writable(folder):
        check_ours(folder)  # before the work is done
    materials = [Results.of(store_of(one, place, storage)).material for one in names]
    if others:
        return report.write_comparison(materials, folder)
    links = _links(place, materials[0].facts, ui, complain)
    return report.write_report(dataclasses.replace(materials[0], links=links), folder)


def _links(place: Workspace, facts: StudyFacts, ui: str | None, complain: Callable[[str], None]) -> dict[int, str]:
    """The addresses of the trials' MLflow runs, none where no UI is known. One that was asked for must be there; a
    tracking server that happens to be lost keeps no report from being written.
    """
    from kdsearch.tracking import run_links

    if ui is not None:
        return run_links(place, facts, ui)
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address.startswith(("http://", "https://")):
        return {}
    try:
        return run_links(place, facts, address)
    except Mistake as mistake:
        complain(f"the report has no links to MLflow: {mistake}")
        return {}


def mirrored_pages(records: list[TrialRecord], facts: StudyFacts, confirmed: Confirmed) -> dict[str, str]:
    """What a study's own run in MLflow shows: its pages by file name."""
    from kdsearch.report import growth_page, pareto_page

    results = Results(facts, records, confirmed)
    pages = {
        "pareto.html": pareto_page(results.material),
        "growth.html": growth_page(results.material),
        "front.csv": results.front.to_csv(),
    }
    if results.findings:
        pages["findings.csv"] = findings_frame(results.findings).to_csv(index=False)
    return pages

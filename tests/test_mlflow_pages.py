"""MLflow's pages as a user sees them: a real search, the real server, real Chromium."""

import shutil
from pathlib import Path

import pytest

from kdsearch import api
from kdsearch.tracking import run_links
from kdsearch.workspace import Workspace
from tests.servers import serving
from tests.studies_for_tests import write_study

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
NOT_OURS = (
    "users/current",  # MLflow's own question about who is logged in, where nobody is
    "ResizeObserver",  # its table's layout
)
CARD = '"""A small study for tests.'


@pytest.fixture(scope="module")
def browsed(tmp_path_factory):
    """A browser's context, the server's address, and the results of the search that it shows."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    folder = tmp_path_factory.mktemp("pages")
    path = write_study(
        folder,
        (CARD, CARD + " <img src=x onerror=document.title='taken'> **bold**"),
        ("trials=4", 'trials=3, first=[{"start": "pretrain", "width": 30}]'),
    )
    results = api.run(path, workspace=folder / "runs", engine="inline", confirm=False, complain=pytest.fail)
    with serving("ui", "--workspace", folder / "runs") as server, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1600, "height": 900})
        context.set_default_timeout(60_000)
        yield context, server, results
        browser.close()


@pytest.fixture
def tab(browsed):
    """A tab, in which no error of ours may happen."""
    context, _, _ = browsed
    tab, errors = context.new_page(), []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda said: errors.append(f"{said.text} {said.location}") if said.type == "error" else None)
    yield tab
    tab.close()
    assert not [error for error in errors if not any(known in error for known in NOT_OURS)]


def test_the_studys_page_lists_its_trials_with_what_tells_them_apart(browsed, tab):
    _, server, results = browsed
    (address,) = [line.split(": ", 1)[1] for line in server.said.splitlines() if line.startswith("  small: ")]
    tab.goto(address)
    tab.get_by_text("trial 0000 Mine").first.wait_for()
    text = tab.locator("body").inner_text()
    for record in results.records:
        assert f"trial {record.number:04d} Mine {record.known['parameters']:,}" in text
    for column in ("accuracy", "points_below_teacher", "start", "temperature", "on_front"):
        assert column in text
    assert "kdsearch report small" in text, "the experiment's description"
    assert "<img src=x" in text and "**bold**" in text, "the card is text and nothing else"
    assert tab.title() != "taken"
    shown = [text.index(f"trial {number:04d}") for number in results.frame["accuracy"].sort_values().index[::-1]]
    assert shown == sorted(shown), "the most accurate first"


def test_the_searchs_artifacts_show_the_pareto_chart_in_its_frame(browsed, tab):
    _, server, results = browsed
    runs = run_links(Workspace(results_root(results)), results.facts, server.address)
    tab.goto(runs[0])
    tab.get_by_text("search small").first.click()  # the parent, named on its child's page
    tab.get_by_role("tab", name="Artifacts").click()
    tab.get_by_text("pareto.html").first.click()
    frame = tab.frame_locator("iframe")
    frame.locator(".scatterlayer .point").first.wait_for()
    sandbox = tab.locator("iframe").first.get_attribute("sandbox")
    assert sandbox == "allow-scripts", "no storage, no downloads, no links"
    assert frame.locator(".scatterlayer .point").count() >= len(results.records) + 1, "the trials and the teacher"
    assert "small: the front" in frame.locator("h1").inner_text()


def test_a_trials_page_has_its_curves_by_stage(browsed, tab):
    _, server, results = browsed
    runs = run_links(Workspace(results_root(results)), results.facts, server.address)
    assert sorted(runs) == [0, 1, 2]
    tab.goto(f"{runs[0]}/model-metrics")
    tab.get_by_text("(distil/loss)").first.wait_for()
    tab.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for()
    assert "pretrain" in tab.locator("body").inner_text(), "a section of its own for the start"
    assert tab.get_by_text("(distil/seconds)").count() == 0, "a trial's sums say that"


def results_root(results):
    """The workspace that the results' study was run in, beside its file."""
    return Path(results.facts.file).parent / "runs"

"""A real browser for tests of pages: headless Chromium, which runs their scripts and tells what went wrong."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kdsearch.report.chart import Chart
    from kdsearch.report.material import Material

READY = "html[data-ready]"
COUNTS = """() => Object.fromEntries([...document.querySelectorAll('[data-drawn]')].map((chart) => [
  chart.dataset.chart,
  chart.data.filter((trace) => trace.meta !== 'picked').map((trace) => trace.customdata?.length ?? 0),
]))"""
"""How many marks stand for trials in each trace of each drawn chart."""
PICKED = """() => Object.fromEntries([...document.querySelectorAll('[data-drawn]')].map((chart) => [
  chart.dataset.chart,
  chart.data.filter((trace) => trace.meta === 'picked').map((trace) => [[...trace.x], [...trace.y]]),
]))"""
"""What is highlighted in each drawn chart."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for a module's tests; not for a session's: playwright keeps an event loop that others would meet."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on PATH")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path) -> Iterator[Callable[..., Any]]:
    """Open a page, its text or its path, in a tab of its own and wait until it is ready; see `watched`."""
    with watched(chromium) as open_page:
        count = 0

        def open_text(page: str | Path, fragment: str = "", **options: Any) -> Any:
            nonlocal count
            path, count = page if isinstance(page, Path) else tmp_path / f"page-{count}.html", count + 1
            if isinstance(page, str):
                path.write_text(page, encoding="utf-8")
            return open_page(path, fragment, **options)

        yield open_text


@contextmanager
def watched(browser: Any) -> Iterator[Callable[..., Any]]:
    """Tabs that are looked after: at the end none of them may have had an error or a warning of the content security
    policy, or have asked for anything but itself.
    """
    contexts, wrong = [], []

    def open_page(path: Path, fragment: str = "", wait: str = READY, **options: Any) -> Any:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
        )
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(120_000)
        tab.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("request", lambda request: wrong.append(request.url) if foreign(request.url) else None)
        tab.goto(path.as_uri() + fragment)
        if wait:
            tab.wait_for_selector(wait, state="attached")
        return tab

    yield open_page
    for context in contexts:
        wrong += [tab.evaluate("document.documentElement.dataset.errors ?? ''") for tab in context.pages]
        context.close()
    assert [said for said in wrong if said and not harmless(said)] == []


def foreign(address: str) -> bool:
    return not address.startswith(("file:", "data:", "blob:"))


def harmless(said: str) -> bool:
    """Chromium's own remark on drawing without a graphics card."""
    return bool(re.search(r"GL Driver Message|WebGL.*software|GPU stall", said))


@contextmanager
def saving(tab: Any) -> Iterator[list[bytes]]:
    """What a click within saves to the disk."""
    content: list[bytes] = []
    with tab.expect_download() as caught:
        yield content
    content.append(Path(caught.value.path()).read_bytes())


def draw_all(tab: Any) -> None:
    """Scroll every chart into view, as a reader does."""
    for chart in tab.query_selector_all("[data-chart]"):
        chart.scroll_into_view_if_needed()
    for chart in tab.query_selector_all("[data-chart]"):
        tab.wait_for_selector(f"[data-chart='{chart.get_attribute('data-chart')}'][data-drawn]")


def made_charts(material: "Material") -> "list[Chart]":
    """Charts that use all that `kdsearch.report.chart` promises: marks with another axis, lines with gaps, and none."""
    import plotly.graph_objects as go

    from kdsearch.report.chart import Chart

    complete = material.table[material.table["state"] == "complete"]
    trials = [int(trial) for trial in complete.index]
    marks = go.Figure()
    sizes, work = complete["parameters"].tolist(), complete["macs"].tolist()
    marks.add_scatter(x=sizes, y=complete["accuracy"].tolist(), customdata=trials, mode="markers", hoverinfo="none")
    marks.add_scatter(x=[1_000], y=[0.97], mode="markers", name="teacher", hovertext=["teacher"], hoverinfo="text")
    axes = [
        {"name": "parameters", "title": "parameters", "type": "log", "x": [sizes, None]},
        {"name": "macs", "title": "multiply-accumulates", "type": "linear", "range": [0, 2e5], "x": [work, None]},
    ]
    marks.update_layout(meta={"axes": axes}, xaxis={"type": "log", "title": {"text": "parameters"}})
    lines = go.Figure()
    x, y, whose = [], [], []
    for trial in trials:
        x += [1, 2, 3, None]
        y += [0.1 * trial, 0.2 * trial, 0.3 * trial, None]
        whose += [trial, trial, trial, None]
    lines.add_scatter(x=x, y=y, customdata=whose, mode="lines", hoverinfo="none")
    given = {"label": "A chart", "note": "How to read it."}
    return [
        Chart(name="pareto", title="Marks", figure=marks, tall=True, **given),
        Chart(name="curves", title="Lines", figure=lines, **given),
        Chart(name="effort", title="Nothing yet", figure=None, missing="There is too little to draw.", **given),
    ]

"""The report: figures by their numbers, pages by what they say and by what they must never let through."""

import base64
import hashlib
import html
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from typing import Any

import pytest

from kdsearch.frame import frame
from kdsearch.mistakes import Mistake
from kdsearch.report import pareto_page, tables, write_report
from kdsearch.report.columns import percent, shown, student_columns
from kdsearch.report.ink import accuracy_ticks, size_ticks
from kdsearch.report.page import report_page
from tests.made import facts, hostile, lost, material, some, trial


def data_blocks(page: str) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json" id="([a-z-]+)">(.*?)</script>', page, re.DOTALL)
    return {name: json.loads(text) for name, text in found}


def test_equal_trials_all_stand_in_the_front_table():
    table = frame([trial(0, 100, 0.8), trial(1, 100, 0.8)], facts())
    assert tables.front_columns(table, facts())[0].cells == ["0", "1"]


@pytest.mark.parametrize(
    ("smallest", "largest", "texts"),
    [
        (150, 230_000, ["100", "1k", "10k", "100k", "1M"]),
        (1_200, 9_000, ["1k", "2k", "5k", "10k", "20k", "50k"]),
        (0, 1, ["1", "2", "5"]),
    ],
)
def test_size_ticks(smallest: int, largest: int, texts: list[str]):
    assert size_ticks(smallest, largest)[1] == texts


@pytest.mark.parametrize(
    ("lowest", "highest", "ticks"),
    [
        (0.57, 0.992, [0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995]),
        (0.1, 0.8, [0, 0.3, 0.5, 0.7, 0.8, 0.9]),
        (0.7, 0.74, [0.7, 0.71, 0.72, 0.73, 0.74]),
        (1.0, 1.0, [1.0]),
        (0.0, 0.0, [0.0]),
    ],
)
def test_accuracy_ticks(lowest: float, highest: float, ticks: list[float]):
    assert accuracy_ticks(lowest, highest) == pytest.approx(ticks)


def test_values_are_shown_for_people():
    values = [1.0, 4.229374, 14_800, True, 0.00001, "x", math.inf, "y" * 100]
    assert [shown(value) for value in values] == ["1", "4.229", "14,800", "True", "1e-05", "x", "inf", "y" * 79 + "…"]
    assert [percent(share) for share in (0.00675, 0.00066, 1.2)] == ["0.68", "0.066", "120.00"]


def test_student_columns_are_those_that_are_no_part_of_start_distil_or_optim():
    assert student_columns(frame(some(), facts())) == ["family", "width"]


def test_front_table_names_the_losses_where_they_differ():
    table = frame([trial(0, 10, 0.6, described={"loss": "kd"}), trial(1, 20, 0.7, described={"loss": "dkd"})], facts())
    columns = {column.title: column.cells for column in tables.front_columns(table, facts())}
    assert columns["loss"] == ["kd", "dkd"]
    plain = frame([trial(0, 10, 0.6, described={"loss": "kd"})], facts())
    assert "loss" not in {column.title for column in tables.front_columns(plain, facts())}
    assert student_columns(table) == ["family", "width"]


def test_front_table_says_how_small_and_how_far_below_the_teacher():
    columns = {column.title: column.cells for column in tables.front_columns(frame(some(), facts()), facts())}
    assert columns["trial"] == ["4", "0", "2"]
    assert columns["parameters"] == ["100", "1,000", "10,000"]
    assert columns["% of teacher's"] == ["0.10", "1.00", "10.00"]
    assert columns["validation accuracy, %"] == ["60.00", "80.00", "98.00"]
    assert columns["points below teacher"] == ["37.00", "17.00", "-1.00"]
    assert columns["start"] == ["pretrain", "none", "hints"]
    assert columns["family"] == ["MLP", "ConvNet", "ConvNet"]
    assert "smallest" in columns["picked as"][0]
    assert "accurate" in columns["picked as"][2]


def test_further_objectives_stand_in_the_front_table():
    asked = facts(objectives=["accuracy", "parameters", "macs"])
    columns = {column.title: column.cells for column in tables.front_columns(frame(some(), asked), asked)}
    assert columns["macs"] == ["1,000", "10,000", "100,000"]
    assert "macs (minimized)" in tables.rule_words(asked)


def test_reasons_stand_once_each_with_their_count():
    listed, left_out = tables.reasons(frame(some(), facts()))
    assert [(reason.count, reason.state) for reason in listed] == [(2, "failed"), (1, "screened")]
    assert left_out == 0
    assert tables.reasons(frame([lost(0, "failed", None)], facts()))[0][0].reason == "no reason was kept"
    many = frame([lost(number, "failed", f"why {number}") for number in range(60)], facts())
    assert tables.reasons(many)[1] == 10


def test_the_page_says_everything(tmp_path):
    path = write_report(material(some(), facts()), tmp_path / "reports" / "small")
    assert path == tmp_path / "reports" / "small" / "index.html"
    page = path.read_text(encoding="utf-8")
    for told in (
        '<html lang="en">',
        "<title>small: kdsearch</title>",
        "Question   Which one?",
        "100,000 parameters, 97.00 % validation accuracy",
        "toy: 1,200 to train on, 100 for validation, 2 classes",
        "4 complete, 1 screened, 2 failed, 1 running",
        "0.8800; larger is better",
        "accuracy above 0.5 times log10 of parameters below 100,000",
        "Of 4 complete trials 3 are on the front",
        "validation accuracies of one seed each, so the best of 4 trials is an optimistic figure",
        "one of the 100 validation examples is 1 points",
        "the loss is not finite",
        "kdsearch export small --pick knee --to DIR",
        "the study file is <code>small.py</code>",
    ):
        assert told in page, told
    assert set(data_blocks(page)) == {"pareto-data", "growth-data"}
    assert "/home/someone" not in page  # a report travels; whose machine made it does not


def test_a_smoke_run_says_so():
    page = report_page(material(some(), facts(smoke=True)))
    assert "smoke run" in page
    assert "smoke run" not in report_page(material(some(), facts()))


class Loads(HTMLParser):
    """What a page would fetch or lead to, and which scripts run in it."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def loads(page: str) -> Loads:
    found = Loads()
    found.feed(page)
    return found


@pytest.mark.parametrize("make", [report_page, pareto_page])
def test_a_page_is_one_file_with_plotly_once(make):
    page = make(material(some(), facts()))
    found = loads(page)
    assert found.fetched == []
    assert not {"link", "iframe", "img", "object", "a", "form"} & set(found.tags)
    assert page.count("* plotly.js v") == 1
    assert "default-src &#39;none&#39;" in page


def test_the_framed_page_has_chart_and_table_but_no_download():
    page = pareto_page(material(some(), facts()))
    assert set(data_blocks(page)) == {"pareto-data"}
    assert "<table>" in page
    assert "data-downloads" not in page
    assert "data-downloads" in report_page(material(some(), facts()))


@pytest.mark.parametrize("make", [report_page, pareto_page])
def test_names_and_values_never_become_markup(make):
    records, told = hostile()
    page = make(material(records, told))
    assert "<script>alert" not in page
    assert "evil.example/'>" not in page
    found = loads(page)
    harmless = loads(make(material(some(), facts())))
    assert found.fetched == []
    assert found.handlers == []
    assert found.tags.count("script") == harmless.tags.count("script")
    page.encode("utf-8")


def test_hover_texts_and_legend_are_escaped_for_plotly_too():
    records, told = hostile()
    chart = data_blocks(report_page(material(records, told)))["pareto-data"]
    texts = [text for trace in chart["data"] for text in trace.get("hovertext", [])]
    texts += [trace["name"] for trace in chart["data"]]
    assert any(html.escape("<script>alert(1)") in text for text in texts)
    for text in texts:
        assert re.sub(r"</?b>|<br>", "", text).count("<") == 0


def test_only_the_pages_own_scripts_may_run():
    """A page's policy names each script's hash, so that a script from elsewhere would not run."""
    records, told = hostile()
    page = report_page(material(records, told))
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    allowed = re.search(r"script-src ([^;]*)", policy)[1].split()
    assert len(allowed) == 3
    assert all(source.startswith("'sha256-") for source in allowed)


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([], "No trial is complete yet"),
        ([trial(0, 100, None)], "No trial is complete (1 running)"),
        ([lost(0, "failed", "boom"), lost(1, "failed", "boom")], "No trial is complete (2 failed)"),
    ],
)
@pytest.mark.parametrize("make", [report_page, pareto_page])
def test_without_a_complete_trial_the_page_says_so_and_draws_nothing(make, records, told):
    page = make(material(records, facts()))
    assert told in page
    assert "plotly.js" not in page
    assert "data-chart" not in page
    assert "kdsearch export" not in page


def test_one_complete_trial_is_shown_and_its_progress_is_not():
    page = report_page(material([trial(0, 100, 0.8)], facts()))
    assert "Only one trial is complete" in page
    assert set(data_blocks(page)) == {"pareto-data"}
    assert "no progress to draw yet" in page


def test_a_folder_that_cannot_be_written_is_one_clear_message(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(Mistake, match="cannot write"):
        write_report(material([], facts()), tmp_path / "taken")


def drawn(path, tmp_path) -> str:
    """The page's DOM after a real browser has run it; plotly.js and its data are cut out."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("no chromium on PATH")
    options = ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking")
    further = (
        "disable-component-update",
        "disable-sync",
        "disable-features=IsolateSandboxedIframes",
        f"user-data-dir={tmp_path / 'profile'}",
    )
    last = ("virtual-time-budget=8000", "enable-logging=stderr", "dump-dom")
    flags = [f"--{flag}" for flag in (*options, *further, *last)]
    ran = subprocess.run([browser, *flags, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "Uncaught" not in ran.stderr
    return re.sub(r"<script.*?</script>", "", ran.stdout, flags=re.DOTALL)


@pytest.mark.slow
def test_a_browser_draws_both_charts_without_an_error(tmp_path):
    dom = drawn(write_report(material(some(), facts()), tmp_path), tmp_path)
    assert "data-errors" not in dom
    assert dom.count("js-plotly-plot") == 2
    assert 'class="main-svg"' in dom
    assert "Share chart" not in dom  # Plotly's own choice of buttons has one that uploads the chart
    assert "start: pretrain" in dom


@pytest.mark.slow
def test_a_browser_draws_the_framed_page_in_a_sandbox(tmp_path):
    """As MLflow shows it: only scripts are allowed. The frame tells its parent what it drew."""
    found = "[document.querySelectorAll('.main-svg').length, document.documentElement.dataset.errors ?? null]"
    probe = f"setTimeout(() => parent.postMessage({found}, '*'), 2000)"
    digest = base64.b64encode(hashlib.sha256(probe.encode()).digest()).decode()
    page = pareto_page(material(some(), facts())).replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    (tmp_path / "chart.html").write_text(f"{page}<script>{probe}</script>", encoding="utf-8")
    (tmp_path / "frame.html").write_text(
        "<title></title><script>onmessage = (event) => { document.title = JSON.stringify(event.data) }</script>"
        '<iframe sandbox="allow-scripts" src="chart.html" width="800" height="900"></iframe>'
    )
    title = re.search(r"<title>(.*?)</title>", drawn(tmp_path / "frame.html", tmp_path))
    assert title is not None
    count, errors = json.loads(title[1])
    assert count >= 2
    assert errors is None


@pytest.mark.slow
def test_a_browser_shows_hostile_names_as_text(tmp_path):
    records, told = hostile()
    dom = drawn(write_report(material(records, told), tmp_path), tmp_path)
    assert "data-errors" not in dom
    assert dom.count("js-plotly-plot") == 2
    assert 'evil.example/"' not in dom
    assert "&lt;script&gt;alert(1)" in dom

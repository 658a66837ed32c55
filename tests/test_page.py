"""Pages: what they say, and what they must never let through."""

import html
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from kdsearch.mistakes import Mistake
from kdsearch.report import growth_page, pareto_page, write_report
from kdsearch.report.page import report_page
from kdsearch.report.render import json_block
from kdsearch.report.trials import stages, web_links
from tests.made import curve, facts, hostile, lost, material, some, trial


def data_blocks(page: str) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json" id="([a-z-]+)">(.*?)</script>', page, re.DOTALL)
    return {name: json.loads(text) for name, text in found}


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
    assert {"pareto-data", "growth-data", "trials-data"} <= set(data_blocks(page))
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


@pytest.mark.parametrize("make", [report_page, pareto_page, growth_page])
def test_a_page_is_one_file_with_plotly_once(make):
    page = make(material(some(), facts()))
    found = loads(page)
    assert all(address.startswith("#") for address in found.fetched)
    assert not {"link", "iframe", "img", "object", "form"} & set(found.tags)
    assert page.count("* plotly.js v") == 1
    assert "default-src &#39;none&#39;" in page


def test_the_framed_page_has_chart_and_table_but_no_download():
    page = pareto_page(material(some(), facts()))
    assert set(data_blocks(page)) == {"pareto-data", "trials-data"}
    assert '<table id="trials">' in page
    assert "data-downloads" not in page
    assert "data-downloads" in report_page(material(some(), facts()))


@pytest.mark.parametrize("make", [report_page, pareto_page, growth_page])
def test_names_and_values_never_become_markup(make):
    records, told = hostile()
    page = make(material(records, told))
    assert "<script>alert" not in page
    assert "evil.example/'>" not in page
    found = loads(page)
    harmless = loads(make(material(some(), facts())))
    assert found.fetched == harmless.fetched
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
@pytest.mark.parametrize("make", [report_page, pareto_page, growth_page])
def test_without_a_complete_trial_the_page_says_so_and_draws_nothing(make, records, told):
    page = make(material(records, facts()))
    assert told in page
    assert "plotly.js" not in page
    assert set(data_blocks(page)) == {"trials-data"}
    assert "kdsearch export" not in page


def test_one_complete_trial_is_shown_and_its_progress_is_not():
    page = report_page(material([trial(0, 100, 0.8)], facts()))
    assert "Only one trial is complete" in page
    assert "growth-data" not in data_blocks(page)
    assert "no progress to draw yet" in page


def test_a_folder_that_cannot_be_written_is_one_clear_message(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(Mistake, match="cannot write"):
        write_report(material([], facts()), tmp_path / "taken")


def test_json_in_a_page_has_no_sign_that_ends_its_element():
    value = {"<!--": "</script>&amp;\u2028", "é": [1.5, None]}
    text = str(json_block(value))
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == value


def test_links_lead_to_web_pages_alone():
    good = {1: "http://127.0.0.1:5000/#/x", 3: "https://mlflow.example/"}
    given = {**good, 2: "javascript:alert(1)", 4: "data:,x", 5: ""}
    assert web_links(given) == good


def test_a_trials_stages_are_told_by_their_last_epoch():
    record = trial(0, 100, 0.8, curve=curve([None, None, 0.5, 0.75], start=2))
    assert stages(record) == [["hints", 2, 1.0, None, 0.8], ["distil", 2, 1.0, 0.75, 0.8]]


def test_the_framed_pages_lead_nowhere():
    for make in (pareto_page, growth_page):
        page = make(material(some(), facts(), links={0: "http://127.0.0.1:5000/"}))
        assert loads(page).fetched == []
        assert "a" not in loads(page).tags
        assert "127.0.0.1" not in page


def test_trials_that_lack_an_objective_stand_on_no_front_and_the_page_says_so():
    asked = facts(objectives=["accuracy", "latency_ms"])
    slow = {"accuracy": 0.8, "parameters": 100, "latency_ms": 2.0}
    page = report_page(material([trial(0, 100, 0.8, measured=slow), trial(1, 100, 0.9)], asked))
    assert "1 of the 2 lack one of accuracy, latency_ms and so stand on no front" in page
    assert data_blocks(page)["trials-data"]["front"] == [0]
    none = report_page(material([trial(0, 100, 0.8)], asked))
    assert "1 of the 1 lack one of accuracy, latency_ms" in none
    assert set(data_blocks(none)) == {"trials-data"}

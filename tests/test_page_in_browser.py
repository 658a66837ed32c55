"""Pages in a real browser: what is drawn, sorted, filtered, picked and saved there."""

import base64
import hashlib
import io
import re

import pandas as pd
import pytest

from kdsearch.report import growth_page, pareto_page
from kdsearch.report.page import page_of, report_page
from tests.browser import COUNTS, PICKED, draw_all, made_charts, saving, watched
from tests.made import curve, facts, hostile, lost, material, some, trial


@pytest.fixture(scope="module")
def made():
    """The report on eight trials, three of them on the front, with charts that use all of the contract."""
    given = material(some(), facts(), links={2: "http://127.0.0.1:5000/#/run", 0: "javascript:alert(1)"})
    return page_of(given, made_charts(given))


@pytest.fixture(scope="module")
def standing(chromium, made, tmp_path_factory):
    """That report, opened once: a page's four megabytes of plotly.js take longer than most of what is tested on it."""
    path = tmp_path_factory.mktemp("kept") / "page.html"
    path.write_text(made, encoding="utf-8")
    with watched(chromium) as opened:
        tab = opened(path)
        draw_all(tab)
        yield tab


@pytest.fixture
def tab(standing):
    """The report as it was opened: the front, nothing filtered, nothing picked."""
    standing.keyboard.press("Escape")
    standing.fill("#filter", "")
    standing.click("[data-mode=front]")
    standing.evaluate("scrollTo(0, 0)")
    return standing


def cells(tab, column: int) -> list[str]:
    return tab.eval_on_selector_all(f"#trials tbody td:nth-child({column})", "cells => cells.map(c => c.textContent)")


def places(tab, key: str) -> int:
    return tab.eval_on_selector(f'#trials th:has-text("{key}")', "cell => cell.cellIndex") + 1


def test_every_chart_of_the_report_is_drawn_with_all_of_its_trials(opened):
    from kdsearch.report.charts import charts

    given = material(some(), facts())
    tab = opened(report_page(given))
    draw_all(tab)
    expected = {
        chart.name: [len(trace.customdata) if trace.customdata is not None else 0 for trace in chart.figure.data]
        for chart in charts(given)
        if chart.figure is not None
    }
    assert tab.evaluate(COUNTS) == expected
    complete = int((given.table["state"] == "complete").sum())
    assert sum(expected["pareto"]) >= complete
    buttons = tab.eval_on_selector_all(".modebar-btn", "nodes => nodes.map(node => node.dataset.title)")
    assert "Share chart" not in buttons and "Download plot as a PNG" in buttons  # the first would upload the chart


def test_a_chart_is_drawn_when_it_comes_near(opened, made):
    tab = opened(made, viewport={"width": 1280, "height": 300})
    assert list(tab.evaluate(COUNTS)) == ["pareto"]
    draw_all(tab)
    assert tab.evaluate(COUNTS) == {"pareto": [4, 0], "curves": [16]}
    assert "There is too little to draw." in tab.inner_text("main")


def test_all_charts_are_drawn_before_printing(opened, made):
    tab = opened(made, viewport={"width": 1280, "height": 300})
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert set(tab.evaluate(COUNTS)) == {"pareto", "curves"}


def test_the_front_is_sorted_by_its_headings(tab):
    assert cells(tab, 1) == ["4", "0", "2"]
    heading = tab.locator("#trials th", has_text="validation accuracy")
    heading.locator("button").click()
    assert (cells(tab, 1), heading.get_attribute("aria-sort")) == (["4", "0", "2"], "ascending")
    heading.locator("button").press("Enter")
    assert (cells(tab, 1), heading.get_attribute("aria-sort")) == (["2", "0", "4"], "descending")
    assert tab.evaluate("document.activeElement.closest('th').textContent") == "validation accuracy, %"
    assert tab.locator("#trials [aria-sort]").count() == 1


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("parameters<5000", ["4", "0"]),
        ("parameters >= 1,000", ["0", "2"]),
        ("accuracy>90%", ["2"]),
        ("hints", ["2"]),
        ("start=none", ["0"]),
        ("start!=none family=convnet", ["2"]),
        ("teacher_layer=block2", ["2"]),
        ("nothing of the sort", []),
        ("", ["4", "0", "2"]),
    ],
)
def test_the_front_is_filtered_by_words_and_comparisons(tab, query, kept):
    tab.fill("#filter", query)
    assert cells(tab, 1) == kept
    assert tab.inner_text("#told") == f"{len(kept)} of 3 trials"


def test_a_filter_on_a_column_that_is_not_there_says_which_are(tab):
    tab.fill("#filter", "heads>2")
    assert "There is no column heads; there are: trial, state, parameters" in tab.inner_text("#told")
    tab.fill("#filter", "parameters<few")
    assert "must be a number" in tab.inner_text("#told")


def test_all_trials_are_shown_on_demand_the_lost_ones_too(tab):
    tab.click("[data-mode=all]")
    assert cells(tab, 1) == [str(number) for number in range(8)]
    tab.fill("#filter", "state=failed")
    assert cells(tab, 1) == ["5", "6"]
    tab.click("[data-mode=front]")
    assert cells(tab, 1) == []
    assert tab.get_attribute("[data-mode=front]", "aria-pressed") == "true"


def test_many_trials_are_turned_in_pages(opened):
    given = material([trial(number, 1_000 + number, 0.5 + number / 10_000) for number in range(250)])
    tab = opened(page_of(given, made_charts(given)))
    tab.click("[data-mode=all]")
    assert cells(tab, 1) == [str(number) for number in range(200)]
    tab.click("#pager button:has-text('Next')")
    assert cells(tab, 1) == [str(number) for number in range(200, 250)]
    assert "201 to 250 of 250" in tab.inner_text("#pager")
    tab.locator("#trials th", has_text="parameters").locator("button").click()
    tab.locator("#trials th", has_text="parameters").locator("button").click()
    assert cells(tab, 1)[:2] == ["249", "248"]


def odd():
    """Trials whose texts have all that CSV quotes, and numbers of every kind."""
    name = 'a "quoted", name\nof two lines'
    return [
        trial(0, 1_000, 0.1 + 0.2, described={"family": name, "lr": 1e-05}),
        trial(1, 10_000, 0.91, described={"several": [1, "x"], "nesterov": True}),
        trial(2, 500, 0.2, described={"lr": 3e22}),
        lost(3, "failed", "é: <b>, \r done"),
    ]


def test_the_downloaded_csv_is_the_frames_own(opened):
    given = material(odd(), facts())
    tab = opened(page_of(given, made_charts(given)))
    front = given.table[given.table["on_front"]].sort_values(["parameters", "accuracy"])
    tab.fill("#filter", "parameters<900")  # what is shown is filtered, what is saved is whole
    with saving(tab) as saved:
        tab.click("#csv")
    assert saved[0].decode() == front.to_csv()
    tab.click("[data-mode=all]")
    with saving(tab) as saved:
        tab.click("#csv")
    assert saved[0].decode() == given.table.to_csv()
    read = pd.read_csv(io.BytesIO(saved[0]), index_col="trial", lineterminator="\n")
    assert read["accuracy"].tolist() == pytest.approx(given.table["accuracy"].tolist(), rel=1e-15, nan_ok=True)
    assert read["family"].tolist() == given.table["family"].tolist()


def test_a_picked_row_is_picked_everywhere(tab):
    tab.click("#trials tbody tr[data-trial='2'] td:nth-child(2)")
    assert tab.evaluate(PICKED) == {
        "pareto": [[[10_000], [0.98]]],
        "curves": [[[1, 2, 3, None], [0.2, 0.4, 0.6, None]]],
    }
    assert tab.url.endswith("#trial-2")
    assert tab.locator("#trials tr[aria-current]").get_attribute("data-trial") == "2"
    said = tab.inner_text("#detail")
    for told in ("Trial 2", "10,000", "98.00 %", "teacher_layer", "block2", "on the front", "its run in MLflow"):
        assert told in said, told
    link = tab.locator("#detail a")
    assert (link.get_attribute("href"), link.get_attribute("rel")) == (
        "http://127.0.0.1:5000/#/run",
        "noopener noreferrer",
    )
    tab.keyboard.press("Escape")
    assert tab.is_hidden("#detail")
    assert tab.evaluate(PICKED) == {"pareto": [[[], []]], "curves": [[[], []]]}
    assert "#" not in tab.url


def test_an_address_that_runs_code_is_no_link(tab):
    tab.evaluate("location.hash = '#trial-0'")
    tab.wait_for_selector("#detail h2:has-text('Trial 0')")
    assert "Trial 0" in tab.inner_text("#detail")
    assert tab.locator("#detail a").count() == 0


def test_a_mark_tells_its_trial_and_picks_it(tab):
    x, y = tab.evaluate("""() => {
      const chart = document.querySelector('[data-chart=pareto]');
      chart.scrollIntoView({ block: 'center' });
      const marks = chart.querySelector('.scatterlayer .trace').querySelectorAll('.point');
      const box = marks[2].getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2];
    }""")
    tab.mouse.move(x - 30, y)
    tab.mouse.move(x, y, steps=4)
    tab.wait_for_selector("#tip", state="visible")
    said = tab.inner_text("#tip")
    assert "trial 2, on the front" in said and "10,000 parameters, 10.00 % of the teacher's" in said
    assert "98.00 % validation accuracy" in said and "teacher_layer block2" in said
    tab.mouse.click(x, y)
    tab.wait_for_selector("#detail", state="visible")
    assert tab.inner_text("#detail h2") == "Trial 2"
    assert cells(tab, 1) == ["4", "0", "2"]


def test_the_address_names_the_picked_trial(tab):
    tab.evaluate("location.hash = '#trial-4'")
    tab.wait_for_selector("#detail h2:has-text('Trial 4')")
    assert tab.evaluate(PICKED)["pareto"] == [[[100], [0.6]]]
    tab.evaluate("location.hash = '#trial-5'")
    tab.wait_for_selector("#detail h2:has-text('Trial 5')")
    assert "the loss is not finite" in tab.inner_text("#detail")


def test_a_page_opens_with_the_trial_that_its_address_names(opened, made):
    tab = opened(made, "#trial-4")
    assert tab.inner_text("#detail h2") == "Trial 4"
    assert tab.evaluate(PICKED)["pareto"] == [[[100], [0.6]]]
    tab.evaluate("location.hash = '#trial-99'")
    tab.wait_for_selector("#detail", state="hidden")  # there is no such trial


def test_the_axis_is_switched_and_the_picked_mark_follows(tab):
    tab.evaluate("location.hash = '#trial-2'")
    tab.wait_for_selector("#detail h2:has-text('Trial 2')")
    assert tab.inner_text("[data-axis=pareto] label") == "x axis"
    tab.select_option("[data-axis=pareto] select", label="multiply-accumulates")
    found = tab.evaluate("""() => {
      const chart = document.querySelector('[data-chart=pareto]');
      return [chart.data.map((trace) => [...trace.x]), chart.layout.xaxis.type, chart.layout.xaxis.title.text];
    }""")
    assert found == [[[10_000, 20_000, 100_000, 1_000], [1_000], [100_000]], "linear", "multiply-accumulates"]
    tab.select_option("[data-axis=pareto] select", label="parameters")
    assert tab.evaluate(PICKED)["pareto"] == [[[10_000], [0.98]]]
    assert tab.evaluate("document.querySelector('[data-chart=pareto]').layout.xaxis.type") == "log"


def test_the_keyboard_is_enough(opened, made):
    """Tab reaches the skip link first, then the filter, the headings and the trials; the panel is entered and left."""
    tab = opened(made)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.keyboard.press("Enter")
    seen = []
    for _ in range(60):
        tab.keyboard.press("Tab")
        seen.append(tab.evaluate("document.activeElement.dataset.pick ?? document.activeElement.id"))
        if seen[-1] == "0":
            break
    assert {"filter", "csv"} < set(seen)
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.textContent") == "Trial 0"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")  # the next trial of the table
    assert tab.inner_text("#detail h2") == "Trial 2"
    tab.keyboard.press("Escape")
    assert tab.evaluate("document.activeElement.dataset.pick") == "0"


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


COLOURS = """() => {
  const probe = document.body.appendChild(document.createElement('i'));
  const found = {};
  for (const name of ['page', 'panel', 'raised', 'glow', 'ink', 'quiet', 'mark', 'warn']) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_every_ground(opened, made, scheme):
    """WCAG AA asks for 4.5 to 1."""
    found = opened(made, color_scheme=scheme).evaluate(COLOURS)
    for ground in ("page", "panel", "raised", "glow"):
        for ink in ("ink", "quiet", "mark", "warn"):
            assert contrast(found[ink], found[ground]) >= 4.5, (ink, ground)
    assert (luminance(found["page"]) < 0.1) == (scheme == "dark")


def test_the_button_turns_the_page_dark_and_its_charts_with_it(opened, made):
    tab = opened(made, color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    words = "document.querySelector('[data-chart=pareto]').layout.font.color"
    before = tab.evaluate(ground), tab.evaluate(words)
    tab.click("#theme")
    assert (tab.evaluate(ground), tab.evaluate(words)) == before
    tab.click("#theme")
    assert luminance(tab.evaluate(ground)) < 0.1 < luminance(tab.evaluate(words))
    tab.click("#theme")
    assert (tab.evaluate(ground), tab.evaluate(words)) == before


@pytest.mark.parametrize("make", [report_page, pareto_page])
def test_a_phone_needs_no_sideways_scrolling(opened, make):
    tab = opened(make(material(some(), facts())), viewport={"width": 360, "height": 740}, has_touch=True)
    draw_all(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.click("#trials .pick >> nth=0") if tab.query_selector("#trials") else None
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("make", [pareto_page, growth_page])
def test_a_framed_page_works_where_nothing_but_scripts_is_allowed(opened, tmp_path, make):
    (tmp_path / "chart.html").write_text(make(material(some(), facts())), encoding="utf-8")
    frame = '<title>f</title><iframe sandbox="allow-scripts" src="chart.html" width="900" height="1400"></iframe>'
    (tmp_path / "frame.html").write_text(frame)
    tab = opened(tmp_path / "frame.html", wait="")
    inner = tab.frame_locator("iframe")
    inner.locator("html[data-ready]").wait_for(state="attached")
    assert inner.locator("[data-drawn] .main-svg").count() >= 2
    assert inner.locator("html").get_attribute("data-errors") is None
    if make is pareto_page:
        inner.locator("#trials .pick >> nth=1").click()
        assert inner.locator("#detail h2").inner_text() == "Trial 0"
        assert inner.locator("#csv").count() == 0
        tab.keyboard.press("Escape")
    assert inner.locator("html").get_attribute("data-errors") is None
    assert tab.url.endswith("frame.html")


@pytest.mark.parametrize("make", [report_page, pareto_page])
def test_hostile_names_are_shown_as_text(opened, make):
    records, told = hostile()
    tab = opened(make(material(records, told)))
    draw_all(tab)
    if tab.query_selector("#trials"):
        tab.click("[data-mode=all]")
        tab.click("#trials tr[data-trial='0'] td:nth-child(2)")
        assert "<script>alert(1)</script>" in tab.inner_text("#detail")
        assert "<script>alert(1)</script>" in tab.inner_text("#trials")
    assert tab.locator("a[href*=evil]").count() == 0
    assert tab.evaluate("document.scripts.length") == make(material(some(), facts())).count("<script")


def test_a_script_from_elsewhere_does_not_run(chromium, tmp_path):
    """The page's policy names each script's hash."""
    probe = "document.title = 'ran'"
    page = report_page(material(some(), facts()))
    digest = base64.b64encode(hashlib.sha256(probe.encode()).digest()).decode()
    for policy, title in (
        (page, "small: kdsearch"),
        (page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1), "ran"),
    ):
        path = tmp_path / "page.html"
        path.write_text(f"{policy}<script>{probe}</script>", encoding="utf-8")
        tab = chromium.new_page()
        tab.goto(path.as_uri())
        assert tab.title() == title
        tab.close()


def test_without_scripts_the_front_can_be_read(opened, made):
    tab = opened(made, wait="", java_script_enabled=False)
    assert tab.locator("#trials tbody tr").count() == 3
    assert tab.locator("#theme").is_hidden() and tab.locator("#controls").is_hidden()
    assert "needs JavaScript" in tab.inner_text("#chart-pareto")


@pytest.mark.parametrize(
    "records",
    [
        [],
        [trial(0, 100, None)],
        [lost(0, "failed", "boom")],
        [trial(0, 100, 0.8, curve=curve([0.5, 0.8]))],
        [trial(number, 100 * (number + 1), 0.8) for number in range(5)],
        [trial(number, 100, 0.8) for number in range(3)],
    ],
    ids=["no trial", "one running", "one failed", "one trial", "equal accuracies", "equal trials"],
)
def test_small_studies_have_pages_too(opened, records):
    tab = opened(report_page(material(records, facts())))
    draw_all(tab)
    if front := [one for one in records if one.measured]:
        assert len(cells(tab, 1)) == (len(front) if len({one.known["parameters"] for one in front}) == 1 else 1)

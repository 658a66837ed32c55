"""How large a study can its report be made of? A made-up study of 10,000 trials in a real SQLite database.

Trials have curves of 27 epochs, three starts and the recipes of a search; none was trained. Measured are the time that
`write_report` takes from the database, and from records in memory; the page's size; and how long a browser takes from
opening the file to the first chart with marks on the screen, and to the end of all its own work.
"""

import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages._rdb import models
from optuna.trial import TrialState

from benchmarks.common import Figure, at_most, finish, options, say
from kdsearch import reporting
from kdsearch.opening import open_storage
from kdsearch.records import StudyFacts
from kdsearch.report import Material
from kdsearch.report.page import report_page
from kdsearch.results import Results
from kdsearch.store import Store

EPOCHS = 27
_DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "width": IntDistribution(2, 64, log=True),
    "depth": IntDistribution(2, 8),
    "start": CategoricalDistribution(("none", "hints", "pretrain")),
    "temperature": FloatDistribution(1, 20, log=True),
    "alpha": FloatDistribution(0, 1),
}


def main() -> int:
    arguments = options(__doc__).parse_args()
    count = 1_000 if arguments.quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(Path(folder), count)
    return finish(figures, as_json=arguments.json)


def measured(folder: Path, count: int) -> list[Figure]:
    workspace = folder / "runs"
    workspace.mkdir()
    say(f"writing {count:,} trials")
    url = f"sqlite:///{workspace / 'optuna.db'}"
    fill(url, count)
    reporting.write_report("made", to=folder / "warm", workspace=workspace)  # imports, and the file system's cache
    began = time.perf_counter()
    path = reporting.write_report("made", to=folder / "page", workspace=workspace)
    whole = time.perf_counter() - began
    say(f"wrote it in {whole:.1f} s")
    store = Store(open_storage(url, create=False), "made")
    began = time.perf_counter()
    results = Results.of(store)
    reading = time.perf_counter() - began
    began = time.perf_counter()
    material = Material(table=results.frame, facts=results.facts, records=results.records)
    tabling = time.perf_counter() - began
    began = time.perf_counter()
    report_page(material)
    building = time.perf_counter() - began
    return [
        at_most(f"report of {count:,} trials from the database, s", whole, 10),
        Figure(name="  of which reading the records, s", value=reading),
        Figure(name="  of which the frame, s", value=tabling),
        Figure(name="  of which charts and page, s", value=building),
        at_most("its size, MB", path.stat().st_size / 1e6, 15),
        *browsed(path),
    ]


def browsed(path: Path) -> list[Figure]:
    """Seconds in headless Chromium; NaN where there is none."""
    found: dict[str, float] = dict.fromkeys(("first", "ready"), float("nan"))
    program = shutil.which("chromium")
    if program is None:
        say("no chromium on PATH: not measured")
    else:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            found = first_chart(browser, path)
            browser.close()
    return [
        at_most("first chart with marks on the screen, s", found["first"], 3),
        Figure(name="table ready, s", value=found["ready"]),
    ]


_WATCH = """
(() => {
  const look = () => {
    const svg = document.querySelector('.main-svg .scatterlayer .point, .gl-canvas');
    if (svg && document.querySelector('[data-drawn]')) {
      requestAnimationFrame(() => requestAnimationFrame(() => { window.firstChart = performance.now(); }));
    } else setTimeout(look, 10);
  };
  look();
})();
"""


def first_chart(browser: Any, path: Path) -> dict[str, float]:
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(60_000)
    tab.add_init_script(_WATCH)
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready]", state="attached")
    ready = tab.evaluate("performance.now()")
    while not (first := tab.evaluate("window.firstChart ?? 0")):
        time.sleep(0.01)
    tab.close()
    return {"first": first / 1000, "ready": ready / 1000}


def fill(url: str, count: int) -> None:
    """Write the study through kdsearch's store, and its trials as rows: Optuna's storage would take ten minutes."""
    facts = StudyFacts(
        id="made",
        name="made",
        card="A made-up study.",
        file=None,
        smoke=False,
        objectives=["accuracy", "parameters"],
        seed=0,
        data={"name": "made", "fingerprint": "f", "classes": 10, "train": 50_000, "validation": 5_000, "test": 10_000},
        teacher={"key": "k", "parameters": 1_000_000, "members": 1, "accuracy": 0.95},
        reference={"accuracy": 0.1, "parameters": 1_000_000},
    )
    Store.create(open_storage(url, create=True), facts)
    rows: dict[type, list[dict[str, Any]]] = {}
    draw = random.Random(0)  # noqa: S311 - figures, no secrets
    for number in range(count):
        for model, row in trial_rows(draw, number):
            rows.setdefault(model, []).append(row)
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for model, lines in rows.items():
            connection.execute(sqlalchemy.insert(model), lines)
    engine.dispose()


def trial_rows(draw: random.Random, number: int) -> Iterator[tuple[type, dict[str, Any]]]:
    """One trial's rows in Optuna's tables; each fiftieth has failed."""
    params = {
        "width": round(2 ** draw.uniform(1, 6)),
        "depth": draw.randint(2, 8),
        "start": draw.choice(("none", "hints", "pretrain")),
        "temperature": 20 ** draw.random(),
        "alpha": draw.random(),
    }
    parameters = 9 * params["width"] ** 2 * params["depth"] + 100
    described = {"family": "ConvNet", **params, "loss": "kd", "epochs": EPOCHS, "optim": "adam", "lr": 0.01}
    if params["start"] == "hints":
        described |= {"teacher_layer": f"block{draw.randint(1, 4)}", "student_layer": f"block{draw.randint(1, 4)}"}
    attrs: dict[str, Any] = {
        "recipe": {},
        "described": described,
        "fingerprint": f"{number:016x}",
        "seeds": {"start": draw.getrandbits(62), "distil": draw.getrandbits(62)},
        "known": {"parameters": parameters, "macs": 60 * parameters, "size_kb": parameters / 250},
    }
    began = datetime(2026, 1, 1) + timedelta(seconds=10 * number)
    failed = number % 50 == 0
    if failed:
        attrs["reason"] = "the loss is not finite"
    else:
        final = 0.95 - 0.6 * draw.uniform(0.5, 1.5) / (1 + parameters / 400)
        lines = curve(draw, params["start"], final, int(began.timestamp() * 1000))
        spent = {"start": 1.0, "distil": 7.0, "evaluation": 0.5, "signals": 0.1, "waiting": 0.1, "checkpointing": 0.1}
        measured = {"accuracy": final, "parameters": parameters}
        attrs["result"] = json.dumps({"curve": lines, "spent": spent, "measured": measured})
        for objective, value in enumerate((final, parameters)):
            row = {"objective": objective, "value": value, "value_type": models.TrialValueModel.TrialValueType.FINITE}
            yield models.TrialValueModel, {"trial_id": number + 1, **row}
    state = TrialState.FAIL if failed else TrialState.COMPLETE
    times = {"datetime_start": began, "datetime_complete": began + timedelta(seconds=9)}
    yield models.TrialModel, {"trial_id": number + 1, "number": number, "study_id": 1, "state": state, **times}
    for name, value in params.items():
        distribution = _DISTRIBUTIONS[name]
        row = {"param_name": name, "param_value": distribution.to_internal_repr(value)}
        row["distribution_json"] = distribution_to_json(distribution)
        yield models.TrialParamModel, {"trial_id": number + 1, **row}
    for key, value in attrs.items():
        yield models.TrialUserAttributeModel, {"trial_id": number + 1, "key": key, "value_json": json.dumps(value)}


def curve(draw: random.Random, start: str, final: float, began_ms: int) -> list[dict[str, Any]]:
    first = 0 if start == "none" else 5
    lines = []
    for epoch in range(EPOCHS):
        stage = start if epoch < first else "distil"
        line: dict[str, Any] = {"stage": stage, "epoch": epoch + 1 - (first if stage == "distil" else 0)}
        line |= {"loss": round(2.3 / (1 + epoch) + draw.random() / 100, 7), "lr": 0.01}
        if stage != "hints":
            line["validation_accuracy"] = round(final * (1 - 0.6 ** (epoch + 1)), 7)
        line |= {"seconds": 0.3, "evaluation_seconds": 0.02, "at_ms": began_ms + 330 * epoch}
        lines.append(line)
    return lines


if __name__ == "__main__":
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    sys.exit(main())

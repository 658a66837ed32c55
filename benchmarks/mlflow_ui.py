"""Does MLflow's UI stay usable for a study of 1,000 trials? Made-up trials, the real mirror, server and Chromium.

Records of trials that were never trained, each with a curve of 27 epochs, go through `kdsearch.tracking.Mirror` into a
new SQLite store; `kdsearch ui` serves it; Chromium opens its pages without a window. Every page is opened in a browser
of its own with nothing cached. Needs Chromium and playwright.

On 4 cores that were busy with other work the four pages took 7.5, 6.8, 9.9 and 9.1 s with 1,000 trials and 6.8, 6.3,
10.3 and 9.7 s with 12: it is MLflow's own start that takes the time. The seconds of each epoch as metrics of their own
(six names more) made no difference beyond the noise: 7.7, 8.1, 15.7 and 10.9 s, and 7.3, 7.4, 9.3 and 7.4 s.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from playwright.sync_api import Page, sync_playwright

from benchmarks import digits_space
from benchmarks.common import Figure, at_most, finish, options, say
from kdsearch import metrics
from kdsearch.events import SearchBegan, SearchEnded, TrialBegan, TrialEnded
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.reporting import mirrored_pages as pages
from kdsearch.tracking import Mirror, run_links
from kdsearch.tracking.experiment import view_page
from kdsearch.workspace import Workspace

TEACHER = 230_266
FACTS = StudyFacts(
    id="0" * 32,
    name="made-up",
    card="Trials that were never trained.",
    file=None,
    smoke=False,
    objectives=["accuracy", "parameters"],
    seed=0,
    data={"name": "digits", "fingerprint": "0" * 64, "classes": 10, "train": 1077, "validation": 360, "test": 360},
    teacher={"key": "0" * 16, "parameters": TEACHER, "members": 1, "accuracy": 0.99},
    reference={"accuracy": 0.1, "parameters": TEACHER},
)


def main(argv: list[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--keep", metavar="DIR", help="the workspace to make, or to open again")
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        place = Workspace(Path(chosen.keep or folder).resolve())
        figures = [] if (place.root / "mlflow.db").exists() else [written(place, chosen.trials)]
        began = time.perf_counter()
        links = run_links(place, FACTS, "http://127.0.0.1")
        figures.append(Figure(name=f"addresses of {len(links)} runs, s", value=time.perf_counter() - began))
        with served(place) as address:
            experiment = links[0].split("/experiments/")[1].split("/")[0]
            figures += looked_at(address, experiment, parent_of(place))
    return finish(figures, as_json=chosen.json)


def written(place: Workspace, trials: int) -> Figure:
    """Seconds for each trial of writing them all, with what the writer draws meanwhile."""
    place.make()
    made = list(records(trials))
    began = time.perf_counter()
    with Mirror(place, pages, complain) as mirror:
        mirror(SearchBegan(FACTS, [], trials, 1))
        for record in made:
            mirror(TrialBegan(record))
            mirror(TrialEnded(record))
        mirror(SearchEnded(FACTS, made))
    return Figure(name="writing a trial, ms", value=1000 * (time.perf_counter() - began) / trials)


def complain(text: str) -> None:
    raise RuntimeError(text)


def records(trials: int) -> Iterator[TrialRecord]:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = random.Random(0)  # noqa: S311 - nobody is to be kept from guessing it
    now = time.time_ns() // 1_000_000
    for number in range(trials):
        trial = study.ask()
        recipe = digits_space.space(trial)
        parameters = metrics.parameters(recipe.student.build((1, 8, 8), 10))
        best = 0.99 - 2.0 / parameters**0.5 - 0.05 * drawn.random()
        began = now + 4000 * number
        curve = []
        for epoch in range(recipe.epochs):
            starting = epoch < recipe.start_epochs
            stage = recipe.start.name if starting and recipe.start is not None else "distil"
            terms = {"hint": 1.0} if stage == "hints" else {"hard": 1 / (epoch + 1)}
            if stage != "hints":
                terms["validation_accuracy"] = best * (1 - 0.8 ** (epoch + 1))
            line = {"stage": stage, "epoch": epoch + 1 - (0 if starting else recipe.start_epochs), "lr": 0.01}
            line |= {"loss": 1 / (epoch + 1), "seconds": 0.1, "evaluation_seconds": 0.01, **terms}
            curve.append(line | {"at_ms": began + 100 * epoch})
        curve[-1]["validation_accuracy"] = best
        yield TrialRecord(
            number=number,
            state="complete",
            params=dict(trial.params),
            recipe=recipe.to_json(),
            described=recipe.describe(),
            fingerprint=recipe.fingerprint(),
            seeds={"start": number, "distil": number},
            known={"parameters": parameters, "macs": 64 * parameters, "size_kb": parameters / 250},
            measured={"accuracy": best},
            curve=curve,
            spent=dict.fromkeys(("start", "distil", "evaluation", "signals", "waiting", "checkpointing"), 0.5),
            began_ms=began,
            ended_ms=began + 3000,
        )


def parent_of(place: Workspace) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=place.tracking_uri)
    experiment = client.get_experiment_by_name(FACTS.name)
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`kdsearch.role` = 'search'")
    return str(parent.info.run_id)


@contextmanager
def served(place: Workspace) -> Iterator[str]:
    """The address of `kdsearch ui` on the workspace, once it answers."""
    command = [sys.executable, "-m", "kdsearch", "ui", "--workspace", str(place.root)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)  # noqa: S603 - ourselves
    assert server.stdout is not None
    try:
        line = next(line for line in server.stdout if "http://" in line)
        yield "http://" + line.split("http://")[1].split()[0]
    finally:
        server.terminate()
        server.wait()


def looked_at(address: str, experiment: str, parent: str) -> list[Figure]:
    runs = f"{address}/#/experiments/{experiment}/runs"

    def pareto(page: Page) -> None:
        page.frame_locator("iframe").locator(".scatterlayer .point").first.wait_for()

    def row(page: Page) -> None:
        page.locator(".ag-center-cols-container .ag-row, .ag-row").first.wait_for()
        page.get_by_text("trial 0").first.wait_for()

    def chart(page: Page) -> None:
        page.locator(".js-plotly-plot .main-svg").first.wait_for()

    seen: list[tuple[str, str, Callable[[Page], None]]] = [
        ("the study's view of its runs", view_page(address, experiment), row),
        ("MLflow's list of runs, by accuracy", f"{runs}?orderByKey=metrics.%60accuracy%60&orderByAsc=false", row),
        ("the charts of the runs", f"{view_page(address, experiment)}&compareRunsMode=CHART", chart),
        ("the Pareto chart among the artifacts", f"{runs}/{parent}/artifacts/pareto.html", pareto),
    ]
    return [at_most(f"{name}, s", seconds(url, wait), 10) for name, url, wait in seen]


def seconds(url: str, wait: Callable[[Page], None]) -> float:
    """From the request to what `wait` waits for."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        began = time.perf_counter()
        page.goto(url)
        wait(page)
        taken = time.perf_counter() - began
        browser.close()
    say(f"{taken:.1f} s: {url.split('#')[1][:80]}")
    return taken


if __name__ == "__main__":
    sys.exit(main())

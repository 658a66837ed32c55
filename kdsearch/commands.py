"""What each command does: the arguments to calls of `api`, the results to the terminal. Gives the exit status.

Heavy imports wait until a command needs them, so that --help is quick.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

    from kdsearch.export import Exported
    from kdsearch.progress import Screen
    from kdsearch.repetition import Repetition
    from kdsearch.results import Results

_Made = TypeVar("_Made")

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def _console() -> "Console":
    from rich.console import Console

    # a table cut to 80 columns in a log file would lose what it is for
    return Console(width=None if sys.stdout.isatty() else 140)


def _place(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"workspace": arguments.workspace, "storage": arguments.storage}


def run(arguments: argparse.Namespace) -> int:
    from kdsearch import api
    from kdsearch.progress import say
    from kdsearch.tables import show_account, show_findings, show_front

    def work(screen: "Screen") -> "Results":
        return api.run(
            arguments.study,
            **_place(arguments),
            trials=arguments.trials,
            minutes=arguments.minutes,
            epochs=arguments.epochs,
            patience=arguments.patience,
            stopping=arguments.stopping,
            workers=arguments.workers,
            engine=arguments.engine,
            address=arguments.address,
            gpus_per_trial=arguments.gpus_per_trial,
            stall_minutes=arguments.stall_minutes,
            worker_memory_gb=arguments.worker_memory,
            smoke=arguments.smoke,
            confirm=not arguments.no_confirm,
            listeners=[screen],
            progress=False,
            complain=screen.say,
        )

    def conclude(console: "Console", results: "Results") -> None:
        name = results.facts.name
        show_front(console, results)
        show_findings(console, results)
        show_account(console, api.status(name, **_place(arguments))["account"])
        if (page := _report(arguments, name, lambda text: say(console, text))) is not None:
            say(console, f"report:  {page}")
        here = "".join(f" --{key} {_shown(value)}" for key, value in _place(arguments).items() if value is not None)
        say(console, f"browse:  {_program()} ui{here if arguments.storage is None else ''}")
        if not results.front.empty:
            say(console, f"export:  {_program()} export {name} --pick knee --to exported/{name}{here}")

    results = _followed(arguments, work, conclude)
    if results is None or results.interrupted:
        return INTERRUPTED
    return FAILED if results.ended is not None and results.ended.failed else DONE


def _followed(
    arguments: argparse.Namespace,
    work: "Callable[[Screen], Results]",
    conclude: "Callable[[Console, Results], None]",
) -> "Results | None":
    """What `work` gives, its progress shown as the arguments ask, and the results by `conclude` or as JSON; None where
    it was stopped while the teacher was trained.
    """
    from kdsearch import api
    from kdsearch.progress import JsonLog, listener, own_stdout, say
    from kdsearch.training import StopRequestedError

    stopped = "stopped while the teacher was trained; the same command goes on from there"
    if arguments.json_log:
        with own_stdout() as stream:
            log = JsonLog(stream)
            try:
                results = work(log)
            except StopRequestedError:
                log.say(stopped)
                return None
            name = results.facts.name
            page = _report(arguments, name, log.say)
            found = api.status(name, **_place(arguments))
            log.write("result", {**found, "report": page, "interrupted": results.interrupted})
            return results
    console = _console()
    with listener(console, "quiet" if arguments.quiet else "plain" if arguments.plain else "live") as screen:
        try:
            results = work(screen)
        except StopRequestedError:
            screen.say(stopped)
            return None
    conclude(console, results)
    if results.interrupted:
        say(console, "interrupted; everything is kept, and the same command goes on from there")
    return results


def _report(arguments: argparse.Namespace, name: str, complain: "Callable[[str], None]") -> str | None:
    """Write the study's report; where its usual folder will not do, say so: what was trained is there all the same."""
    from kdsearch import api
    from kdsearch.mistakes import Mistake

    try:
        return str(api.write_report(name, **_place(arguments), complain=complain))
    except Mistake as mistake:
        complain(f"no report was written: {mistake} (kdsearch report {name} --to DIR)")
        return None


def _shown(value: str) -> str:
    """A folder or a database's URL, without its password."""
    import sqlalchemy

    return sqlalchemy.make_url(value).render_as_string() if "://" in value else value


def new(arguments: argparse.Namespace) -> int:
    from kdsearch.files import writable
    from kdsearch.mistakes import Mistake
    from kdsearch.template import study_file

    path = Path(arguments.study)
    if path.exists():
        raise Mistake(f"{path} exists already; name another file")
    if path.suffix != ".py":
        raise Mistake(f"a study file ends in .py, got {path}")
    text = study_file(path.stem)
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"wrote {path}; try it with: {_program()} run {path} --smoke")
    return DONE


def download(arguments: argparse.Namespace) -> int:
    from kdsearch.data import download

    print(download(arguments.name))
    return DONE


def list_studies(arguments: argparse.Namespace) -> int:
    from kdsearch import api
    from kdsearch.tables import show_studies

    found = api.studies(**_place(arguments))
    if not found:
        print(f"no studies here yet; begin with: {_program()} new STUDY.py")
        return DONE
    show_studies(_console(), found)
    return DONE


def status(arguments: argparse.Namespace) -> int:
    import json

    from kdsearch import api
    from kdsearch.progress import say
    from kdsearch.tables import show_account, show_findings, show_front

    found = api.status(arguments.name, **_place(arguments))
    if arguments.json:
        print(json.dumps(found, indent=2))
        return DONE
    console = _console()
    counts = ", ".join(f"{count} {state}" for state, count in found["trials"].items() if count) or "none yet"
    say(console, f"study {found['study']}: trials {counts}; the teacher's signals take {found['signals_mb']:,.1f} MB")
    results = api.open_study(arguments.name, **_place(arguments))
    show_front(console, results)
    show_findings(console, results)
    show_account(console, found["account"])
    return DONE


def confirm(arguments: argparse.Namespace) -> int:
    from kdsearch import api
    from kdsearch.progress import say
    from kdsearch.tables import show_findings

    def work(screen: "Screen") -> "Results":
        return api.confirm_study(
            arguments.name,
            **_place(arguments),
            seeds=arguments.seeds,
            trials=arguments.trial,
            controls=arguments.control,
            compare=arguments.compare,
            file=arguments.study,
            workers=arguments.workers,
            engine=arguments.engine,
            address=arguments.address,
            gpus_per_trial=arguments.gpus_per_trial,
            stall_minutes=arguments.stall_minutes,
            worker_memory_gb=arguments.worker_memory,
            listeners=[screen],
            progress=False,
            complain=screen.say,
        )

    def conclude(console: "Console", results: "Results") -> None:
        show_findings(console, results)
        if (page := _report(arguments, results.facts.name, lambda text: say(console, text))) is not None:
            say(console, f"report:  {page}")

    results = _followed(arguments, work, conclude)
    if results is None or results.interrupted:
        return INTERRUPTED
    return FAILED if any(arm.failed and not arm.test for finding in results.findings for arm in finding.arms) else DONE


def report(arguments: argparse.Namespace) -> int:
    from kdsearch import api

    print(api.write_report(*arguments.names, to=arguments.to, ui=arguments.ui, **_place(arguments)))
    return DONE


def export(arguments: argparse.Namespace) -> int:
    from kdsearch.choice import Limits
    from kdsearch.comparing import compare_students
    from kdsearch.figures import show_comparison
    from kdsearch.progress import say
    from kdsearch.taking import export_front, export_student

    limits = ("max_parameters", "max_drop", "max_macs", "max_size_kb", "max_latency_ms")
    asked: dict[str, Any] = {
        "limits": Limits(**{name: getattr(arguments, name) for name in limits}),
        **_files(arguments),
        "register": not arguments.no_register,
        "force_best": arguments.force_best,
        "recreate": arguments.recreate,
        "retrain": arguments.retrain,
        "study": arguments.study,
        **_place(arguments),
    }
    live = arguments.recreate or arguments.retrain
    console = _console()
    if arguments.all_front:
        front = _trained(
            lambda screen: export_front(arguments.name, arguments.to, **asked, listeners=[screen], say=screen.say),
            live=live,
        )
        if front is None:
            return INTERRUPTED
        if front.exported:
            show_comparison(console, compare_students([Path(arguments.to) / one.folder.name for one in front.exported]))
        return FAILED if front.failed else DONE
    pick = {"trial": arguments.trial, "pick": arguments.pick or "knee"}
    exported = _trained(
        lambda screen: export_student(
            arguments.name, arguments.to, **pick, **asked, listeners=[screen], say=screen.say
        ),
        live=live,
    )
    if exported is None:
        return INTERRUPTED
    say(console, f"exported trial {exported.card['trial']} of {exported.card['study']} to {exported.folder}")
    _show_export(console, exported)
    return DONE


def train(arguments: argparse.Namespace) -> int:
    from kdsearch.progress import say
    from kdsearch.repetition import train_recipe
    from kdsearch.tables import show_repetition

    def work(screen: "Screen") -> "Repetition":
        return train_recipe(
            arguments.recipe,
            to=arguments.to,
            **_files(arguments),
            study=arguments.study,
            workspace=arguments.workspace,
            listeners=[screen],
        )

    found = _trained(work, live=True)
    if found is None:
        return INTERRUPTED
    console = _console()
    show_repetition(console, found)
    if found.exported is not None:
        say(console, f"exported to {found.exported.folder}")
        _show_export(console, found.exported)
    return DONE if found.same else FAILED


def _files(arguments: argparse.Namespace) -> dict[str, Any]:
    """What an export is asked to write."""
    from kdsearch.export import FORMATS

    formats = [name for name in FORMATS if getattr(arguments, name)]
    return {"formats": formats, "softmax": arguments.softmax, "normalize": arguments.normalize}


def _trained(work: "Callable[[Screen], _Made]", *, live: bool) -> "_Made | None":
    """What `work` gives, with the training that it may need shown; None where that was interrupted."""
    from kdsearch.progress import listener
    from kdsearch.training import StopRequestedError

    with listener(_console(), "live" if live else "plain") as screen:
        try:
            return work(screen)
        except StopRequestedError:
            screen.say("interrupted; everything is kept, and the same command goes on from there")
            return None


def _show_export(console: "Console", exported: "Exported") -> None:
    from kdsearch.figures import proof_lines, show_figures
    from kdsearch.progress import say

    show_figures(console, exported.card)
    if exported.card["trained_on"] != "train":
        say(console, "trained again on training plus validation data: its accuracy is from the test split only")
    for line in proof_lines(exported.card):
        say(console, line)
    if exported.registered is not None:
        say(console, exported.registered)
    if "safetensors" in exported.card["proof"]:
        say(console, f'load it:  kdsearch.load("{exported.folder}")')


def predict(arguments: argparse.Namespace) -> int:
    import dataclasses
    import json

    from kdsearch.markup import printable
    from kdsearch.predicting import predict

    found = predict(arguments.folder, arguments.files, top=arguments.top)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
    else:
        print("\n".join(printable(str(one)) for one in found))
    return DONE


def compare(arguments: argparse.Namespace) -> int:
    import json

    from kdsearch.comparing import compare_students, differences
    from kdsearch.figures import show_comparison

    table = compare_students(arguments.folders)
    if arguments.json:
        rows = json.loads(table.to_json(orient="records"))  # pandas writes NaN as null
        print(json.dumps({"rows": rows, "notes": differences(table)}, indent=2))
    else:
        show_comparison(_console(), table)
    return DONE


def ui(arguments: argparse.Namespace) -> int:
    from kdsearch.ui import serve

    return serve(arguments.workspace, arguments.port)


def dashboard(arguments: argparse.Namespace) -> int:
    from kdsearch.dashboard import serve

    return serve(**_place(arguments), port=arguments.port)


def _program() -> str:
    """The command as the user typed it, so that what we print can be pasted."""
    typed = Path(sys.argv[0])
    return str(typed) if typed.name == "kdsearch" else "kdsearch"

"""What each command does: the arguments to calls of `api`, the results to the terminal. Gives the exit status.

Heavy imports wait until a command needs them, so that --help is quick.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch.console import DONE, FAILED, INTERRUPTED, open_console, program, shown, where

if TYPE_CHECKING:
    from rich.console import Console

    from kdsearch.progress import Screen
    from kdsearch.results import Results


def run(arguments: argparse.Namespace) -> int:
    from kdsearch import api
    from kdsearch.progress import say
    from kdsearch.tables import show_account, show_findings, show_front

    def work(screen: "Screen") -> "Results":
        return api.run(
            arguments.study,
            **where(arguments),
            trials=arguments.trials,
            minutes=arguments.minutes,
            epochs=arguments.epochs,
            patience=arguments.patience,
            stopping=arguments.stopping,
            **_workers(arguments),
            smoke=arguments.smoke,
            confirm=not arguments.no_confirm,
            **_told_to(screen),
        )

    def conclude(console: "Console", results: "Results") -> None:
        name = results.facts.name
        show_front(console, results)
        show_findings(console, results)
        show_account(console, api.status(name, **where(arguments))["account"])
        if (page := _report(arguments, name, lambda text: say(console, text))) is not None:
            say(console, f"report:  {page}")
        here = "".join(f" --{key} {shown(value)}" for key, value in where(arguments).items() if value is not None)
        say(console, f"browse:  {program()} ui{here if arguments.storage is None else ''}")
        if not results.front.empty:
            say(console, f"export:  {program()} export {name} --pick knee --to exported/{name}{here}")

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
            found = api.status(name, **where(arguments))
            log.write("result", {**found, "report": page, "interrupted": results.interrupted})
            return results
    console = open_console()
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


def _workers(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("workers", "engine", "address", "gpus_per_trial", "stall_minutes")
    return {name: getattr(arguments, name) for name in names} | {"worker_memory_gb": arguments.worker_memory}


def _told_to(screen: "Screen") -> dict[str, Any]:
    return {"listeners": [screen], "progress": False, "complain": screen.say}


def _report(arguments: argparse.Namespace, name: str, complain: "Callable[[str], None]") -> str | None:
    """Write the study's report; where its usual folder will not do, say so: what was trained is there all the same."""
    from kdsearch import reporting
    from kdsearch.mistakes import Mistake

    try:
        return str(reporting.write_report(name, **where(arguments), complain=complain))
    except Mistake as mistake:
        complain(f"no report was written: {mistake} (kdsearch report {name} --to DIR)")
        return None


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
    print(f"wrote {path}; try it with: {program()} run {path} --smoke")
    return DONE


def download(arguments: argparse.Namespace) -> int:
    from kdsearch.data import download

    print(download(arguments.name))
    return DONE


def list_studies(arguments: argparse.Namespace) -> int:
    from kdsearch import api
    from kdsearch.tables import show_studies

    found = api.studies(**where(arguments))
    if not found:
        print(f"no studies here yet; begin with: {program()} new STUDY.py")
        return DONE
    show_studies(open_console(), found)
    return DONE


def status(arguments: argparse.Namespace) -> int:
    import json

    from kdsearch import api
    from kdsearch.progress import say
    from kdsearch.tables import show_account, show_findings, show_front

    found = api.status(arguments.name, **where(arguments))
    if arguments.json:
        print(json.dumps(found, indent=2))
        return DONE
    console = open_console()
    counts = ", ".join(f"{count} {state}" for state, count in found["trials"].items() if count) or "none yet"
    say(console, f"study {found['study']}: trials {counts}; the teacher's signals take {found['signals_mb']:,.1f} MB")
    results = api.open_study(arguments.name, **where(arguments))
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
            **where(arguments),
            seeds=arguments.seeds,
            trials=arguments.trial,
            controls=arguments.control,
            compare=arguments.compare,
            file=arguments.study,
            **_workers(arguments),
            **_told_to(screen),
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
    from kdsearch import reporting

    print(reporting.write_report(*arguments.names, to=arguments.to, ui=arguments.ui, **where(arguments)))
    return DONE


def ui(arguments: argparse.Namespace) -> int:
    from kdsearch.ui import serve

    return serve(arguments.workspace, arguments.port)


def dashboard(arguments: argparse.Namespace) -> int:
    from kdsearch.dashboard import serve

    return serve(**where(arguments), port=arguments.port)

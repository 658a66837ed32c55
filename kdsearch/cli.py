"""The command line: parses, wires, prints. Heavy imports wait until a command needs them, so that --help is quick."""

import argparse
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdsearch import __version__

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def main(argv: list[str] | None = None) -> int:
    """Run one command; gives the exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted (everything is kept)."""
    arguments = _parser().parse_args(argv)
    if arguments.data is not None:
        os.environ["KDSEARCH_DATA"] = str(Path(arguments.data).resolve())  # the study's data() and all workers see it
    from kdsearch.mistakes import Mistake, UserCodeError

    try:
        return int(arguments.command(arguments))
    except UserCodeError as error:
        return _complain(arguments, str(error), error.trace, WRONG_USE)
    except Mistake as mistake:
        print(f"kdsearch: {mistake}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print("kdsearch: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
    except Exception as error:
        import traceback

        said = f"{type(error).__name__}: {error}; this is a fault of kdsearch"
        return _complain(arguments, said, traceback.format_exc(), FAILED)


def _complain(arguments: argparse.Namespace, message: str, trace: str, exit_status: int) -> int:
    """One message; the traceback goes to a log file that it names, and to the screen with --debug."""
    import tempfile

    from kdsearch.workspace import Workspace

    name = f"error-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    log = Workspace.chosen(arguments.workspace).root / "logs" / name
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(trace, encoding="utf-8")
    except OSError:
        log = Path(tempfile.gettempdir()) / name
        log.write_text(trace, encoding="utf-8")
    if arguments.debug:
        print(trace, file=sys.stderr)
    print(f"kdsearch: {message}; the traceback is in {log}", file=sys.stderr)
    return exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdsearch",
        description="Find the small network worth shipping: search student architectures with their distillation.",
    )
    parser.add_argument("--version", action="version", version=f"kdsearch {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--workspace", metavar="DIR", help="where studies live (KDSEARCH_WORKSPACE, else runs)")
    common.add_argument("--data", metavar="DIR", help="where your data lie (KDSEARCH_DATA)")
    common.add_argument("--debug", action="store_true", help="show tracebacks of errors in your own code")
    stored = argparse.ArgumentParser(add_help=False)
    stored.add_argument("--storage", metavar="URL", help="Optuna's database (default: optuna.db in the workspace)")

    def command(name: str, action: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        parents = [common] if action in (_new, _ui, _download) else [common, stored]
        made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", parents=parents)
        made.set_defaults(command=action)
        return made

    run = command("run", _run, "launch a study, or continue the one of its name")
    run.add_argument("study", metavar="STUDY.py", help="a file with study() -> kdsearch.Study; it is run as code")
    run.add_argument("--trials", type=_whole, metavar="N", help="how many trials the study shall have in all")
    run.add_argument(
        "--minutes", type=_above_zero, metavar="M", help="end after so many minutes, the teacher's training not counted"
    )
    run.add_argument("--epochs", type=_whole, metavar="N", help="end once so many epochs are trained in all trials")
    run.add_argument(
        "--patience", type=_whole, metavar="N", help="end after N complete trials without a gain in hypervolume"
    )
    run.add_argument(
        "--stopping", metavar="RULE", help="early stopping: moasha, bound, or none (default: the study's, else none)"
    )
    run.add_argument("--workers", type=_whole, metavar="N", help="processes (default: one per core)")
    run.add_argument("--engine", choices=("local", "inline"), default="local", help="where trials run")
    run.add_argument(
        "--no-confirm", action="store_true", help="end without training at most three front members on fresh seeds"
    )
    run.add_argument("--smoke", action="store_true", help="shrink the study to seconds; it runs as NAME-smoke")

    new = command("new", _new, "write a commented study file to start from")
    new.add_argument("study", metavar="STUDY.py")
    download = command("download", _download, "fetch a well-known data set to the data folder")
    download.add_argument("name", metavar="NAME", help="mnist, fashion_mnist, cifar10 or cifar100")
    command("list", _list, "list the studies in this workspace")
    status = command("status", _status, "show a study's counts, teacher, hypervolume and front")
    status.add_argument("name", metavar="NAME")
    status.add_argument("--json", action="store_true", help="print one JSON object")
    confirm = command("confirm", _confirm, "train front members and controls on fresh seeds, and read the test split")
    confirm.add_argument("name", metavar="NAME", help="a stored study, or a study file whose own recipes are compared")
    confirm.add_argument("--seeds", type=_whole, default=5, metavar="K", help="fresh seeds for each recipe (default 5)")
    confirm.add_argument(
        "--trial", type=_not_negative, action="append", metavar="N", help="this trial; may be given several times"
    )
    confirm.add_argument(
        "--control",
        choices=("permuted", "starts"),
        action="append",
        default=[],
        help="beside the student alone: a teacher that speaks of other examples; the study's other starts",
    )
    confirm.add_argument(
        "--compare", metavar="WHAT", help="start, layers, temperature, alpha, or a comparison that the study names"
    )
    confirm.add_argument("--workers", type=_whole, metavar="N", help="processes (default: one per core)")
    confirm.add_argument("--engine", choices=("local", "inline"), default="local", help="where runs are trained")
    confirm.add_argument("--study", metavar="STUDY.py", help="where the study file is now, if it has moved")
    report = command("report", _report, "write reports/NAME/index.html")
    report.add_argument("name", metavar="NAME")
    report.add_argument("--to", metavar="DIR", help="another folder than reports/NAME")

    export = command("export", _export, "write the best student's files and prove them in a fresh process")
    export.add_argument("name", metavar="NAME")
    export.add_argument("--to", metavar="DIR", required=True, help="the folder to write")
    chosen = export.add_mutually_exclusive_group()
    chosen.add_argument("--trial", type=_not_negative, metavar="N", help="this trial")
    chosen.add_argument("--pick", choices=("knee", "accurate", "smallest"), help="default: knee")
    export.add_argument("--max-parameters", type=_whole, metavar="N", help="at most so many weights")
    export.add_argument("--max-drop", type=float, metavar="POINTS", help="at most so many points below the teacher")
    export.add_argument("--study", metavar="STUDY.py", help="where the study file is now, if it has moved")

    ui = command("ui", _ui, "browse the workspace in MLflow's UI on 127.0.0.1")
    ui.add_argument("--port", type=_port, metavar="N", help="default: 5000, or the next that is free")
    return parser


def _number(text: str, kind: type, fits: Callable[[float], bool], rule: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not fits(value):
        raise argparse.ArgumentTypeError(f"must be {rule}, got {text!r}")
    return value


def _whole(text: str) -> int:
    return int(_number(text, int, lambda value: value >= 1, "a whole number of at least 1"))


def _not_negative(text: str) -> int:
    return int(_number(text, int, lambda value: value >= 0, "a whole number of at least 0"))


def _above_zero(text: str) -> float:
    return float(_number(text, float, lambda value: 0 < value < float("inf"), "a number above 0"))


def _port(text: str) -> int:
    return int(_number(text, int, lambda value: 1 <= value <= 65535, "a port from 1 to 65535"))


def _console() -> "Console":
    from rich.console import Console

    # a table cut to 80 columns in a log file would lose what it is for
    return Console(width=None if sys.stdout.isatty() else 140)


def _place(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"workspace": arguments.workspace, "storage": arguments.storage}


def _run(arguments: argparse.Namespace) -> int:
    from kdsearch import api
    from kdsearch.progress import Terminal
    from kdsearch.tables import say, show_account, show_findings, show_front
    from kdsearch.training import StopRequestedError

    console = _console()
    with Terminal(console) as terminal:
        try:
            results = api.run(
                arguments.study,
                **_place(arguments),
                trials=arguments.trials,
                minutes=arguments.minutes,
                epochs=arguments.epochs,
                patience=arguments.patience,
                stopping=arguments.stopping,
                workers=arguments.workers,
                engine=arguments.engine,
                smoke=arguments.smoke,
                confirm=not arguments.no_confirm,
                listeners=[terminal],
                complain=terminal.say,
            )
        except StopRequestedError:
            terminal.say("stopped while the teacher was trained; the same command goes on from there")
            return INTERRUPTED
    name = results.facts.name
    show_front(console, results)
    show_findings(console, results)
    show_account(console, api.status(name, **_place(arguments))["account"])
    page = api.write_report(name, **_place(arguments))
    here = "".join(f" --{key} {value}" for key, value in _place(arguments).items() if value is not None)
    say(console, f"report:  {page}")
    say(console, f"browse:  {_program()} ui{here if arguments.storage is None else ''}")
    if not results.front.empty:
        say(console, f"export:  {_program()} export {name} --pick knee --to exported/{name}{here}")
    if results.interrupted:
        say(console, "interrupted; everything is kept, and the same command goes on from there")
        return INTERRUPTED
    return FAILED if results.ended is not None and results.ended.failed else DONE


def _new(arguments: argparse.Namespace) -> int:
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


def _download(arguments: argparse.Namespace) -> int:
    from kdsearch.data import download

    print(download(arguments.name))
    return DONE


def _list(arguments: argparse.Namespace) -> int:
    from kdsearch import api
    from kdsearch.tables import show_studies

    found = api.studies(**_place(arguments))
    if not found:
        print(f"no studies here yet; begin with: {_program()} new STUDY.py")
        return DONE
    show_studies(_console(), found)
    return DONE


def _status(arguments: argparse.Namespace) -> int:
    import json

    from kdsearch import api
    from kdsearch.tables import say, show_account, show_findings, show_front

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


def _confirm(arguments: argparse.Namespace) -> int:
    from kdsearch import api
    from kdsearch.progress import Terminal
    from kdsearch.tables import say, show_findings

    console = _console()
    with Terminal(console) as terminal:
        results = api.confirm_study(
            arguments.name,
            **_place(arguments),
            seeds=arguments.seeds,
            trials=arguments.trial,
            controls=arguments.control,
            compare=arguments.compare,
            file=arguments.study,
            workers=arguments.workers,
            engine=arguments.engine,
            listeners=[terminal],
            complain=terminal.say,
        )
    show_findings(console, results)
    say(console, f"report:  {api.write_report(results.facts.name, **_place(arguments))}")
    if results.interrupted:
        say(console, "interrupted; everything is kept, and the same command goes on from there")
        return INTERRUPTED
    return DONE


def _report(arguments: argparse.Namespace) -> int:
    from kdsearch import api

    print(api.write_report(arguments.name, to=arguments.to, **_place(arguments)))
    return DONE


def _export(arguments: argparse.Namespace) -> int:
    from kdsearch import api
    from kdsearch.tables import say, show_figures

    exported = api.export_student(
        arguments.name,
        arguments.to,
        trial=arguments.trial,
        pick=arguments.pick or "knee",
        max_parameters=arguments.max_parameters,
        max_drop=arguments.max_drop,
        study=arguments.study,
        **_place(arguments),
    )
    console = _console()
    how = f"trial {exported.card['trial']}" + ("" if arguments.trial is not None else f", {arguments.pick or 'knee'}")
    say(console, f"exported {how} of {exported.card['study']} to {exported.folder}")
    show_figures(console, exported.card)
    say(console, "proven in a fresh process: the same parameter count, the same validation accuracy to the example")
    say(console, f'load it:  kdsearch.load("{exported.folder}")')
    return DONE


def _ui(arguments: argparse.Namespace) -> int:
    from kdsearch.ui import serve

    return serve(arguments.workspace, arguments.port)


def _program() -> str:
    """The command as the user typed it, so that what we print can be pasted."""
    typed = Path(sys.argv[0])
    return str(typed) if typed.name == "kdsearch" else "kdsearch"


if __name__ == "__main__":
    sys.exit(main())

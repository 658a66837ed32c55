"""The command line: parses, wires, prints. Heavy imports wait until a command needs them, so that --help is quick."""

import argparse
import errno
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from kdsearch import __version__, commands
from kdsearch import student_commands as students
from kdsearch.console import FAILED, INTERRUPTED, WRONG_USE
from kdsearch.upkeep import commands as upkeep


def main(argv: list[str] | None = None) -> int:
    """Run one command; gives the exit status: 0 done, 1 failed, 2 wrong use, 130 interrupted (everything is kept)."""
    arguments = parser().parse_args(argv)
    if arguments.data is not None:
        os.environ["KDSEARCH_DATA"] = str(Path(arguments.data).resolve())  # the study's data() and all workers see it
    from kdsearch.mistakes import Mistake, UserCodeError

    try:
        return int(arguments.command(arguments))
    except UserCodeError as error:
        return _complain(arguments, str(error), error.trace, WRONG_USE)
    except Mistake as mistake:
        print(f"kdsearch: {_printable(str(mistake))}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print("kdsearch: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        print("kdsearch: standard output was closed by its reader; everything is kept", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains of it again at its end
        return FAILED
    except OSError as error:
        if error.filename is None or error.errno not in _REFUSED:
            return _fault(arguments, error)
        print(f"kdsearch: {_printable(str(error.filename))[:300]} cannot be used ({error.strerror})", file=sys.stderr)
        return WRONG_USE
    except Exception as error:
        return _fault(arguments, error)


_REFUSED = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR)
"""What the operating system has against a path that somebody named."""


def _fault(arguments: argparse.Namespace, error: Exception) -> int:
    import traceback

    said = f"{type(error).__name__}: {error}; this is a fault of kdsearch"
    return _complain(arguments, said, "".join(traceback.format_exception(error)), FAILED)


def _complain(arguments: argparse.Namespace, message: str, trace: str, exit_status: int) -> int:
    """One message; the traceback goes to a log file that it names, and to the screen with --debug."""
    import tempfile

    from kdsearch.masking import masked
    from kdsearch.workspace import Workspace

    trace, message = masked(trace), masked(message)  # whose words they are is not known
    name = f"error-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    log = Workspace.chosen(arguments.workspace).root / "logs" / name
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(trace, encoding="utf-8")
    except OSError:
        handle, made = tempfile.mkstemp(prefix="kdsearch-error-", suffix=".txt")  # nobody else can have put it there
        log = Path(made)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(trace)
    if arguments.debug:
        print(_printable(trace), file=sys.stderr)
    print(f"kdsearch: {_printable(message)}; the traceback is in {log}", file=sys.stderr)
    return exit_status


def _printable(text: str) -> str:
    """Line by line: control codes in the words of users' code and files are shown, not obeyed."""
    from kdsearch.markup import printable

    return "\n".join(printable(line) for line in text.split("\n"))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdsearch",
        description="Find the small network worth shipping: search student architectures with their distillation.",
    )
    parser.add_argument("--version", action="version", version=f"kdsearch {__version__}")
    subcommands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--workspace", metavar="DIR", help="where studies live (KDSEARCH_WORKSPACE, else runs)")
    common.add_argument("--data", metavar="DIR", help="where your data lie (KDSEARCH_DATA)")
    common.add_argument("--debug", action="store_true", help="show tracebacks of errors in your own code")
    stored = argparse.ArgumentParser(add_help=False)
    stored.add_argument("--storage", metavar="URL", help="Optuna's database (default: optuna.db in the workspace)")

    shown = argparse.ArgumentParser(add_help=False)
    how = shown.add_mutually_exclusive_group()
    how.add_argument("--plain", action="store_true", help="one line per event, as where the output is no terminal")
    how.add_argument("--quiet", action="store_true", help="the results and what went wrong, nothing else")
    how.add_argument("--json-log", action="store_true", help="one JSON object per event on standard output")

    def command(name: str, action: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        alone = (commands.new, commands.ui, commands.download, students.predict, students.compare, students.train)
        parents = [common] if action in alone else [common, stored]
        if action in (commands.run, commands.confirm):
            parents.append(shown)
        made = subcommands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", parents=parents)
        made.set_defaults(command=action)
        return made

    run = command("run", commands.run, "launch a study, or continue the one of its name")
    run.add_argument("study", metavar="STUDY.py", help="a file with study() -> kdsearch.Study; it is run as code")
    run.add_argument("--trials", type=_whole, metavar="N", help="how many trials the study shall have in all")
    run.add_argument(
        "--minutes",
        type=_above_zero,
        metavar="M",
        help="end the search after so many minutes, without the teacher's training and the confirmation",
    )
    run.add_argument("--epochs", type=_whole, metavar="N", help="end once so many epochs are trained in all trials")
    run.add_argument(
        "--patience", type=_whole, metavar="N", help="end after N complete trials without a gain in hypervolume"
    )
    run.add_argument(
        "--stopping", metavar="RULE", help="early stopping: moasha, bound, or none (default: the study's, else none)"
    )
    run.add_argument("--workers", type=_whole, metavar="N", help="processes (default: one per core)")
    _engine(run)
    run.add_argument(
        "--no-confirm", action="store_true", help="end without training at most three front members on fresh seeds"
    )
    run.add_argument("--smoke", action="store_true", help="shrink the study to seconds; it runs as NAME-smoke")

    new = command("new", commands.new, "write a commented study file to start from")
    new.add_argument("study", metavar="STUDY.py")
    download = command("download", commands.download, "fetch a well-known data set to the data folder")
    download.add_argument("name", metavar="NAME", help="mnist, fashion_mnist, cifar10 or cifar100")
    command("list", commands.list_studies, "list the studies in this workspace")
    status = command("status", commands.status, "show a study's counts, teacher, hypervolume and front")
    status.add_argument("name", metavar="NAME")
    status.add_argument("--json", action="store_true", help="print one JSON object")
    confirm = command("confirm", commands.confirm, "train front members and controls again on fresh seeds")
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
    _engine(confirm)
    confirm.add_argument("--study", metavar="STUDY.py", help="where the study file is now, if it has moved")
    report = command("report", commands.report, "write reports/NAME/index.html, or a page that compares studies")
    report.add_argument("names", nargs="+", metavar="NAME", help="a study, or several to be seen side by side")
    report.add_argument("--to", metavar="DIR", help="another folder than reports/NAME or reports/NAME-vs-NAME")
    report.add_argument(
        "--ui", metavar="ADDRESS", help="of an MLflow UI to link trials to, such as http://127.0.0.1:5000"
    )

    export = command("export", students.export, "write the best student's files and prove them in a fresh process")
    export.add_argument("name", metavar="NAME")
    export.add_argument("--to", metavar="DIR", required=True, help="the folder to write")
    chosen = export.add_mutually_exclusive_group()
    chosen.add_argument("--trial", type=_not_negative, metavar="N", help="this trial")
    chosen.add_argument("--pick", choices=("knee", "accurate", "smallest"), help="default: knee")
    chosen.add_argument("--all-front", action="store_true", help="all of the front, each to a folder in DIR")
    export.add_argument("--max-parameters", type=_whole, metavar="N", help="at most so many weights")
    export.add_argument("--max-drop", type=float, metavar="POINTS", help="at most so many points below the teacher")
    export.add_argument("--max-macs", type=_whole, metavar="N", help="at most so many multiply-accumulates an example")
    export.add_argument("--max-size-kb", type=_above_zero, metavar="KB", help="at most so many kB of weights")
    export.add_argument(
        "--max-latency-ms",
        type=_above_zero,
        metavar="MS",
        help="at most so long for one example with one thread (measured here and now, unless the study did)",
    )
    export.add_argument("--study", metavar="STUDY.py", help="where the study file is now, if it has moved")
    registry = export.add_mutually_exclusive_group()
    registry.add_argument("--no-register", action="store_true", help="leave MLflow's model registry as it is")
    registry.add_argument("--force-best", action="store_true", help="give it the registry's alias best in any case")
    again = export.add_mutually_exclusive_group()
    again.add_argument(
        "--recreate", action="store_true", help="train weights that are gone or damaged again, to be what was searched"
    )
    again.add_argument(
        "--retrain", action="store_true", help="train the recipe on training plus validation data before exporting"
    )
    _add_files(export)

    train = command("train", students.train, "repeat the training that an export's recipe.json describes, from nothing")
    train.add_argument("recipe", metavar="RECIPE", help="recipe.json, or its folder; the study.py beside it is run")
    train.add_argument("--to", metavar="DIR", help="export the student to this folder")
    train.add_argument("--study", metavar="STUDY.py", help="a study file to run instead of the study.py beside it")
    _add_files(train)

    predict = command("predict", students.predict, "try an exported student on pictures or arrays")
    predict.add_argument("folder", metavar="DIR", help="what kdsearch export wrote")
    predict.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="a picture (JPEG, PNG), or an array of one or several examples (.npy, .npz)",
    )
    predict.add_argument("--top", type=_whole, default=3, metavar="K", help="so many classes an example (default 3)")
    predict.add_argument("--json", action="store_true", help="print one JSON list")
    compare = command("compare", students.compare, "put exported students and their teachers in one table")
    compare.add_argument("folders", nargs="+", metavar="DIR", help="what kdsearch export wrote")
    compare.add_argument("--json", action="store_true", help="print one JSON object")

    upkeep.add(command, _not_negative, _above_zero)

    ui = command("ui", commands.ui, "browse the workspace in MLflow's UI on 127.0.0.1")
    ui.add_argument("--port", type=_port, metavar="N", help="default: 5000, or the next that is free")
    dashboard = command("dashboard", commands.dashboard, "browse the database in optuna-dashboard on 127.0.0.1")
    dashboard.add_argument("--port", type=_port, metavar="N", help="default: 8080, or the next that is free")
    return parser


def _add_files(command: argparse.ArgumentParser) -> None:
    files = command.add_argument_group("files", "--no-FORMAT leaves out one that is usual")
    for name, usual, text in (
        ("safetensors", True, "the weights, for kdsearch.load"),
        ("onnx", True, "for ONNX Runtime, on servers, phones and in browsers"),
        ("pt2", False, "a torch.export program; loading one can run code"),
        ("int8", False, "ONNX with 8-bit weights and activations, calibrated on training data"),
    ):
        said = f"{text} ({'usual' if usual else 'on request'})"
        files.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=usual, help=said)
    files.add_argument("--softmax", action="store_true", help="files that hold the network give probabilities")
    files.add_argument("--normalize", action="store_true", help="files that hold the network take inputs as stored")


def _engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--engine",
        choices=("local", "ray", "inline"),
        default="local",
        help="where students are trained: processes here, a Ray cluster, or this process (default: local)",
    )
    command.add_argument(
        "--address",
        metavar="ADDRESS",
        help="HOST:PORT of a running Ray cluster's head, or auto; else --engine ray starts one here",
    )
    command.add_argument(
        "--gpus-per-trial",
        type=_above_zero,
        default=0.0,
        metavar="X",
        help="GPUs that Ray gives a segment, also a share: 0.25 has four of them train on one (default: none)",
    )
    command.add_argument(
        "--stall-minutes",
        type=_minutes,
        metavar="M",
        help="end a worker whose segment ends no epoch for so long, and try it again (default: the study's; 0: never)",
    )
    command.add_argument(
        "--worker-memory",
        type=_above_zero,
        metavar="GB",
        help="end and replace a worker that takes more memory for itself (engine local; default: no limit)",
    )


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


def _minutes(text: str) -> float:
    return float(
        _number(text, float, lambda value: 0 <= value < float("inf"), "a number of minutes, or 0 for no limit")
    )


def _port(text: str) -> int:
    return int(_number(text, int, lambda value: 1 <= value <= 65535, "a port from 1 to 65535"))


if __name__ == "__main__":
    sys.exit(main())

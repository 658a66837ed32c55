"""What bad inputs are tried on: a finished study and its export, of seconds, and how an attempt on it ended."""

import contextlib
import hashlib
import io
import os
import re
import signal
import sqlite3
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest.mock import patch

from kdsearch import api, cli
from kdsearch.mistakes import Mistake
from kdsearch.taking import export_student

STUDY = '''"""A study of seconds."""
import torch
from kdsearch import MLP, ConvNet, Data, Distil, Hints, Optim, Pretrain, Recipe, Split, Study, Teacher

def split(examples, seed):
    labels = torch.arange(examples) % 3
    inputs = torch.randint(0, 120, (examples, 1, 6, 6), generator=torch.Generator().manual_seed(seed))
    inputs[:, :, :2] += 40 * labels[:, None, None, None]
    return Split(inputs=inputs.to(torch.uint8), labels=labels)

def data():
    return Data(name="few", train=split(30, 1), validation=split(15, 2), test=split(15, 3))

def teacher(data):
    return Teacher(build=lambda: MLP(width=8, depth=2).build(data.shape, data.classes), epochs=1)

def space(trial):
    start = trial.suggest_categorical("start", ["none", "pretrain", "hints"])
    starts = {"none": None, "pretrain": Pretrain(epochs=1),
              "hints": Hints(epochs=1, teacher_layer=0.5, student_layer=0.5)}
    return Recipe(student=MLP(width=trial.suggest_int("width", 2, 6), depth=1), start=starts[start], epochs=2,
                  optim=Optim(lr=0.01, batch_size=15),
                  distil=Distil(temperature=trial.suggest_float("temperature", 1, 10), alpha=0.5))

def study():
    return Study(name="small", data=data, teacher=teacher, space=space, trials=3, sampler="random", seed=1)
'''
LIMIT_SECONDS = 20.0
"""An input that is taken at its word may ask for hours: it is interrupted then, as by Ctrl-C."""

_MESSAGE = re.compile(r"^kdsearch[ a-z]*: (?!(archiving|restoring) )", re.MULTILINE)  # these two say how far they are

Ended = Literal["refused", "taken", "traceback"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    ended: Ended
    said: str = ""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """`runs` is the finished workspace, `export` its student's export, `file` the study file."""

    folder: Path

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def export(self) -> Path:
        return self.folder / "export"

    @property
    def file(self) -> Path:
        return self.folder / "small.py"


def made_ground(folder: Path, *, small: bool = False) -> Ground:
    """Search, confirm and export the study of seconds; where `small`, without confirming and without ONNX."""
    ground = Ground(folder=folder)
    ground.file.write_text(STUDY, encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        api.run(ground.file, workspace=ground.runs, engine="inline", confirm=False, track=False)
        if not small:
            api.confirm_study("small", seeds=2, workspace=ground.runs, engine="inline", track=False)
        formats = ("safetensors",) if small else ("safetensors", "onnx")
        export_student(
            "small", ground.export, workspace=ground.runs, formats=formats, register=False, say=lambda _: None
        )
    return ground


def called(function: Callable[[], object], limit_seconds: float = 60.0) -> Outcome:
    """A call of the library: a `Mistake` is its one message, and nothing else may be raised. To hang is no answer."""
    try:
        with _limited(limit_seconds):
            function()
    except KeyboardInterrupt:
        return Outcome(ended="traceback", said=f"no answer within {limit_seconds:g} seconds")
    except Mistake as mistake:
        return Outcome(ended="refused", said=str(mistake)) if str(mistake) else Outcome(ended="traceback", said="empty")
    except Exception:
        return Outcome(ended="traceback", said=traceback.format_exc())
    return Outcome(ended="taken")


def commanded(arguments: list[str], limit_seconds: float = LIMIT_SECONDS) -> Outcome:
    """The command line, in this process, without MLflow's mirror (two seconds for each workspace). Exit status 2 comes
    with one message; 1 is for a search all of whose trials fail, never for a fault of kdsearch.
    """
    out, err = io.StringIO(), io.StringIO()
    environment = dict(os.environ)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), patch("kdsearch.api.Mirror", _NoMirror):
        try:
            with _limited(limit_seconds):
                status = cli.main(arguments)
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        except KeyboardInterrupt:
            status = 130
        except BaseException:
            return Outcome(ended="traceback", said=traceback.format_exc())
        finally:
            os.environ.clear()
            os.environ.update(environment)
    shown = out.getvalue() + err.getvalue()
    messages = len(_MESSAGE.findall(err.getvalue()))
    if "Traceback (most recent" in shown or "fault of kdsearch" in shown:
        return Outcome(ended="traceback", said=_with_log(shown))
    if status == 2:
        said = err.getvalue()
        return Outcome(ended="refused" if messages == 1 else "traceback", said=said or "exit 2 and no message")
    return Outcome(ended="taken" if status in (0, 1, 130) else "traceback", said=f"exit {status}: {shown[-300:]}")


def _with_log(shown: str) -> str:
    """What was shown, with the traceback from the log that it names."""
    log = Path(shown.strip().rpartition("the traceback is in ")[2])
    with contextlib.suppress(OSError, ValueError):
        return f"{shown}\n{log.read_text(encoding='utf-8')}"
    return shown


class _NoMirror:
    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> Callable[[object], None]:
        return lambda _: None

    def __exit__(self, *_: object) -> None: ...


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Ctrl-C after so many seconds, and once more each 15, which end what does not end by itself."""
    over = threading.Event()

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            os.kill(os.getpid(), signal.SIGINT)
            wait = 15.0

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def kept_work(ground: Ground) -> dict[str, str]:
    """What a study has, by name: checksums of its files, but for logs, locks and what may be recomputed in another
    form, and the rows of its trials.
    """
    found = {
        path.relative_to(ground.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in (ground.runs / "small" / "students", ground.runs / "small" / "teacher", ground.export)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    database = sqlite3.connect(f"file:{ground.runs / 'optuna.db'}?mode=ro", uri=True)
    try:
        for table in ("studies", "trials", "trial_values", "trial_params", "trial_user_attributes"):
            rows = database.execute(f"select * from {table} order by 1").fetchall()
            found |= {f"{table} {row[0]}": repr(row) for row in rows}
    finally:
        database.close()
    return found


def lost(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What was there before and is gone or another now."""
    return [name for name, content in before.items() if after.get(name) != content]

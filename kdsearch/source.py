"""Where a study comes from, so that a worker can have it too.

A study is a Python file with a function `study() -> Study`. Study files are code: running one runs what it says.
"""

import dataclasses
import hashlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from kdsearch.mistakes import Mistake, user_code
from kdsearch.study import Study


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a study comes from, so that a worker can have it too: a file, or a pickle of our own driver's making.

    Workers run the very text that the driver read, under the same module name: classes defined in a study file are the
    same there, also where the file is edited while its study runs.
    """

    path: Path | None = None
    text: str | None = field(default=None, repr=False)
    pickled: bytes | None = field(default=None, repr=False)
    smoke: bool = False

    def __post_init__(self) -> None:
        if self.path is not None:
            object.__setattr__(self, "path", self.path.resolve())
            if self.text is None:
                object.__setattr__(self, "text", _read(self.path))

    @classmethod
    def of(cls, study: Study) -> "Source":
        """For a study made in a script or a notebook rather than in a study file."""
        import cloudpickle

        return cls(pickled=cloudpickle.dumps(study))

    def load(self) -> Study:
        """The study. Raises `Mistake` for a file that is none, and `UserCodeError` for what its code raises."""
        if self.path is not None and self.text is not None:
            study = _run(self.path, self.text)
        else:
            import cloudpickle

            study = cloudpickle.loads(self.pickled)
        return study.smoke() if self.smoke else study


def _read(path: Path) -> str:
    if path.is_dir():
        raise Mistake(
            f"{path} is a folder; give the study file itself (kdsearch new STUDY.py writes one to start from)"
        )
    try:
        return importlib.util.decode_source(path.read_bytes())
    except FileNotFoundError:
        raise Mistake(f"there is no study file {path}; kdsearch new STUDY.py writes one to start from") from None
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise Mistake(f"the study file {path} cannot be read as Python ({error})") from None


def _run(path: Path, text: str) -> Study:
    name = "kdsearch_study_" + hashlib.sha256(f"{path}\n{text}".encode()).hexdigest()[:16]
    module = sys.modules.get(name)
    if module is None:
        module = ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module  # before it runs: dataclasses and pickles look their module up
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))  # so that a study file may import its neighbours
        try:
            with user_code(f"the study file {path.name}"):
                exec(compile(text, str(path), "exec"), module.__dict__)  # noqa: S102 - study files are code
        except BaseException:
            del sys.modules[name]
            raise
    make = getattr(module, "study", None)
    if not callable(make):
        raise Mistake(f"{path} has no function study(); it must define study() -> kdsearch.Study")
    with user_code(f"study() in {path.name}"):
        study = make()
    if not isinstance(study, Study):
        raise Mistake(f"study() in {path} must return a kdsearch.Study, got {type(study).__name__}")
    return study if study.card else dataclasses.replace(study, card=inspect.cleandoc(module.__doc__ or ""))

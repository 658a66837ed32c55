"""The proof of an export: `python -m kdsearch.proof FOLDER SPLITS` loads a student as its user would and counts.

It runs in a process of its own, so that nothing of the search can stand in for what the files lack.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from torch import Tensor

from kdsearch.data.base import Data
from kdsearch.files import load_tensors, save_tensors
from kdsearch.mistakes import Mistake
from kdsearch.saved import load
from kdsearch.students import FAMILIES, Student, count_parameters
from kdsearch.study import Source


def in_fresh_process(folder: Path, source: Source, student: Student, data: Data) -> dict[str, int]:
    """Load `folder`'s student in a new interpreter and run it over the validation and test splits.

    Gives `parameters`, `validation_correct` and `test_correct`. The study file is loaded there only for a student of
    its own family. Raises `Mistake` with the process's last words where it fails.
    """
    import cloudpickle

    own = FAMILIES.get(type(student).__name__) is not type(student)
    # the class is looked up after the study file is loaded, so it is pickled on its own
    family = cloudpickle.dumps((source, cloudpickle.dumps(type(student)))) if own else b""
    with tempfile.TemporaryDirectory(prefix="kdsearch-proof-") as scratch:
        splits = Path(scratch) / "splits.safetensors"
        tensors: dict[str, Tensor] = {}
        for name, split in (("validation", data.validation), ("test", data.test)):
            tensors |= {f"{name}.inputs": split.inputs, f"{name}.labels": split.labels}
        save_tensors(splits, tensors, {})
        done = subprocess.run(  # noqa: S603 - our own module in our own interpreter
            [sys.executable, "-m", "kdsearch.proof", str(folder), str(splits)],
            input=family,
            capture_output=True,
            check=False,
        )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        raise Mistake(f"the exported student could not be loaded in a fresh process: {said}; nothing was exported")
    return {name: int(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def main() -> None:
    import torch

    torch.set_num_threads(1)  # as the trial was measured
    folder, splits = sys.argv[1:]
    tensors, _ = load_tensors(Path(splits))
    module = load(folder, family=_family(sys.stdin.buffer.read()), raw_inputs=True)
    found = {"parameters": count_parameters(module)}
    with torch.inference_mode():
        for name in ("validation", "test"):
            inputs, labels = tensors[f"{name}.inputs"], tensors[f"{name}.labels"]
            predictions = torch.cat([module(part).argmax(1) for part in inputs.split(512)])
            found[f"{name}_correct"] = int((predictions == labels).sum())
    print(json.dumps(found))


def _family(pickled: bytes) -> type | None:
    if not pickled:
        return None
    import cloudpickle

    source, family = cloudpickle.loads(pickled)
    source.load()
    return cloudpickle.loads(family)  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()

"""The guides: every file in them is written, every command run, as a reader would, in a folder of its own.

A `python` block whose first line is `# NAME.py` is that file; `sh` blocks are run in order. `bash` and `text` blocks
need what no test machine has (a batch system, a database server): their kdsearch commands must at least be ones.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kdsearch.cli import parser
from tests.commands import kdsearch
from tests.servers import serving

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs").glob("*.md"))
SERVERS = ("kdsearch ui", "kdsearch dashboard")


def blocks(document: Path) -> list[tuple[str, str]]:
    """Language and text of the document's fenced blocks, in order."""
    return re.findall(r"^ *```(\w+)\n(.*?)^ *```$", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder as a reader has it: the study files of the repository, and kdsearch and python on the PATH."""
    (tmp_path / "bin").mkdir()
    for name, command in (("kdsearch", f"{sys.executable} -m kdsearch"), ("python", sys.executable)):
        shim = tmp_path / "bin" / name
        shim.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        shim.chmod(0o755)
    shutil.copytree(ROOT / "studies", tmp_path / "studies", ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
    return tmp_path


def environment(place: Path) -> dict[str, str]:
    ours = ("KDSEARCH_WORKSPACE", "KDSEARCH_DATA", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    path = f"{place / 'bin'}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "KDSEARCH_CACHE": str(place / "c")}


def served(command: str, place: Path) -> None:
    """Run a server until it says where it is, then end it as Ctrl-C does."""
    with serving(*shlex.split(command)[1:], KDSEARCH_WORKSPACE=str(place / "runs")) as server:
        status, said = server.end()
    assert status == 0, said


def run(command: str, place: Path) -> "subprocess.CompletedProcess[str]":
    if command.startswith("kdsearch "):
        return kdsearch(*shlex.split(command, comments=True)[1:], cwd=place, environment=environment(place))
    return subprocess.run(["bash", "-c", command], cwd=place, env=environment(place), capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_all_that_a_guide_says_works(guide, place):
    for language, text in blocks(guide):
        if language == "python":
            name = re.match(r"# ([a-z_]+\.py)\n", text)
            assert name is not None, f"a python block in {guide.name} does not say which file it is"
            (place / name[1]).write_text(text)
        elif language == "sh":
            for command in text.splitlines():
                if command.startswith(SERVERS):
                    served(command, place)
                    continue
                ran = run(command, place)
                assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"


@pytest.mark.parametrize("document", [ROOT / "README.md", *GUIDES], ids=lambda path: path.stem)
def test_every_command_that_is_named_is_one(document):
    lines = [line for language, text in blocks(document) for line in text.splitlines() if language != "python"]
    lines += re.findall(r"^kdsearch .*?(?=   |$)", document.read_text(encoding="utf-8"), re.MULTILINE)
    commands = [shlex.split(line.split("kdsearch ", 1)[1], comments=True) for line in lines if "kdsearch " in line]
    assert commands
    for command in commands:
        if command[0] not in ("-m", "finds"):
            parser().parse_args([part for part in command if part != "|"])


def test_the_readme_names_every_guide():
    told = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [guide.name for guide in GUIDES if f"docs/{guide.name}" not in told]
    assert not missing


CLUSTERS = ROOT / "docs" / "clusters"


@pytest.mark.parametrize("script", ["ssh.sh", "slurm.sbatch"])
def test_the_scripts_for_clusters_are_ones_and_turn_authentication_on(script):
    subprocess.run(["bash", "-n", CLUSTERS / script], check=True)
    assert "RAY_AUTH_MODE=token" in (CLUSTERS / script).read_text()


def test_the_commands_in_the_files_for_clusters_are_ones():
    said = (CLUSTERS / "slurm.sbatch").read_text() + (CLUSTERS / "kuberay.yaml").read_text()
    commands = re.findall(r"kdsearch (run .*?--plain)$", said.replace("$SLURM", "SLURM"), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert parser().parse_args(shlex.split(command)).engine == "ray"


def test_the_job_for_kubernetes_has_the_rays_of_the_constraints_and_a_token():
    job, policy = yaml.safe_load_all((CLUSTERS / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"], policy["kind"]) == ("ray.io/v1", "RayJob", "NetworkPolicy")
    ray = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == ray
    assert f"rayproject/ray:{ray}-py3" in (CLUSTERS / "Dockerfile").read_text()
    assert cluster["authOptions"] == {"mode": "token"}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert {one["image"] for group in groups for one in group["template"]["spec"]["containers"]} == {
        "YOUR_REGISTRY/kdsearch"
    }

"""Fixtures that several tests share: tiny data whose classes can be learned, and a teacher of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from kdsearch.data.base import Data, Split
from kdsearch.signals import Signals
from kdsearch.students import ConvNet
from kdsearch.teacher import Frozen, Teacher, freeze
from kdsearch.training import Optim
from tests.browser import chromium, opened  # noqa: F401 - fixtures
from tests.clusters import machines  # noqa: F401
from tests.upkept import searched  # noqa: F401 - a fixture

# derandomized: a test that passes for one passes for all; no deadline: test machines are shared
settings.register_profile("kdsearch", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("kdsearch")
torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """Each xdist worker, and all that its tests start, keeps to one core: processes that share cores while torch's
    threads spin for one another take many times as long, and each default of "one worker a core" costs an import.
    """
    worker = getattr(config, "workerinput", {}).get("workerid", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws at random is the same each time."""
    torch.manual_seed(0)


def stripes(examples: int, seed: int, size: int) -> Split:
    """Noisy (1, size, size) images in which the class, of three, is the third that is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(examples) % 3
    inputs = torch.randint(0, 120, (examples, 1, size, size), generator=generator)
    for label in range(3):
        band = slice(label * size // 3, (label + 1) * size // 3)
        inputs[labels == label, :, band] += 100
    return Split(inputs=inputs.to(torch.uint8), labels=labels)


@pytest.fixture(scope="session")
def make_data() -> Callable[..., Data]:
    """Data of a size of one's own, for tests that alter them."""

    def make(train: int = 60, size: int = 8) -> Data:
        return Data(
            name="stripes", train=stripes(train, 1, size), validation=stripes(30, 2, size), test=stripes(30, 3, size)
        )

    return make


@pytest.fixture(scope="session")
def tiny_data(make_data) -> Data:
    """60 training, 30 validation and 30 test examples (1, 8, 8) uint8 of three classes; not to be altered."""
    return make_data()


@pytest.fixture(scope="session")
def tiny_teacher() -> Teacher:
    return Teacher(
        build=lambda: ConvNet(width=4, depth=3).build((1, 8, 8), 3), optim=Optim(lr=1e-2, batch_size=20), epochs=3
    )


@pytest.fixture(scope="session")
def frozen(tiny_data, tiny_teacher, tmp_path_factory) -> Frozen:
    """`tiny_teacher` trained and frozen, once a session."""
    return freeze(tiny_teacher, tiny_data, tmp_path_factory.mktemp("teacher"))


@pytest.fixture
def signals(frozen, tiny_data, tmp_path) -> Signals:
    return Signals(lambda: frozen, frozen.key, tiny_data, tmp_path / "signals")


@pytest.fixture
def shared_data() -> Path:
    """The folder with the real MNIST and Fashion-MNIST beside a development checkout; skips where there is none."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "mnist").is_dir() or not (folder / "fashion-mnist").is_dir():
        pytest.skip(f"the real MNIST and Fashion-MNIST files are not at {folder}")
    return folder

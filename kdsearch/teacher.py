"""The teacher: one trained, frozen network or several, trained once, kept by content, loaded ever after.

Shape letters: M members of the ensemble, N examples, K classes.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from kdsearch import metrics
from kdsearch.data.augment import Augmentation, check_views
from kdsearch.data.base import Data, Split
from kdsearch.data.views import Views, check_replayable
from kdsearch.files import DamagedError, file_sha256, load_tensors, save_tensors, void
from kdsearch.losses import hard_labels, soften
from kdsearch.mistakes import Mistake, UserCodeError, user_code
from kdsearch.plain import as_json, is_number, is_whole
from kdsearch.seeds import derive
from kdsearch.students.base import count_parameters
from kdsearch.training import DivergedError, Epoch, Optim, StopRequestedError, TrainState, fit, pack_state, unpack_state


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """How to come by a teacher: `build` makes its architecture (never its weights) in any process; the weights are
    trained once with `optim` for `epochs` on the training split, or read from `weights`, a state dict in a
    safetensors file or a torch file of plain tensors. Epoch e of its training is on view e mod V of `augment`'s.
    `vote` > 0 is the weight of its softened prediction in an ensemble's mean.
    """

    build: Callable[[], nn.Module]
    optim: Optim = field(default_factory=Optim)
    epochs: int = 20
    weights: str | Path | None = None
    seed: int = 0
    augment: Augmentation | None = None
    vote: float = 1.0

    def __post_init__(self) -> None:
        if not callable(self.build):
            raise Mistake(f"the teacher's build must be a function without arguments, got {self.build!r}")
        if not isinstance(self.optim, Optim):
            raise Mistake(f"the teacher's optim must be an Optim, got {self.optim!r}")
        if not is_number(self.vote) or not 0 < self.vote < math.inf:
            raise Mistake(
                f"vote must be above 0 and finite, got {self.vote!r}; a member without a say is left out of the list"
            )
        if not is_whole(self.epochs) or self.epochs < 1:
            raise Mistake(f"the teacher's epochs must be at least 1, got {self.epochs!r}")
        if not is_whole(self.seed):
            raise Mistake(f"the teacher's seed must be a whole number, got {self.seed!r}")
        if not isinstance(self.weights, (str, Path, type(None))):
            raise Mistake(f"the teacher's weights must be the path of a file, got {self.weights!r}")
        if self.augment is not None:
            check_views(self.augment)


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """A trained teacher: its members, in evaluation mode and without gradients, the key of its content, the members'
    shares of the prediction, of sum 1 (None: equal ones), and how many threads of torch trained them, by which its bits
    differ (None: not known, or nothing was trained).
    """

    members: tuple[nn.Module, ...]
    key: str
    votes: tuple[float, ...] | None = None
    threads: int | None = None

    @property
    def parameters(self) -> int:
        return sum(count_parameters(member) for member in self.members)

    def predictions(self, data: Data, inputs: Tensor, labels: Tensor) -> Tensor:
        """Predicted classes (N,): the largest mean probability of the members, weighted by their votes."""
        split = Split(inputs=inputs, labels=labels)
        logits_MNK = torch.stack([metrics.logits(member, data, split) for member in self.members])
        return soften(logits_MNK, 1.0, torch.tensor(self.votes) if self.votes else None).argmax(1)


def as_teachers(given: Teacher | Sequence[Teacher]) -> tuple[Teacher, ...]:
    """One teacher or a sequence of them, as a tuple; a `Mistake` for anything else."""
    teachers = (given,) if isinstance(given, Teacher) else tuple(given) if isinstance(given, (list, tuple)) else ()
    if not teachers or not all(isinstance(teacher, Teacher) for teacher in teachers):
        raise Mistake(f"teacher(data) must return a Teacher or a list of them, got {type(given).__name__}")
    return teachers


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """Teachers that are built but have no weights yet: enough to know their sizes, layers and content key."""

    teachers: tuple[Teacher, ...]
    members: tuple[nn.Module, ...]
    keys: tuple[str, ...]

    @classmethod
    def of(cls, given: Teacher | Sequence[Teacher], data: Data) -> "Untrained":
        """Build every member. Raises `Mistake` for one that does not fit the data or whose weights file is missing."""
        teachers = as_teachers(given)
        for teacher in teachers:
            if teacher.augment is not None:
                check_replayable(teacher.augment, data)
        members = tuple(_built(teacher, data) for teacher in teachers)
        keys = tuple(_key(teacher, member, data) for teacher, member in zip(teachers, members, strict=True))
        return cls(teachers=teachers, members=members, keys=keys)

    @property
    def votes(self) -> tuple[float, ...] | None:
        """The members' shares of the prediction, of sum 1; None where they are equal."""
        votes = [teacher.vote for teacher in self.teachers]
        return None if len(set(votes)) == 1 else tuple(vote / sum(votes) for vote in votes)

    @property
    def key(self) -> str:
        """Of the whole teacher's content, unequal votes included; weights are kept by each member's own."""
        keys = [*self.keys, f"votes {json.dumps(self.votes)}"] if self.votes is not None else self.keys
        return hashlib.sha256("/".join(keys).encode()).hexdigest()[:32]

    def freeze(
        self,
        data: Data,
        folder: Path,
        on_epoch: Callable[[int, Epoch], bool] | None = None,
        complain: Callable[[str], None] = void,
    ) -> Frozen:
        """See `freeze`."""
        parts = list(zip(range(len(self.keys)), self.teachers, self.members, self.keys, strict=True))
        threads: list[int | None] = []
        # given weights first: those that do not fit are found before anything is trained
        for number, teacher, module, key in sorted(parts, key=lambda part: part[1].weights is None):
            if teacher.weights is not None:
                _load_weights(module, Path(teacher.weights))
            else:
                report = (lambda line, number=number: on_epoch(number, line)) if on_epoch is not None else None
                threads.append(_load_or_train(teacher, module, data, folder, key, report, complain))
            module.eval().requires_grad_(False)
        same = threads[0] if len(set(threads)) == 1 else None
        return Frozen(members=self.members, key=self.key, votes=self.votes, threads=same)


def freeze(
    given: Teacher | Sequence[Teacher],
    data: Data,
    folder: Path,
    *,
    on_epoch: Callable[[int, Epoch], bool] | None = None,
) -> Frozen:
    """Load each member's weights from `folder` or train and keep them there, then freeze it.

    `on_epoch` gets the member's number and each epoch's line while one trains; where it returns True,
    `StopRequestedError` is raised with the training so far kept, and the next call goes on from there.
    A kept file that is torn or altered is trained again.
    """
    return Untrained.of(given, data).freeze(data, folder, on_epoch)


def _built(teacher: Teacher, data: Data) -> nn.Module:
    with user_code("the teacher's build()"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(teacher.seed, "teacher"))
        module = teacher.build()
    if not isinstance(module, nn.Module):
        raise Mistake(f"the teacher's build() must return a torch.nn.Module, got {type(module).__name__}")
    with user_code("the teacher's forward pass"), torch.no_grad():
        module.eval()
        output = module(data.normalize(data.train.inputs[:2]))
    if not isinstance(output, Tensor) or output.shape != (2, data.classes):
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else type(output).__name__
        raise Mistake(
            f"the teacher gives outputs of shape {shape} for one example, {data.name} has {data.classes} classes; "
            f"the teacher must give logits of shape ({data.classes},)"
        )
    return module


def _key(teacher: Teacher, module: nn.Module, data: Data) -> str:
    """Content key: data, tensor names and shapes, the modules' descriptions, optim, epochs, seed or given weights."""
    content = {
        "data": data.fingerprint,
        "tensors": {name: [list(tensor.shape), str(tensor.dtype)] for name, tensor in module.state_dict().items()},
        "architecture": re.sub(r"0x[0-9a-f]+", "", str(module)),
        "optim": {name: part for name, part in as_json(teacher.optim).items() if name != "kind"},
        "epochs": teacher.epochs,
        "seed": teacher.seed,
    }
    if teacher.augment is not None and teacher.weights is None:
        content["augment"] = as_json(teacher.augment)
    if teacher.weights is not None:
        if not Path(teacher.weights).is_file():
            raise Mistake(
                f"the teacher's weights {teacher.weights} do not exist; give a file, or leave weights out to train"
            )
        content |= {"optim": None, "epochs": None, "seed": None, "weights": file_sha256(Path(teacher.weights))}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _load_weights(module: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, weights_only=True, map_location="cpu")
        )
        module.load_state_dict(state)
    except (SafetensorError, RuntimeError, OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        reason = str(error).strip().split("\n")
        raise Mistake(f"the teacher's weights {path} do not fit what build() makes: {' '.join(reason[:3])}") from None
    except UnpicklingError as error:  # how torch.load(weights_only=True) refuses anything but plain tensors
        raise Mistake(f"the teacher's weights {path} are no state dict of plain tensors: {str(error)[:200]}") from None


def _load_or_train(
    teacher: Teacher,
    module: nn.Module,
    data: Data,
    folder: Path,
    key: str,
    on_epoch: Callable[[Epoch], bool] | None,
    complain: Callable[[str], None],
) -> int | None:
    """Give the module its weights; gives the number of threads that all of its training had, None if not known."""
    path = folder / f"{key}.safetensors"
    state: TrainState | None = None
    try:
        tensors, notes = load_tensors(path)
        if notes.get("epoch") == teacher.epochs:
            module.load_state_dict(tensors)
            return notes.get("threads")
    except (FileNotFoundError, RuntimeError):  # the last: weights of another network, put there by hand
        pass
    except DamagedError as error:
        complain(f"the teacher is trained again: {error}")
    unfinished = folder / f"{key}.part.safetensors"
    threads: int | None = torch.get_num_threads()
    try:
        tensors, notes = load_tensors(unfinished)
        state = unpack_state(tensors, notes)
        threads = threads if notes.get("threads") == threads else None
    except FileNotFoundError:
        pass
    except DamagedError as error:
        complain(f"the teacher's training begins again: {error}")

    views = Views(data, teacher.augment)

    def loss(index_B: Tensor, epoch: int) -> dict[str, Tensor]:
        batch = views.batch(index_B, views.at(epoch))
        return {"loss": hard_labels(module(batch.inputs_B), *batch.targets)}

    stopped = False

    def watch(line: Epoch) -> bool:
        nonlocal stopped
        stopped = on_epoch is not None and on_epoch(line)
        return stopped

    # kept every few epochs, so that an interrupted training goes on
    while state is None or state.epoch < teacher.epochs:
        done = state.epoch if state is not None else 0
        try:
            with user_code("the teacher's training"):
                state = fit(
                    module,
                    loss,
                    optim=teacher.optim,
                    examples=len(data.train),
                    epochs=teacher.epochs,
                    upto=min(done + 5, teacher.epochs),
                    seed=derive(teacher.seed, "teacher"),
                    stage="teacher",
                    state=state,
                    evaluate=partial(metrics.watched_accuracy, module, data),
                    on_epoch=watch,
                )
        except UserCodeError as error:
            if isinstance(error.__cause__, DivergedError):
                raise Mistake(f"the teacher cannot be trained: it {error.__cause__}") from None
            raise
        if state.epoch < teacher.epochs:
            tensors, notes = pack_state(state)
            save_tensors(unfinished, tensors, {**notes, "threads": threads})
        if stopped and state.epoch < teacher.epochs:
            raise StopRequestedError
    save_tensors(path, module.state_dict(), {"epoch": teacher.epochs, "threads": threads})
    unfinished.unlink(missing_ok=True)
    return threads

import pytest
import torch

from kdsearch.files import DamagedError
from kdsearch.recipe import Recipe
from kdsearch.stages import Distil, Pretrain
from kdsearch.starts import Starts
from kdsearch.students import MLP
from kdsearch.training import TrainState
from kdsearch.trial import Seeds, TrialState
from kdsearch.underway import UnderWay


def trial(alpha: float = 0.5, width: int = 4, study_seed: int = 0, number: int = 0) -> UnderWay:
    recipe = Recipe(student=MLP(width=width, depth=1), start=Pretrain(epochs=2), distil=Distil(alpha=alpha), epochs=5)
    return UnderWay(recipe, Seeds.of(study_seed, recipe, number), {}, lambda: 0.0)


def trained(made: UnderWay) -> UnderWay:
    made.state = TrialState(epoch=2, train=TrainState(epoch=0, module={"w": torch.arange(3.0)}, optimizer={}))
    made.curve = [{"stage": "pretrain", "epoch": 1}, {"stage": "pretrain", "epoch": 2}]
    return made


def claim(starts: Starts, number: int, made: UnderWay) -> bool:
    return starts.claim(number, made.recipe, made.seeds)


def test_the_first_trains_and_the_others_wait_until_it_is_done(tmp_path):
    starts = Starts(tmp_path)
    assert claim(starts, 0, trial())
    assert claim(starts, 0, trial()), "its next segments too"
    assert not claim(starts, 1, trial(alpha=0.9, number=1))
    assert claim(starts, 2, trial(width=5)), "another student"
    assert starts.release(1, trial().recipe, trial().seeds) == [], "only the owner's end counts"
    assert starts.release(0, trial().recipe, trial().seeds) == [1]
    assert claim(starts, 1, trial()), "the start is free again: its owner failed"


def test_a_kept_start_is_found_by_all_that_share_it(tmp_path):
    made = trained(trial())
    Starts(tmp_path).keep(7, made)
    other = trial(alpha=0.1, number=3)
    found = Starts(tmp_path).find(other.recipe, other.seeds)
    assert (found.trial, found.curve, found.state.epoch) == (7, made.curve, 2)
    assert torch.equal(found.state.train.module["w"], torch.arange(3.0))
    for unlike in (trial(width=5), trial(study_seed=1)):
        assert Starts(tmp_path).find(unlike.recipe, unlike.seeds) is None


def test_a_torn_start_is_said_and_gone(tmp_path):
    made = trained(trial())
    Starts(tmp_path).keep(0, made)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(DamagedError):
        Starts(tmp_path).find(made.recipe, made.seeds)
    assert Starts(tmp_path).find(made.recipe, made.seeds) is None

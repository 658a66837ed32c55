"""Training on another device than the CPU, as far as it can be seen without one: torch's device "meta" computes shapes
alone, and refuses tensors of the CPU beside its own. (Not for dkd, which asks for numbers.)
"""

import pytest
import torch

from kdsearch.data.augment import Augment
from kdsearch.data.views import Views
from kdsearch.recipe import Recipe
from kdsearch.stages import Distil, FitNetsDistil, Hints, Pretrain
from kdsearch.students import ConvNet
from kdsearch.trial import Seeds, Segment, advance

STAGES = [
    Distil(temperature=4.0, alpha=0.9),
    Distil(temperature=4.0, alpha=0.0),
    Distil(loss="dist", standardize=True),
    Distil(attention=1.0, teacher_layer="block1", student_layer="block1"),
    FitNetsDistil(),
    Pretrain(epochs=1),
    Hints(epochs=1, teacher_layer="block1", student_layer="block1", regressor="pooled"),
]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"{stage.name}-{getattr(stage, 'loss', '')}")
def test_all_that_a_step_computes_with_is_on_the_device(stage, tiny_data, signals):
    views = Views(tiny_data, Augment(shift=1, mixup=0.2, views=2), device="meta")
    student = ConvNet(width=2, depth=2).build(tiny_data.shape, tiny_data.classes)
    work = stage.begin(student, views, signals, 0, epochs=2)
    work.module.to("meta")
    terms = work.loss(torch.arange(4), 1)
    terms["loss"].backward()
    assert all(term.device.type == "meta" for term in terms.values())
    assert signals.logits(Views(tiny_data))(Views(tiny_data).batch(torch.arange(4), 0)).device.type == "cpu"


def test_the_device_reaches_the_training(tiny_data, signals):
    recipe = Recipe(student=ConvNet(width=2, depth=2), epochs=1)
    segment = Segment(
        trial=0, recipe=recipe, seeds=Seeds.of(0, recipe, 0), state=None, upto=1, objectives=("accuracy",)
    )
    with pytest.raises(Exception, match="meta"):  # it has no numbers to give back
        advance(segment, tiny_data, signals, device="meta")

"""The stages of a distillation: `Hints` and `Pretrain` initialize the student, `Distil` and `FitNetsDistil` teach it.

A stage is a value; `begin` binds it to a student, the views it sees and the teacher's signals of these (run live in
every step with `live`, else looked up), and gives what `fit` trains and the loss of a batch. `epochs` is how many the
whole stage has, wherever a segment of it begins.
"""

from kdsearch.stages.attention import Attention
from kdsearch.stages.base import ImpossibleError, Work
from kdsearch.stages.distil import Distil
from kdsearch.stages.fitnets import FitNetsDistil
from kdsearch.stages.hints import Hints
from kdsearch.stages.pretrain import Pretrain

Start = Hints | Pretrain
"""How a student's weights are initialized; None leaves them random."""

Teaching = Distil | FitNetsDistil
"""The second stage: labels and softened teacher together."""

Joined = Hints | Attention
"""What joins layers of student and teacher: located and checked before any training."""

__all__ = [
    "Attention",
    "Distil",
    "FitNetsDistil",
    "Hints",
    "ImpossibleError",
    "Joined",
    "Pretrain",
    "Start",
    "Teaching",
    "Work",
]

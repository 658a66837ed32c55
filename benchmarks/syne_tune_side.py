"""Syne Tune's MO-ASHA over the space of benchmarks/mnist_space.py: the tuner of one race, as its own process.

Its space is flat: what a condition would leave out is drawn all the same and not used. Results go where
SYNETUNE_FOLDER says.
"""

import argparse
from pathlib import Path

import numpy as np
from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import LocalBackend
from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

from benchmarks import mnist_space, trainable

POSITIONS = [0.25, 0.5, 0.75]
SPACE = {
    "width": lograndint(2, 16),
    "depth": randint(2, 6),
    "start": choice(["none", "hints", "pretrain"]),
    "teacher_layer": choice(POSITIONS),
    "student_layer": choice(POSITIONS),
    "temperature": loguniform(1, 20),
    "alpha": uniform(0, 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    arguments = parser.parse_args()
    np.random.seed(arguments.seed)  # MOASHA draws from the global generator
    scheduler = MOASHA(
        SPACE,
        metrics=["error", "parameters"],
        do_minimize=True,
        time_attr="epoch",
        grace_period=trainable.RUNGS[0],
        reduction_factor=3,
        max_t=mnist_space.EPOCHS,
        random_seed=arguments.seed,
    )
    tuner = Tuner(
        trial_backend=LocalBackend(entry_point=str(Path(trainable.__file__))),
        scheduler=scheduler,
        stop_criterion=StoppingCriterion(max_wallclock_time=arguments.seconds),
        n_workers=arguments.workers,
        sleep_time=0.5,  # its default of 5 s would leave workers idle
        save_tuner=False,
    )
    tuner.run()


if __name__ == "__main__":
    main()

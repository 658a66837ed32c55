"""FitNets on MNIST again: a student thinner and deeper than its teacher, alone, distilled, and hinted then distilled.

Question   The paper's student of 30,000 weights in six maxout layers errs on 1.9 % of the test images when it learns
           from the labels alone, on 0.65 % distilled, on 0.51 % after hints: less than its teacher of three layers and
           361,000 weights (0.55 %). What of that is seen again on a quarter of the images and few epochs?
Data       MNIST: 15,000 of the training images, 10,000 others for validation, the 10,000 test images. The four IDX
           files in a folder named by --data or KDSEARCH_DATA.
Papers     Romero et al. 2015 (arXiv:1412.6550), section 3.3: its own nets, its second stage (temperature 3, lambda
           falling from 4 to 1), hints from the teacher's second of three layers to the student's fourth of six.
           Unlike the paper's: Adam, no bound on the norms of weights, 8 epochs with the hints' 3 among them, and a
           teacher that learns from shifted digits, without dropout: a quarter of the images makes none otherwise.
Command    kdsearch confirm studies/mnist_fitnets.py --compare fitnets --seeds 3 --data DIR
Result     reports/mnist_fitnets/RESULTS.md
"""

from dataclasses import replace

from kdsearch import Augment, Data, Distil, FitNetsDistil, Hints, MaxoutNet, Optim, Recipe, Study, Teacher, Trial, mnist
from kdsearch.students.maxout import MNIST_STUDENT, MNIST_TEACHER

EPOCHS = 8
OPTIM = Optim(lr=2e-3, warmup_epochs=1, precision="bf16")
HINTS = Hints(epochs=3, teacher_layer=2 / 3, student_layer=2 / 3)
SCRATCH = Recipe(student=MNIST_STUDENT, distil=Distil(temperature=1, alpha=0), optim=OPTIM, epochs=EPOCHS)


def data() -> Data:
    return mnist(train=15_000)


def teacher(data: Data) -> Teacher:
    jitter = Augment(shift=2, views=10)
    return Teacher(
        build=lambda: MNIST_TEACHER.build(data.shape, data.classes), optim=OPTIM, augment=jitter, epochs=jitter.views
    )


def space(trial: Trial) -> Recipe:
    return Recipe(
        student=MaxoutNet.thin(width=trial.suggest_int("width", 4, 16), depth=trial.suggest_int("depth", 3, 6)),
        start=HINTS if trial.suggest_categorical("start", ["none", "hints"]) == "hints" else None,
        distil=FitNetsDistil(temperature=trial.suggest_float("temperature", 1, 10, log=True)),
        optim=OPTIM,
        epochs=EPOCHS,
    )


def study() -> Study:
    return Study(
        name="mnist_fitnets",
        data=data,
        teacher=teacher,
        space=space,
        trials=20,
        starts=[None, HINTS],
        comparisons={
            "fitnets": {
                "backprop alone": SCRATCH,
                "distilled": replace(SCRATCH, distil=FitNetsDistil()),
                "hints, then distilled": replace(SCRATCH, distil=FitNetsDistil(), start=HINTS),
            },
        },
        segment_epochs=4,
    )

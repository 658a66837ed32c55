"""Hinton, Vinyals and Dean's MNIST experiments again: what soft targets alone carry over to a small network.

Question   Does a net of two layers of 800 units that learns from the soft targets of a bigger one make as few errors
           as that one, though it never sees a shifted digit? Which temperature suits a narrow student, which a wide
           one? Does a student know a digit that it was never shown?
Data       MNIST: 50,000 training images, 10,000 others for validation, the 10,000 test images. The four IDX files in a
           folder named by --data or KDSEARCH_DATA.
Papers     Hinton, Vinyals, Dean 2015 (arXiv:1503.02531), section 3. The teacher (1200 units twice, dropout of 0.2 and
           0.5) learns from digits moved by up to two pixels; the students learn from the digits as they are, without
           any regularization. Unlike the paper's: no bound on the norms of weights, Adam, 50,000 images instead of all.
Command    kdsearch confirm studies/mnist_hinton.py --compare NAME --seeds N --data DIR
           with NAME one of hinton, temperatures_300, temperatures_30; then, for the digit left out,
           python -m benchmarks.omitted --data DIR
Result     reports/mnist_hinton/RESULTS.md
"""

from torch import nn

from kdsearch import MLP, Augment, Data, Distil, Optim, Recipe, Study, Teacher, Trial, mnist

TEMPERATURES = (1, 2, 4, 8)
EPOCHS = 20
TEACHER_EPOCHS = 36
# products of such small matrices are not faster in bfloat16; at a lower rate high temperatures are not done by the end
NARROW = Optim(lr=4e-3, batch_size=256)
WIDE = Optim(lr=1e-3, batch_size=256, precision="bf16")
SOFT = Distil(temperature=20, alpha=0.9)


def data() -> Data:
    return mnist()


def big_net() -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(784, 1200), nn.ReLU()),
        nn.Sequential(nn.Dropout(0.5), nn.Linear(1200, 1200), nn.ReLU()),
        nn.Sequential(nn.Dropout(0.5), nn.Linear(1200, 10)),
    )


def teacher(data: Data) -> Teacher:
    jitter = Augment(shift=2, views=TEACHER_EPOCHS)
    return Teacher(build=big_net, optim=WIDE, augment=jitter, epochs=TEACHER_EPOCHS)


def student(units: int, distil: Distil, epochs: int = EPOCHS) -> Recipe:
    optim = WIDE if units >= 300 else NARROW
    return Recipe(student=MLP(width=units, depth=2), distil=distil, optim=optim, epochs=epochs)


def temperatures(units: int, epochs: int) -> dict[str, Recipe]:
    """The paper's 20 first: what the others are compared to."""
    return {
        f"T = {value}": student(units, Distil(temperature=value, alpha=0.9), epochs) for value in (20, *TEMPERATURES)
    }


def space(trial: Trial) -> Recipe:
    distil = Distil(
        temperature=trial.suggest_float("temperature", 1, 20, log=True), alpha=trial.suggest_float("alpha", 0, 1)
    )
    return student(trial.suggest_int("width", 10, 800, log=True), distil)


def study() -> Study:
    return Study(
        name="mnist_hinton",
        data=data,
        teacher=teacher,
        space=space,
        trials=20,
        comparisons={
            "hinton": {"alone": student(800, Distil(temperature=1, alpha=0)), "distilled": student(800, SOFT)},
            "temperatures_300": temperatures(300, epochs=10),
            "temperatures_30": temperatures(30, epochs=20),
        },
    )

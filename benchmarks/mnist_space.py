"""What does a search cost beside a plain training loop?

Question   How long until the hypervolume that Optuna and a training loop have after some minutes?
Data       MNIST: 10,000 of the training images, 10,000 others for validation; the folder by --data or KDSEARCH_DATA.
Command    python -m benchmarks.vanilla --data DIR

Both sides run this very space and train alike (Adam at a constant rate, no schedule). KDSEARCH_BENCHMARK_WIDTH chooses
the teacher (32: 112,106 weights; 96: 1 million), KDSEARCH_BENCHMARK_SEED the seed, KDSEARCH_BENCHMARK_TEACHER the
file of its weights.
"""

import os

from kdsearch import ConvNet, Data, Distil, Hints, Optim, Pretrain, Recipe, Study, Teacher, Trial, mnist

EPOCHS, START_EPOCHS = 9, 3
BATCH_SIZE = 128


def data() -> Data:
    return mnist(train=10_000)


def teacher_width() -> int:
    return int(os.environ.get("KDSEARCH_BENCHMARK_WIDTH", "32"))


def teacher(data: Data) -> Teacher:
    width = teacher_width()
    return Teacher(
        build=lambda: ConvNet(width=width, depth=6).build(data.shape, data.classes),
        optim=Optim(lr=2e-3),
        epochs=9,
        weights=os.environ.get("KDSEARCH_BENCHMARK_TEACHER"),
    )


def space(trial: Trial) -> Recipe:
    student = ConvNet(width=trial.suggest_int("width", 2, 16, log=True), depth=trial.suggest_int("depth", 2, 6))
    match trial.suggest_categorical("start", ["none", "hints", "pretrain"]):
        case "hints":
            start = Hints(
                epochs=START_EPOCHS,
                teacher_layer=trial.suggest_categorical("teacher_layer", [0.25, 0.5, 0.75]),
                student_layer=trial.suggest_categorical("student_layer", [0.25, 0.5, 0.75]),
                regressor="pooled",
            )
        case "pretrain":
            start = Pretrain(epochs=START_EPOCHS)
        case _:
            start = None
    distil = Distil(
        temperature=trial.suggest_float("temperature", 1, 20, log=True), alpha=trial.suggest_float("alpha", 0, 1)
    )
    optim = Optim(lr=3e-3, schedule="constant", batch_size=BATCH_SIZE)
    return Recipe(student=student, start=start, distil=distil, optim=optim, epochs=EPOCHS)


def study() -> Study:
    seed = int(os.environ.get("KDSEARCH_BENCHMARK_SEED", "0"))
    return Study(name="vanilla", data=data, teacher=teacher, space=space, trials=10_000, seed=seed, segment_epochs=9)

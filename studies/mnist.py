"""How small can a reader of MNIST get with 10,000 training images?

Question   Which student of 150 to 30,000 weights keeps the accuracy of a network of 112,000, started and distilled how?
Data       MNIST: 10,000 of the training images to train on, 10,000 others for validation, the 10,000 test images.
           The four IDX files in a folder named by --data or KDSEARCH_DATA.
Papers     Hinton et al. 2015 (arXiv:1503.02531), FitNets (arXiv:1412.6550), Wang & Lan 2017 (arXiv:1709.02929).
Command    kdsearch run studies/mnist.py --data DIR
Result     10,360 weights, 98.43 % on test beside the teacher's 99.13 (one run, seed 0; reports/mnist/RESULTS.md)
"""

from kdsearch import ConvNet, Data, Distil, Hints, Optim, Pretrain, Recipe, Study, Teacher, Trial, mnist


def data() -> Data:
    return mnist(train=10_000)


def teacher(data: Data) -> Teacher:
    return Teacher(
        build=lambda: ConvNet(width=32, depth=6).build(data.shape, data.classes), optim=Optim(lr=2e-3), epochs=9
    )


def space(trial: Trial) -> Recipe:
    student = ConvNet(width=trial.suggest_int("width", 2, 16, log=True), depth=trial.suggest_int("depth", 2, 6))
    match trial.suggest_categorical("start", ["none", "hints", "pretrain"]):
        case "hints":
            start = Hints(
                epochs=3,
                teacher_layer=trial.suggest_categorical("teacher_layer", [0.25, 0.5, 0.75]),
                student_layer=trial.suggest_categorical("student_layer", [0.25, 0.5, 0.75]),
                regressor="pooled",
            )
        case "pretrain":
            start = Pretrain(epochs=3)
        case _:
            start = None
    distil = Distil(
        temperature=trial.suggest_float("temperature", 1, 20, log=True), alpha=trial.suggest_float("alpha", 0, 1)
    )
    return Recipe(student=student, start=start, distil=distil, optim=Optim(lr=1e-2), epochs=9)


def study() -> Study:
    return Study(
        name="mnist",
        data=data,
        teacher=teacher,
        space=space,
        trials=20,
        first=[{"width": width, "depth": 4, "start": "none", "temperature": 4.0, "alpha": 0.9} for width in (6, 3, 12)],
        starts=[None, Hints(epochs=3, regressor="pooled"), Pretrain(epochs=3)],
        segment_epochs=3,
    )

"""How small can a digit reader get?

Question   Which convolutional student, started and distilled how, keeps the accuracy of a network of 230,000 weights?
Data       1,797 real handwritten digits of 8x8 pixels that ship inside scikit-learn (1,077 / 360 / 360).
Papers     Hinton et al. 2015 (arXiv:1503.02531), FitNets (arXiv:1412.6550), Wang & Lan 2017 (arXiv:1709.02929).
Command    kdsearch run studies/digits.py
Result     2,573 weights, 98.7 % on test over five fresh seeds; alone 98.4: unclear what the teacher gave
           (reports/digits/RESULTS.md)
"""

from kdsearch import ConvNet, Data, Distil, Hints, Optim, Pretrain, Recipe, Study, Teacher, Trial, digits


def data() -> Data:
    return digits()


def teacher(data: Data) -> Teacher:
    return Teacher(
        build=lambda: ConvNet(width=48, depth=5).build(data.shape, data.classes), optim=Optim(lr=2e-3), epochs=30
    )


def space(trial: Trial) -> Recipe:
    student = ConvNet(width=trial.suggest_int("width", 2, 16, log=True), depth=trial.suggest_int("depth", 2, 6))
    match trial.suggest_categorical("start", ["none", "hints", "pretrain"]):
        case "hints":
            start = Hints(
                epochs=5,
                teacher_layer=trial.suggest_categorical("teacher_layer", [0.25, 0.5, 0.75]),
                student_layer=trial.suggest_categorical("student_layer", [0.25, 0.5, 0.75]),
                regressor=trial.suggest_categorical("regressor", ["conv", "pooled"]),
            )
        case "pretrain":
            start = Pretrain(epochs=trial.suggest_int("pretrain_epochs", 5, 10, step=5))
        case _:
            start = None
    distil = Distil(
        temperature=trial.suggest_float("temperature", 1, 20, log=True), alpha=trial.suggest_float("alpha", 0, 1)
    )
    return Recipe(student=student, start=start, distil=distil, optim=Optim(lr=1e-2, batch_size=64), epochs=25)


def study() -> Study:
    return Study(
        name="digits",
        data=data,
        teacher=teacher,
        space=space,
        trials=40,
        # three sizes of the setting that is known to do well nearly everywhere
        first=[{"width": width, "depth": 4, "start": "none", "temperature": 4.0, "alpha": 0.9} for width in (6, 3, 12)],
        # what `kdsearch confirm digits --compare start` compares
        starts=[None, Hints(epochs=5, regressor="pooled"), Pretrain(epochs=5)],
    )

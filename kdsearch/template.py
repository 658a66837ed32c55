"""The study file that `kdsearch new` writes: runs as it is, and says what to change."""

import re

_TEXT = '''"""What question does this study answer?

Question   How small can a reader of these images get before it loses a point?
Data       Which, how many examples, how split.
Papers     Hinton et al. 2015 (arXiv:1503.02531); FitNets (arXiv:1412.6550); Wang & Lan 2017 (arXiv:1709.02929).
Command    kdsearch run {file}.py
Result     Write here what came out, with seeds and spread.
"""

from kdsearch import ConvNet, Data, Distil, Hints, Optim, Pretrain, Recipe, Study, Teacher, Trial, digits


def data() -> Data:
    # digits() ships with the install. Yours: mnist(), fashion_mnist(), idx() find their files in --data DIR,
    # image_folder("pictures") takes a folder a class, arrays("mine.npz") x and y (or x_train, y_train, x_test, y_test).
    return digits()


def teacher(data: Data) -> Teacher:
    # Trained once and kept. Give weights="teacher.safetensors" to bring your own; build is any torch.nn.Module.
    # A list of teachers is an ensemble.
    return Teacher(
        build=lambda: ConvNet(width=32, depth=5).build(data.shape, data.classes),
        optim=Optim(lr=2e-3),
        epochs=20,
    )


def space(trial: Trial) -> Recipe:
    # Runs once per trial, so conditions are plain Python. It must depend on nothing but what it suggests.
    # Families: ConvNet, ResNet, MobileNet, MaxoutNet.thin, ViT, MLP, TextConvNet, TextTransformer, or a frozen
    # dataclass of your own with build(in_shape, classes).
    student = ConvNet(
        width=trial.suggest_int("width", 2, 16, log=True),
        depth=trial.suggest_int("depth", 2, 6),
    )
    # How the student starts. Its epochs are part of the recipe's epochs below: every start has the same budget.
    match trial.suggest_categorical("start", ["none", "hints", "pretrain"]):
        case "hints":
            start = Hints(
                epochs=5,
                teacher_layer=trial.suggest_categorical("teacher_layer", [0.25, 0.5, 0.75]),  # relative depth
                student_layer=trial.suggest_categorical("student_layer", [0.25, 0.5, 0.75]),
                regressor="pooled",  # or "conv", the paper's
            )
        case "pretrain":
            start = Pretrain(epochs=5)
        case _:
            start = None
    return Recipe(
        student=student,
        start=start,
        distil=Distil(
            temperature=trial.suggest_float("temperature", 1, 20, log=True),
            alpha=trial.suggest_float("alpha", 0, 1),  # weight of the teacher's term; the labels get 1 - alpha
        ),
        optim=Optim(lr=trial.suggest_float("lr", 2e-3, 2e-2, log=True)),
        epochs=25,
    )


def study() -> Study:
    return Study(
        name="{name}",
        data=data,
        teacher=teacher,
        space=space,
        trials=40,  # in all; running again with more continues
        sampler="size_aware",  # or "tpe", "nsga2", "random", or any Optuna sampler
        # objectives=("accuracy", "parameters"),  also: macro_f1, macs, size_kb, latency_ms
        # max_parameters=20_000,  proposals above are screened before any training
        # starts=[None, Hints(epochs=5, regressor="pooled"), Pretrain(epochs=5)],  for kdsearch confirm --compare start
        # first=[{{"width": 6, "depth": 4, "start": "none", "temperature": 4.0, "alpha": 0.9, "lr": 0.01}}],
    )
'''


def study_file(stem: str) -> str:
    """The text of a study file named after `stem`."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", stem).lstrip("._-")[:64] or "study"
    return _TEXT.format(file=stem, name=name)

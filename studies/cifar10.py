"""The founding demo, with its controls: how much of a teacher's accuracy on CIFAR-10 does a student of 8 % of its size
keep, and what of that is distillation's?

Question   The demo that kdsearch descends from: a teacher of 69 %, a student of 68 % with 92 % fewer parameters, and no
           figure for that student alone. Here the teacher is the textbooks' network for this data set, two
           pairs of convolutions and a fully connected layer that holds most of its 3.3 million weights, in batch norm;
           students are residual or plain convolutional nets of up to 8 % of its size. Every student trains for as many
           epochs as the teacher, on the same views.
Data       CIFAR-10 as JPEG pictures, `cifar10-images.zip` in the folder named by --data or KDSEARCH_DATA: lossy, so
           that no accuracy here may be compared with a published one.
Papers     Hinton et al. 2015 (arXiv:1503.02531), FitNets (arXiv:1412.6550), Wang & Lan 2017 (arXiv:1709.02929).
Command    kdsearch confirm studies/cifar10.py --compare convnet-36 --data DIR    the claim itself
           kdsearch run studies/cifar10.py --data DIR                             the whole search, confirmed
Result     The claim is missed at 12 epochs: 7.6 % of the teacher's size has 82.5 % distilled and 83.0 % alone, the
           teacher 84.4 (reports/cifar10/RESULTS.md)
"""

from torch import nn

from kdsearch import (
    Augment,
    ConvNet,
    Data,
    Distil,
    Hints,
    Optim,
    Pretrain,
    Recipe,
    ResNet,
    Student,
    Study,
    Teacher,
    Trial,
    cifar10_jpeg,
)

EPOCHS = 12
# each epoch has a view of its own, that of the same number for the teacher and all students
VIEWS = Augment(shift=4, flip=True, views=EPOCHS)
OPTIM = Optim(lr=1e-2, warmup_epochs=1, precision="bf16")
STARTS = [None, Hints(epochs=2, teacher_layer=0.5, student_layer=0.5, regressor="pooled"), Pretrain(epochs=2)]


def data() -> Data:
    return cifar10_jpeg(validation=5_000)


def textbook_net() -> nn.Module:
    def convolution(channels: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]

    return nn.Sequential(
        nn.Sequential(*convolution(3, 48)),
        nn.Sequential(*convolution(48, 48), nn.MaxPool2d(2)),
        nn.Sequential(*convolution(48, 96)),
        nn.Sequential(*convolution(96, 96), nn.MaxPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Linear(96 * 8 * 8, 512), nn.ReLU()),
        nn.Linear(512, 10),
    )


def teacher(data: Data) -> Teacher:
    # its fully connected layer needs the weight decay
    optim = Optim(name="sgd", lr=0.05, weight_decay=5e-4, warmup_epochs=2, precision="bf16")
    return Teacher(build=textbook_net, optim=optim, augment=VIEWS, epochs=EPOCHS)


def space(trial: Trial) -> Recipe:
    match trial.suggest_categorical("family", ["resnet", "convnet"]):
        case "resnet":
            student = ResNet(width=trial.suggest_int("resnet_width", 8, 28, log=True), depth=3)
        case _:
            student = ConvNet(
                width=trial.suggest_int("width", 16, 50, log=True), depth=trial.suggest_int("depth", 3, 6)
            )
    start = {"none": STARTS[0], "hints": STARTS[1], "pretrain": STARTS[2]}[
        trial.suggest_categorical("start", ["none", "hints", "pretrain"])
    ]
    return Recipe(
        student=student,
        start=start,
        distil=Distil(
            temperature=trial.suggest_float("temperature", 1, 16, log=True), alpha=trial.suggest_float("alpha", 0.1, 1)
        ),
        optim=OPTIM,
        augment=VIEWS,
        epochs=EPOCHS,
    )


def claim(student: Student) -> dict[str, Recipe]:
    """The student alone and distilled by the setting that is known to do well nearly everywhere."""
    soft, hard = Distil(temperature=4.0, alpha=0.9), Distil(temperature=1.0, alpha=0.0)
    return {
        label: Recipe(student=student, distil=distil, optim=OPTIM, augment=VIEWS, epochs=EPOCHS)
        for label, distil in {"alone": hard, "distilled, T = 4, alpha = 0.9": soft}.items()
    }


def study() -> Study:
    return Study(
        name="cifar10",
        data=data,
        teacher=teacher,
        space=space,
        trials=8,
        first=[
            {"family": "convnet", "width": width, "depth": 5, "start": "none", "temperature": 4.0, "alpha": 0.9}
            for width in (36, 24)
        ],
        starts=STARTS,
        comparisons={
            **{f"convnet-{width}": claim(ConvNet(width=width, depth=5)) for width in (50, 36, 24)},
            **{f"resnet-{width}": claim(ResNet(width=width, depth=3)) for width in (28, 24, 16)},
        },
        max_parameters=264_000,
        segment_epochs=4,
    )

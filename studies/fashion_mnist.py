"""Which small network tells clothes apart, and does its teacher help it?

Question   Fashion-MNIST with 10,000 training images: three families of students, any temperature, alpha and start. What
           does the search's best keep of its teacher on fresh seeds, what does the same student reach without one, and
           by how much did the search overstate it?
Data       Fashion-MNIST: 10,000 of the training images, 10,000 others for validation, the 10,000 test images. The four
           IDX files in a folder named by --data or KDSEARCH_DATA.
Papers     Xiao et al. 2017 (arXiv:1708.07747); the list of submitted results on the data set's page has a net of two
           convolutional layers and 113,000 weights at 92.2 % on all 60,000 images. Hinton et al. 2015
           (arXiv:1503.02531), FitNets (arXiv:1412.6550), Wang & Lan 2017 (arXiv:1709.02929).
Command    kdsearch run studies/fashion_mnist.py --data DIR
Result     reports/fashion_mnist/RESULTS.md
"""

from kdsearch import (
    Augment,
    ConvNet,
    Data,
    Distil,
    Hints,
    MobileNet,
    Optim,
    Pretrain,
    Recipe,
    ResNet,
    Study,
    Teacher,
    Trial,
    fashion_mnist,
)

EPOCHS = 7
# depthwise convolutions are slower in bfloat16
EXACT = Optim(lr=1e-2)
FAST = Optim(lr=1e-2, precision="bf16")
HINTS = Hints(epochs=2, teacher_layer=0.5, student_layer=0.5, regressor="pooled")
PRETRAIN = Pretrain(epochs=2)


def data() -> Data:
    return fashion_mnist(train=10_000)


def teacher(data: Data) -> Teacher:
    return Teacher(
        build=lambda: ConvNet(width=32, depth=6).build(data.shape, data.classes),
        optim=Optim(lr=2e-3, precision="bf16"),
        augment=Augment(flip=True, shift=1, views=10),
        epochs=10,
    )


def space(trial: Trial) -> Recipe:
    optim = FAST
    match trial.suggest_categorical("family", ["convnet", "resnet", "mobilenet"]):
        case "convnet":
            student = ConvNet(width=trial.suggest_int("width", 3, 10, log=True), depth=trial.suggest_int("depth", 3, 4))
        case "resnet":
            student = ResNet(width=trial.suggest_int("resnet_width", 3, 6, log=True), depth=3)
        case _:
            student = MobileNet(
                width=trial.suggest_int("mobile_width", 4, 8, log=True), depth=trial.suggest_int("mobile_depth", 3, 5)
            )
            optim = EXACT
    starts = {"none": None, "hints": HINTS, "pretrain": PRETRAIN}
    return Recipe(
        student=student,
        start=starts[trial.suggest_categorical("start", list(starts))],
        distil=Distil(
            temperature=trial.suggest_float("temperature", 1, 20, log=True), alpha=trial.suggest_float("alpha", 0, 1)
        ),
        optim=optim,
        epochs=EPOCHS,
    )


def study() -> Study:
    return Study(
        name="fashion_mnist",
        data=data,
        teacher=teacher,
        space=space,
        trials=12,
        first=[
            {"family": "convnet", "width": width, "depth": 4, "start": "none", "temperature": 4.0, "alpha": 0.9}
            for width in (10, 5)
        ],
        starts=[None, HINTS, PRETRAIN],
        segment_epochs=4,
    )

"""Which recipes distil well into networks for 8x8 digits?

Question   What do schedulers and samplers have to choose from? The study that benchmarks/digits.csv.gz is a record of.
Data       1,797 real handwritten digits of 8x8 pixels that ship inside scikit-learn (1,077 / 360 / 360).
Command    python -m benchmarks.make_table
"""

from kdsearch import ConvNet, Data, Distil, Hints, Optim, Pretrain, Recipe, Study, Teacher, Trial, digits

EPOCHS, START_EPOCHS = 27, 9  # rungs at 1/9 and 1/3 of either distil stage (27 or 18 epochs) are whole epochs


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
    optim = Optim(lr=trial.suggest_float("lr", 1e-3, 3e-2, log=True), batch_size=64)
    return Recipe(student=student, start=start, distil=distil, optim=optim, epochs=EPOCHS)


def study() -> Study:
    return Study(name="digits-table", data=data, teacher=teacher, space=space, sampler="random", trials=600, first=[])

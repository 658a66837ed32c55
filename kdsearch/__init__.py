"""kdsearch finds the small network worth shipping: it searches student architectures together with their distillation.

The public names below are imported when they are first used: `import kdsearch` costs nothing, and `kdsearch.load`
needs torch and safetensors alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdsearch.api import confirm_study, open_study, run, status, studies
    from kdsearch.choice import Limits
    from kdsearch.comparing import compare_students
    from kdsearch.data import Augment, Augmentation, Data, Split, cifar10, cifar10_jpeg, cifar100, download, drawn
    from kdsearch.data.arrays import arrays  # where a function is called like its module, from there: mypy asks for it
    from kdsearch.data.dataset import from_dataset
    from kdsearch.data.digits import digits
    from kdsearch.data.idx import fashion_mnist, idx, mnist
    from kdsearch.data.images import image_folder
    from kdsearch.data.sequences import tokens
    from kdsearch.mistakes import Mistake
    from kdsearch.predicting import predict
    from kdsearch.recipe import Recipe
    from kdsearch.repetition import train_recipe
    from kdsearch.reporting import write_report
    from kdsearch.results import Results
    from kdsearch.saved import load
    from kdsearch.space import Trial
    from kdsearch.stages import Distil, FitNetsDistil, Hints, Pretrain
    from kdsearch.students import MLP, ConvNet, MaxoutNet, MobileNet, ResNet, Student, TextConvNet, TextTransformer, ViT
    from kdsearch.study import Study
    from kdsearch.taking import export_front, export_student
    from kdsearch.teacher import Teacher
    from kdsearch.training import Optim
    from kdsearch.upkeep.deleting import delete_study
    from kdsearch.upkeep.doctor import diagnose
    from kdsearch.upkeep.garbage import collect_garbage
    from kdsearch.upkeep.packing import archive_study
    from kdsearch.upkeep.restoring import restore_study

_HOMES = {
    "kdsearch.api": (
        "confirm_study",
        "open_study",
        "run",
        "status",
        "studies",
    ),
    "kdsearch.choice": ("Limits",),
    "kdsearch.comparing": ("compare_students",),
    "kdsearch.data": (
        *("Augment", "Augmentation", "Data", "Split"),
        *("arrays", "cifar10", "cifar100", "cifar10_jpeg", "digits", "download", "drawn", "fashion_mnist"),
        *("from_dataset", "idx", "image_folder", "mnist", "tokens"),
    ),
    "kdsearch.mistakes": ("Mistake",),
    "kdsearch.predicting": ("predict",),
    "kdsearch.recipe": ("Recipe",),
    "kdsearch.repetition": ("train_recipe",),
    "kdsearch.reporting": ("write_report",),
    "kdsearch.results": ("Results",),
    "kdsearch.saved": ("load",),
    "kdsearch.space": ("Trial",),
    "kdsearch.stages": ("Distil", "FitNetsDistil", "Hints", "Pretrain"),
    "kdsearch.students": (
        *("MLP", "ConvNet", "MaxoutNet", "MobileNet", "ResNet", "Student"),
        *("TextConvNet", "TextTransformer", "ViT"),
    ),
    "kdsearch.study": ("Study",),
    "kdsearch.taking": ("export_front", "export_student"),
    "kdsearch.teacher": ("Teacher",),
    "kdsearch.training": ("Optim",),
    "kdsearch.upkeep.deleting": ("delete_study",),
    "kdsearch.upkeep.doctor": ("diagnose",),
    "kdsearch.upkeep.garbage": ("collect_garbage",),
    "kdsearch.upkeep.packing": ("archive_study",),
    "kdsearch.upkeep.restoring": ("restore_study",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = [
    "MLP",
    "Augment",
    "Augmentation",
    "ConvNet",
    "Data",
    "Distil",
    "FitNetsDistil",
    "Hints",
    "Limits",
    "MaxoutNet",
    "Mistake",
    "MobileNet",
    "Optim",
    "Pretrain",
    "Recipe",
    "ResNet",
    "Results",
    "Split",
    "Student",
    "Study",
    "Teacher",
    "TextConvNet",
    "TextTransformer",
    "Trial",
    "ViT",
    "archive_study",
    "arrays",
    "cifar10",
    "cifar10_jpeg",
    "cifar100",
    "collect_garbage",
    "compare_students",
    "confirm_study",
    "delete_study",
    "diagnose",
    "digits",
    "download",
    "drawn",
    "export_front",
    "export_student",
    "fashion_mnist",
    "from_dataset",
    "idx",
    "image_folder",
    "load",
    "mnist",
    "open_study",
    "predict",
    "restore_study",
    "run",
    "status",
    "studies",
    "tokens",
    "train_recipe",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'kdsearch' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)

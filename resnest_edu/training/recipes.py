"""The recipes by name, a row each, and beside them their command, their cost and what to expect of them.

The paper's recipe is written out once, in :data:`IMAGENET`; what its text leaves open follows the authors' MXNet code,
which trained the published weights.
"""

from typing import Any

from resnest_edu.arguments import require_one_of
from resnest_edu.network.weights import PUBLISHED
from resnest_edu.training.recipe import Recipe

IMAGENET: dict[str, Any] = {
    "epochs": 270,
    "base_rate": 0.1,
    "warmup_epochs": 5.0,
    "weight_decay": 1e-4,
    "label_smoothing": 0.1,
    "smoothing": "others",
    "mixup": 0.2,
    "mix_per": "example",
    "crop": 0.08,
    "policy": "autoaugment",
    "color_jitter": 0.4,
    "lighting": 0.1,
    "dropblock": 0.1,
}
"""What the paper's recipes have in common, from its sections 4.2 and 5.1; how much is smoothed and dropped, from the
MXNet code. Both released codes have ``smoothing="all"`` and
``mix_per="batch"`` instead, and the PyTorch code ``policy="randaugment"`` and no DropBlock."""

_CIFAR: dict[str, Any] = {
    "model": "resnest29_cifar",
    "image_size": 32,
    "batch_size": 512,
    "base_rate": 0.2,
    "weight_decay": 5e-4,
    "shift": 4,
}
# Dropout in both as in the MXNet code; the text has it for networks of more than 200 layers.
_LARGE: dict[str, Any] = {"batch_size": 2048, "dropout": 0.2}

RECIPES: dict[str, Recipe] = {
    "shapes": Recipe(
        model="resnest11_small",
        image_size=32,
        epochs=3,
        batch_size=64,
        base_rate=3.0,
        warmup_epochs=0.5,
        weight_decay=1e-3,
        shift=2,
    ),
    "finetune": Recipe(
        model="resnest50",
        image_size=224,
        epochs=8,
        batch_size=32,
        base_rate=0.1,
        warmup_epochs=1.0,
        crop=0.35,
    ),
    "cifar10-quick": Recipe(epochs=15, warmup_epochs=3.0, ema=0.99, **_CIFAR),
    "cifar10": Recipe(epochs=60, warmup_epochs=5.0, mixup=0.2, ema=0.999, **_CIFAR),
    # Sizes in training, by the commands that the authors published with GluonCV (dmlc/web-data, gluoncv/logs/
    # classification/imagenet/resnest*.sh). Three of the networks are tested at larger ones: PUBLISHED has them.
    "imagenet-resnest50": Recipe(model="resnest50", image_size=224, batch_size=8192, **IMAGENET),
    "imagenet-resnest101": Recipe(model="resnest101", image_size=224, batch_size=4096, **IMAGENET),
    "imagenet-resnest200": Recipe(model="resnest200", image_size=256, **IMAGENET, **_LARGE),
    "imagenet-resnest269": Recipe(model="resnest269", image_size=320, **IMAGENET, **_LARGE),
}

_RUN = "python -m resnest_edu.training --recipe"
_IMAGENET = """on ImageNet by the paper's recipe.

Command, on each of eight machines with eight GPUs: TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --nnodes=8
--nproc-per-node=8 --max-restarts=10 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 -m resnest_edu.training
--recipe imagenet-resnest{} --compile --data FOLDER --out FOLDER --resume
Cost: the chapter "Comparing blocks, and scaling up" works it out by arithmetic. It has not been run here.
Expected: {} % top-1"""

ABOUT: dict[str, str] = {
    "shapes": f"""The embedded shapes, drawn on the spot; with --data any folder of small images.

Command: {_RUN} shapes --out runs/shapes
Cost: under a minute on two CPU cores.
Expected: about 99 % test accuracy; ten seeds stand in book/results/shapes_seeds.json.""",
    "finetune": f"""Your own images, also few of them, by a network that knows others.

Command: {_RUN} finetune --weights resnest50 --data FOLDER --out runs/mine
Small: the same with --weights FILE --model resnest11_small --image-size 32 --crop 0 --shift 4 --base-rate 0.8
Cost: 8 epochs of your images; the small network takes minutes of a CPU.
Expected: book/results/fine_tuning.json has the small one, at either rate and against training from scratch. The rate of
the recipe is for published weights, and a guess to begin with.""",
    "cifar10-quick": f"""CIFAR-10 for a first look, and for the race to 90.7 %.

Command: {_RUN} cifar10-quick --data FOLDER --compile --out runs/cifar10-quick
Cost and result: book/results/time_to_907.json, once it is recorded.""",
    "cifar10": f"""CIFAR-10, made for about two minutes of an H200.

Command: {_RUN} cifar10 --data FOLDER --compile --out runs/cifar10
Cost and result: book/results/best.json, once it is recorded.""",
    "imagenet-resnest50": "ResNeSt-50 "
    + _IMAGENET.format(50, "81.13")
    + f" (the paper, at 224 pixels); the released file has {PUBLISHED['resnest50'].top1} %.",
    **{
        f"imagenet-resnest{depth}": f"ResNeSt-{depth} {_IMAGENET.format(depth, released.top1)} (the released file, "
        f"tested at {released.image_size} pixels)."
        for depth, released in ((depth, PUBLISHED[f"resnest{depth}"]) for depth in (101, 200, 269))
    },
}
"""What a recipe is for, its command, its cost, and what to expect of it as it stands."""


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: there is none.

    Example:
        >>> from resnest_edu.training import RECIPES, get_recipe
        >>> get_recipe("shapes").epochs, list(RECIPES)[:3]
        (3, ['shapes', 'finetune', 'cifar10-quick'])
    """
    require_one_of("recipe", name, RECIPES)
    return RECIPES[name]

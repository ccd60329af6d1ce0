"""A recipe: every number that decides how a network is trained, in one typed, checked place."""

from dataclasses import dataclass

from torch import nn

from resnest_edu.arguments import require_in_range, require_positive_int
from resnest_edu.resnest import VARIANTS


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        model: a name from :func:`resnest_edu.list_models`.
        image_size: side of the training images in pixels.
        epochs: passes over the training images.
        batch_size: images a step, B.
        base_rate: learning rate at a batch of 256; the peak is ``base_rate`` · B / 256, the linear scaling of
            arXiv:1706.02677.
        warmup_epochs: epochs of linear warm-up; may be a fraction.
        momentum: of stochastic gradient descent, in Nesterov's form.
        weight_decay: on convolution and dense weights only.
        label_smoothing: ε of arXiv:1512.00567, with ε/classes on every class.
        flip: mirror every other training image, at random, left to right.
        shift: move each training image by up to this many pixels, at random, repeating its border.

    Raises:
        ValueError: a number is out of range or the model unknown.
    """

    model: str
    image_size: int
    epochs: int
    batch_size: int
    base_rate: float
    warmup_epochs: float
    momentum: float = 0.9
    weight_decay: float = 1e-4
    label_smoothing: float = 0.1
    flip: bool = True
    shift: int = 0

    def __post_init__(self) -> None:
        if self.model not in VARIANTS:
            raise ValueError(f"model (={self.model!r}) must be one of {', '.join(VARIANTS)}")
        require_positive_int(image_size=self.image_size, epochs=self.epochs, batch_size=self.batch_size)
        if self.batch_size < 2:
            raise ValueError(f"batch_size (={self.batch_size}) must be at least 2 for batch norm to train")
        require_in_range("base_rate", self.base_rate, 0, open_low=True)
        require_in_range("warmup_epochs", self.warmup_epochs, 0)
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs (={self.warmup_epochs}) must be below epochs (={self.epochs})")
        require_in_range("momentum", self.momentum, 0, 1)
        require_in_range("weight_decay", self.weight_decay, 0)
        require_in_range("label_smoothing", self.label_smoothing, 0, 1)
        require_in_range("shift", self.shift, 0, self.image_size)

    @property
    def peak_rate(self) -> float:
        """The learning rate at the end of the warm-up."""
        return self.base_rate * self.batch_size / 256


RECIPES: dict[str, Recipe] = {
    # The embedded shapes, or with --data any folder of small images.
    #     python -m resnest_edu.training --recipe shapes --out runs/shapes
    # Cost and result over five seeds: book/results/shapes_seeds.json.
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
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe (={name!r}) must be one of {', '.join(RECIPES)}")
    return RECIPES[name]


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Split the parameters: decay on the weights of convolutions and dense layers, none on anything else.

    What a parameter is, is told by its module, not by its name: the rule by name in the released code misses
    batch norms that sit inside a ``Sequential``.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_weight = name == "weight" and isinstance(module, nn.Conv2d | nn.Linear)
            (decayed if is_weight else free).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]

"""A recipe: every number that decides how a network is trained, in one typed, checked place."""

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from torch import nn

from resnest_edu.arguments import plain, require_in_range, require_one_of, require_positive_int, require_probability
from resnest_edu.network.resnest import VARIANTS, ResNeSt, create_model

Smoothing = Literal["all", "others"]
MixPer = Literal["batch", "example"]
Policy = Literal["none", "autoaugment", "randaugment"]
Optimizer = Literal["sgd", "adamw"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class BaseRecipe:
    """What every recipe says, whatever the network is to learn.

    Attributes:
        model: a name from :func:`resnest_edu.list_models`.
        image_size: side of the training images in pixels.
        epochs: passes over the training images. A run that goes on may be given more than it had: its rate then jumps
            from where the shorter schedule has brought it to where the longer one has it at that step.
        batch_size: images a step, B; of all processes together where there are several.
        base_rate: learning rate at a batch of 256; the peak is ``base_rate`` · B / 256, the linear scaling of
            arXiv:1706.02677.
        warmup_epochs: epochs of linear warm-up; may be a fraction.
        optimizer: ``"sgd"``, stochastic gradient descent with Nesterov's momentum, or ``"adamw"`` (arXiv:1711.05101),
            whose rates are some ten to a hundred times smaller.
        momentum: of the gradients' mean.
        weight_decay: on convolution and dense weights only.
        flip: mirror every other training image, at random, left to right.
        dropblock: probability of DropBlock in the last two stages at the end of training; it grows from 0 in
            proportion to the step.
        stochastic_depth: probability that the last block's branch is skipped.
        ema: decay of a moving average of the weights, which is then what is measured and used, say 0.999.
        precision: of convolutions and dense layers, in training and in measuring. ``"float16"`` scales the loss
            (arXiv:1710.03740); ``"auto"`` is ``"bfloat16"`` on CUDA, ``"float16"`` on cards that lack it, and
            ``"float32"`` elsewhere.
        accumulate: micro-batches a step, one after the other, where memory is short: the gradient is that of the whole
            batch, but batch norm, mixup and CutMix see a micro-batch.
        task: what the network learns.

    Raises:
        ValueError: a number is out of range, the model unknown.
    """

    model: str
    image_size: int
    epochs: int
    batch_size: int
    base_rate: float
    warmup_epochs: float
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    flip: bool = True
    dropblock: float = 0.0
    stochastic_depth: float = 0.0
    ema: float = 0.0
    precision: Precision = "auto"
    accumulate: int = 1
    task: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):  # NumPy's numbers as Python's, which every file takes
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        require_one_of("model", self.model, VARIANTS)
        require_positive_int(image_size=self.image_size, epochs=self.epochs, batch_size=self.batch_size)
        require_positive_int(accumulate=self.accumulate)
        if self.batch_size < 2:
            raise ValueError(f"batch_size (={self.batch_size}) must be at least 2 for batch norm to train")
        if self.accumulate > self.batch_size // 2:
            raise ValueError(f"accumulate (={self.accumulate}) must be at most half of batch_size (={self.batch_size})")
        require_in_range("base_rate", self.base_rate, 0, open_low=True)
        require_in_range("warmup_epochs", self.warmup_epochs, 0)
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs (={self.warmup_epochs}) must be below epochs (={self.epochs}); 0 is none")
        require_one_of("optimizer", self.optimizer, get_args(Optimizer))
        require_one_of("precision", self.precision, get_args(Precision))
        require_in_range("weight_decay", self.weight_decay, 0)
        require_in_range("momentum", self.momentum, 0, 1)
        require_probability(dropblock=self.dropblock, stochastic_depth=self.stochastic_depth, ema=self.ema)
        require_one_of("task", self.task, [type(self).task])

    @property
    def peak_rate(self) -> float:
        """The learning rate at the end of the warm-up."""
        return self.base_rate * self.batch_size / 256

    def build(self, num_classes: int) -> nn.Module:
        """The recipe's network with fresh weights."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Recipe(BaseRecipe):
    """How to train a network to classify images. What is 0 by default is off by default.

    The attributes of :class:`BaseRecipe`, and besides:

    Attributes:
        label_smoothing: ε of arXiv:1512.00567.
        smoothing: who gets it. ``"all"``: each of n classes ε/n, as in that paper, PyTorch and both released codes
            of ResNeSt; ``"others"``: every class but the true one ε/(n - 1), as in ResNeSt's paper.
        mixup: α of mixup (arXiv:1710.09412): two images are mixed by λ ~ Beta(α, α).
        mix_per: one λ for a ``"batch"``, as in both released codes, or for each ``"example"``, as in the paper.
        cutmix: α of CutMix (arXiv:1905.04899). With ``mixup`` too, each batch gets one or the other, as a coin decides.
        shift: move each training image by up to this many pixels, at random, repeating its border.
        crop: cut a part out of each training image, of between this share of its area and the whole, and resize it
            (arXiv:1409.4842). Images are then read anew in every epoch.
        policy: AutoAugment (arXiv:1805.09501) or RandAugment (arXiv:1909.13719), as in torchvision.
        color_jitter: by what share brightness, contrast and saturation may change; needs ``crop``.
        lighting: standard deviation of the noise along the principal components of colour; needs ``crop``.
        dropout: probability of dropout before the last layer.

    Raises:
        ValueError: a number is out of range, a choice or the model unknown.

    Example:
        >>> from dataclasses import replace
        >>> from resnest_edu.training import get_recipe
        >>> recipe = replace(get_recipe("cifar10"), epochs=30, mixup=0.0, cutmix=1.0)
        >>> recipe.cutmix, recipe.label_smoothing, recipe.model
        (1.0, 0.1, 'resnest29_cifar')
        >>> replace(recipe, lighting=0.1)
        Traceback (most recent call last):
        ValueError: lighting (=0.1) must be 0 without a crop (=0), with which it comes
    """

    label_smoothing: float = 0.1
    smoothing: Smoothing = "all"
    mixup: float = 0.0
    mix_per: MixPer = "batch"
    cutmix: float = 0.0
    shift: int = 0
    crop: float = 0.0
    policy: Policy = "none"
    color_jitter: float = 0.0
    lighting: float = 0.0
    dropout: float = 0.0
    task: str = "classification"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mixup", "cutmix", "color_jitter", "lighting"):
            require_in_range(name, getattr(self, name), 0)
        for name in ("label_smoothing", "crop"):
            require_in_range(name, getattr(self, name), 0, 1)
        require_in_range("shift", self.shift, 0, self.image_size)
        for name, choices in (("smoothing", Smoothing), ("mix_per", MixPer), ("policy", Policy)):
            require_one_of(name, getattr(self, name), get_args(choices))
        for name in ("color_jitter", "lighting"):
            if getattr(self, name) and not self.crop:
                raise ValueError(f"{name} (={getattr(self, name)}) must be 0 without a crop (=0), with which it comes")
        require_probability(dropout=self.dropout)

    def build(self, num_classes: int) -> ResNeSt:
        """The recipe's network with fresh weights, its regularization included."""
        options: dict[str, Any] = {name: getattr(self, name) for name in ("dropout", "dropblock", "stochastic_depth")}
        return create_model(self.model, num_classes, **options)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Split the parameters: decay on the weights of convolutions and dense layers, none on anything else.

    What a parameter is, is told by its module: the rule by name in the released PyTorch code misses batch norms that
    sit inside a ``Sequential``.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for module in model.modules():
        multiplies = isinstance(module, nn.Conv2d | nn.Linear)
        for name, parameter in module.named_parameters(recurse=False):
            is_weight = multiplies and name == "weight"
            (decayed if is_weight else free).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]

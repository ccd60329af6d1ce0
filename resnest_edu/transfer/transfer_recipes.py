"""Recipes for detection and segmentation, by name, a row each.

They are trained by the loop, the schedule and the checkpoints of :mod:`resnest_edu.training`.
"""

from dataclasses import dataclass
from typing import Any, get_args

from torch import nn

from resnest_edu.arguments import require_in_range, require_one_of, require_positive_int
from resnest_edu.training.recipe import BaseRecipe
from resnest_edu.transfer.backbone import Norm, Pyramid, StageBackbone, create_backbone
from resnest_edu.transfer.detection import KINDS, create_detector
from resnest_edu.transfer.segmentation import create_segmenter


@dataclass(frozen=True, kw_only=True)
class TransferRecipe(BaseRecipe):
    """What the two have in common: the attributes of :class:`~resnest_edu.training.BaseRecipe`, and besides

    Attributes:
        norm: batch norm of the backbone: ``"trained"``, ``"frozen"`` or ``"synchronized"``; see
            :class:`~resnest_edu.transfer.StageBackbone`.
        frozen_stages: how many of stem, first stage, second stage, … are not trained; see there.
        train_scenes: how many of the embedded scenes to train on, where there is no folder.
        test_scenes: how many others to test on.
    """

    norm: Norm = "trained"
    frozen_stages: int = 0
    train_scenes: int = 2000
    test_scenes: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("norm", self.norm, get_args(Norm))
        require_in_range("frozen_stages", self.frozen_stages, 0)
        require_positive_int(train_scenes=self.train_scenes, test_scenes=self.test_scenes)

    def build_on(self, backbone: StageBackbone, num_classes: int) -> nn.Module:
        """The recipe's network on a given backbone."""
        raise NotImplementedError

    def backbone(self, output_stride: int = 32) -> StageBackbone:
        """The recipe's backbone with fresh weights; for ``output_stride`` see
        :func:`~resnest_edu.transfer.create_backbone`."""
        return create_backbone(
            self.model,
            output_stride=output_stride,
            norm=self.norm,
            frozen_stages=self.frozen_stages,
            dropblock=self.dropblock,
            stochastic_depth=self.stochastic_depth,
        )


@dataclass(frozen=True, kw_only=True)
class DetectionRecipe(TransferRecipe):
    """How to train a detector: the attributes of :class:`TransferRecipe`, and besides

    Attributes:
        detector: ``"faster"``, ``"mask"``, ``"cascade"`` or ``"cascade_mask"``; see
            :func:`~resnest_edu.transfer.create_detector`.
        pyramid_channels: of every level of the feature pyramid.
        anchor_scale: an anchor's side in strides of its level.
        head_width: features of a box's representation.
        proposals: how many of them the heads look at in an image; the best of twice as many from every level.
        samples: how many of those are trained on.

    Raises:
        ValueError: a number is out of range, a choice or the model unknown.
    """

    detector: str = "faster"
    pyramid_channels: int = 256
    anchor_scale: float = 8.0
    head_width: int = 1024
    proposals: int = 1000
    samples: int = 512
    task: str = "detection"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("detector", self.detector, KINDS)
        for name in ("pyramid_channels", "head_width", "proposals", "samples"):
            require_positive_int(**{name: getattr(self, name)})
        require_in_range("anchor_scale", self.anchor_scale, 0, open_low=True)

    @property
    def masks(self) -> bool:
        """Whether the detector finds masks too."""
        return "mask" in self.detector

    def build(self, num_classes: int) -> nn.Module:
        """The recipe's detector of so many classes, without the background, with fresh weights."""
        return self.build_on(self.backbone(), num_classes)

    def build_on(self, backbone: StageBackbone, num_classes: int) -> nn.Module:
        """The same on a given backbone."""
        return create_detector(
            self.detector,
            Pyramid(backbone, out_channels=self.pyramid_channels),
            num_classes,
            anchor_scale=self.anchor_scale,
            head_width=self.head_width,
            rpn_pre_nms_top_n_train=2 * self.proposals,
            rpn_pre_nms_top_n_test=2 * self.proposals,
            rpn_post_nms_top_n_train=self.proposals,
            rpn_post_nms_top_n_test=self.proposals,
            box_batch_size_per_image=self.samples,
        )


@dataclass(frozen=True, kw_only=True)
class SegmentationRecipe(TransferRecipe):
    """How to train DeepLabV3: the attributes of :class:`TransferRecipe`, and besides

    Attributes:
        output_stride: 8 or 16: by how much the backbone shrinks the image.
        atrous_rates: of the head; if None, the paper's, which are for images of 513 pixels.
        auxiliary: the weight of the auxiliary head's loss; 0 goes without that head.
        head_width: channels of the head's convolutions.

    Raises:
        ValueError: a number is out of range, a choice or the model unknown.
    """

    output_stride: int = 8
    atrous_rates: tuple[int, ...] | None = None
    auxiliary: float = 0.4
    head_width: int = 256
    task: str = "segmentation"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("output_stride", self.output_stride, (8, 16))
        require_in_range("auxiliary", self.auxiliary, 0)
        require_positive_int(head_width=self.head_width)
        if self.atrous_rates is not None:  # a list, where it comes from a file
            object.__setattr__(self, "atrous_rates", tuple(self.atrous_rates))

    def build(self, num_classes: int) -> nn.Module:
        """The recipe's segmenter of so many classes, the background among them, with fresh weights."""
        return self.build_on(self.backbone(self.output_stride), num_classes)

    def build_on(self, backbone: StageBackbone, num_classes: int) -> nn.Module:
        """The same on a given backbone."""
        return create_segmenter(
            backbone,
            num_classes,
            auxiliary=self.auxiliary > 0,
            atrous_rates=self.atrous_rates,
            head_width=self.head_width,
        )


_SMALL: dict[str, Any] = {
    "model": "resnest11_small",
    "epochs": 8,
    "optimizer": "adamw",
    "warmup_epochs": 0.5,
    "weight_decay": 0.01,
}

# Photographs, by torchvision's references/detection and references/segmentation: 0.02 for 16 images and for 32.
_LARGE: dict[str, Any] = {"model": "resnest50", "batch_size": 8}

TRANSFER_RECIPES: dict[str, TransferRecipe] = {
    "detect": DetectionRecipe(
        image_size=800, epochs=26, base_rate=0.32, warmup_epochs=1.0, norm="frozen", frozen_stages=2, **_LARGE
    ),
    "segment": SegmentationRecipe(
        image_size=480, epochs=30, base_rate=0.16, warmup_epochs=0.0, auxiliary=0.5, **_LARGE
    ),
    "detect-shapes": DetectionRecipe(
        image_size=64,
        batch_size=8,
        base_rate=0.1,
        detector="mask",
        pyramid_channels=32,
        anchor_scale=4.0,
        head_width=128,
        proposals=60,
        samples=24,
        train_scenes=240,
        test_scenes=80,
        **_SMALL,
    ),
    "segment-shapes": SegmentationRecipe(
        image_size=96,
        batch_size=16,
        base_rate=0.06,
        atrous_rates=(1, 2, 4),
        head_width=64,
        train_scenes=320,
        test_scenes=100,
        **_SMALL,
    ),
}

_PHOTOGRAPHS = """{title}

Command: python -m resnest_edu.training --recipe {name} --weights FILE --data FOLDER --out runs/{name}
Cost: needs a GPU. It has not been run at full size here.
Expected: not measured. The numbers are those of torchvision's reference for a ResNet-50, but the rate falls along a
cosine."""

ABOUT: dict[str, str] = {
    "detect": _PHOTOGRAPHS.format(
        name="detect",
        title="Boxes in photographs, a folder of COCO's or VOC's format; --detector mask finds masks too.",
    ),
    "segment": _PHOTOGRAPHS.format(
        name="segment", title="The class of every pixel of photographs, a folder of COCO's or VOC's format."
    ),
    "detect-shapes": """Boxes and masks of the embedded scenes: one to four objects of 14 to 32 pixels.

Command: python -m resnest_edu.training --recipe detect-shapes --weights runs/shapes/checkpoint.pt --out runs/detect
after --recipe shapes --out runs/shapes
Cost: about a minute on two CPU cores.
Expected: three seeds, with other detectors beside it, stand in book/results/transfer_shapes.json.""",
    "segment-shapes": """The class of every pixel of the embedded scenes.

Command: python -m resnest_edu.training --recipe segment-shapes --weights runs/shapes/checkpoint.pt --out runs/segment
after --recipe shapes --out runs/shapes
Cost: about a minute on two CPU cores.
Expected: three seeds, with another output stride beside it, stand in book/results/transfer_shapes.json.""",
}
"""What a recipe is for, its command, its cost, and what to expect of it as it stands."""

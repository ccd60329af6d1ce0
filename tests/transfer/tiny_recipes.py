"""Recipes that take a second or two."""

from resnest_edu.transfer import DetectionRecipe, SegmentationRecipe, TransferRecipe

DETECTION = DetectionRecipe(
    model="resnest11_small",
    image_size=64,
    epochs=2,
    batch_size=8,
    base_rate=0.5,
    warmup_epochs=0.5,
    pyramid_channels=16,
    anchor_scale=4.0,
    head_width=16,
    proposals=20,
    samples=8,
    train_scenes=16,
    test_scenes=6,
)
SEGMENTATION = SegmentationRecipe(
    model="resnest11_small",
    image_size=64,
    epochs=2,
    batch_size=8,
    base_rate=0.5,
    warmup_epochs=0.5,
    output_stride=16,
    atrous_rates=(1, 2),
    head_width=16,
    train_scenes=16,
    test_scenes=6,
)
RECIPES: dict[str, TransferRecipe] = {"detection": DETECTION, "segmentation": SEGMENTATION}

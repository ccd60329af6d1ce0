"""Figures that others published, as the pages quote them; each table names its source.

Nothing here was measured by us. A page that quotes a table takes it from here, so that two pages cannot differ. What a
released checkpoint reaches stands beside its file, in :data:`resnest_edu.PUBLISHED`. "The paper" is arXiv:2004.08955.
"""

# Top-1 on ImageNet in %, from ResNet-50-D to ResNeSt-50, each row with one thing more than the one before. The paper's
# ablation study.
IMPROVEMENTS = {
    "ResNet-50-D": 78.31,
    "+ mixup": 79.15,
    "+ AutoAugment": 79.41,
    '+ split attention, pool before the 3×3 ("fast")': 80.64,
    "+ pool after the 3×3": 81.13,
}

# The "fast" ResNeSt-50 by radix, cardinality and width: top-1 on ImageNet in %. The paper's table of both.
IN_PAPER = {"1s1x64d": 80.35, "2s1x64d": 80.64, "4s1x64d": 80.90, "2s2x40d": 81.00}

# The same of the released checkpoints in Gluon, where they were trained. ablation.md in the authors' repository, since
# its commit 939e303 (24 April 2020).
IN_GLUON = {
    "1s1x64d": 80.35,
    "2s1x64d": 80.65,
    "4s1x64d": 80.90,
    "1s2x40d": 80.72,
    "2s2x40d": 80.84,
    "4s2x40d": 81.17,
    "1s4x24d": 80.97,
}

# The two checkpoints that this commit replaced, as they were before: in PyTorch and in Gluon. Pull request 22. (In
# between, since commit eec8960, the first had "xx.xx" and 80.85.)
REPLACED = {"2s2x40d": (80.97, 81.00), "4s2x40d": (80.86, 80.92)}

# COCO's validation set, mean average precision in %, by backbone. The paper's tables of object detection and instance
# segmentation; None: not in them. The Cascade Mask rows' ResNeSt-200 was trained three times as long, with larger heads
# and images (tricks-3x in d2/README.md of the authors' repository, and the configuration linked there).
BACKBONES = ("ResNet-50", "ResNet-101", "ResNeSt-50", "ResNeSt-101", "ResNeSt-200")
COCO = {
    "Faster, boxes": (39.25, 41.37, 42.33, 44.72, None),
    "Cascade, boxes": (42.52, 44.03, 45.41, 47.50, 49.03),
    "Mask, boxes": (39.97, 41.78, 42.81, 45.75, None),
    "Mask, masks": (36.05, 37.51, 38.14, 40.65, None),
    "Cascade Mask, boxes": (43.06, 44.79, 46.19, 48.30, 50.54),
    "Cascade Mask, masks": (37.19, 38.52, 39.55, 41.56, 44.21),
}

# DeepLabV3 on ADE20K's validation set: pixel accuracy and mean IoU in %. The paper's table of semantic segmentation;
# the rows of ResNet as in README.md of the authors' repository.
ADE20K = {
    "ResNet-50": (80.39, 42.1),
    "ResNet-101": (81.11, 44.14),
    "ResNeSt-50": (81.17, 45.12),
    "ResNeSt-101": (82.07, 46.91),
    "ResNeSt-200": (82.45, 48.36),
    "ResNeSt-269": (82.62, 47.60),
}

# timm's weights resnet50d.ra4_e3600_r224_in1k beside the published ResNeSt-50: top-1 in % at 224 pixels on ImageNet's
# validation set and on other images. results/ in timm's repository. (An earlier version has 80.964 for ResNeSt-50.)
TIMM = {
    "ImageNet": {"ResNet-50-D": 80.956, "ResNeSt-50": 80.958},
    "ImageNet-R": {"ResNet-50-D": 42.9, "ResNeSt-50": 45.9},
    "Sketch": {"ResNet-50-D": 31.2, "ResNeSt-50": 33.0},
    "V2": {"ResNet-50-D": 69.7, "ResNeSt-50": 70.3},
    "ReaL": {"ResNet-50-D": 86.4, "ResNeSt-50": 86.2},
}

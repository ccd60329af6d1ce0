"""Published weights for the 1000 classes of ImageNet: which files there are, how to get one, and what its network wants
to see.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from resnest_edu.arguments import first_line, require_one_of
from resnest_edu.network.preprocessing import centre, normalize

AUTHORS = "https://github.com/zhanghang1989/ResNeSt/releases/download/weights_step1"
TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights"


@dataclass(frozen=True)
class PublishedFile:
    """A file of published weights for the 1000 classes of ImageNet.

    Attributes:
        file: its name, which ends in the first eight digits of its SHA-256.
        image_size: side in pixels of the images that its published accuracy was measured on.
        top1: that accuracy on ImageNet's validation set in %, as the authors' repository states it (README.md,
            ablation.md); None where it states none.
        release: the address of the folder that holds it.
        licence: of the repository that released it, as an SPDX identifier.
    """

    file: str
    image_size: int = 224
    top1: float | None = None
    release: str = AUTHORS
    licence: str = "Apache-2.0"

    @property
    def url(self) -> str:
        return f"{self.release}/{self.file}"

    @property
    def sha256(self) -> str:
        """The digits of the SHA-256 that the file's name carries."""
        return self.file.rpartition("-")[2].removesuffix(".pth")

    @property
    def classes(self) -> tuple[str, ...]:
        """What the 1000 outputs mean, by torchvision."""
        from torchvision.models import ResNet50_Weights

        return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])

    def transform(self) -> Callable[[Image.Image], Tensor]:
        """What an image goes through before the network sees it, as its published accuracy was measured: from PIL's
        image of any size to float32 (3, S, S) with S = ``image_size``, normalized. As
        :func:`resnest_edu.training.test_transform` does it, and normalized then.
        """
        from torchvision.transforms import v2

        return v2.Compose([v2.RGB(), *centre(self.image_size), v2.PILToTensor(), normalize])


PUBLISHED: dict[str, PublishedFile] = {
    # The two small ones were trained by the authors in Gluon and converted for timm.
    "resnest14": PublishedFile("gluon_resnest14-9c8fe254.pth", release=TIMM),
    "resnest26": PublishedFile("gluon_resnest26-50eb607c.pth", release=TIMM),
    "resnest50": PublishedFile("resnest50-528c19ca.pth", 224, 81.03),
    "resnest101": PublishedFile("resnest101-22405ba7.pth", 256, 82.83),
    "resnest200": PublishedFile("resnest200-75117900.pth", 320, 83.84),
    "resnest269": PublishedFile("resnest269-0cc87c48.pth", 416, 84.54),
    "resnest50_fast_1s1x64d": PublishedFile("resnest50_fast_1s1x64d-d8fbf808.pth", 224, 80.33),
    "resnest50_fast_2s1x64d": PublishedFile("resnest50_fast_2s1x64d-44938639.pth", 224, 80.53),
    "resnest50_fast_4s1x64d": PublishedFile("resnest50_fast_4s1x64d-f74f3fc3.pth", 224, 80.76),
    "resnest50_fast_1s2x40d": PublishedFile("resnest50_fast_1s2x40d-32830b84.pth", 224, 80.59),
    "resnest50_fast_2s2x40d": PublishedFile("resnest50_fast_2s2x40d-9d126481.pth", 224, 80.61),
    "resnest50_fast_4s2x40d": PublishedFile("resnest50_fast_4s2x40d-41d14ed0.pth", 224, 81.14),
    "resnest50_fast_1s4x24d": PublishedFile("resnest50_fast_1s4x24d-d4a4f76f.pth", 224, 80.99),
}
"""The published file for each model's name; names and hashes as in the authors' code and timm's."""


def fetch(name: str, folder: str | Path | None = None) -> Path:
    """Download the published weights of a model, unless they are there already, and return the file's path.

    Args:
        name: a key of :data:`PUBLISHED`.
        folder: where to keep the file; if None, PyTorch's own cache for such files.

    Raises:
        ValueError: nothing is published under ``name``.
        OSError: the file cannot be downloaded, or what came is not what was published; the message says where to put
            one that came another way.
    """
    require_one_of("name", name, PUBLISHED)
    published = PUBLISHED[name]
    path = Path(folder or Path(torch.hub.get_dir()) / "checkpoints") / published.file
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(published.url, str(path), published.sha256)
        except Exception as error:
            by_hand = f"put it at {path} by hand; its SHA-256 begins with {published.sha256}"
            raise OSError(f"{published.url} could not be fetched: {first_line(error)}; {by_hand}") from error
    return path

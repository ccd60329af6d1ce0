"""Photographs whose EXIF orientation says that they are to be turned, and annotations that may be of either picture.

Tools differ in which pixels they count: LabelImg and COCO's own library take those that are stored, Label Studio and
labelme those that one sees.
"""

from pathlib import Path

from PIL import Image

from resnest_edu.data.images import load_image, upright


def load_annotated(path: Path, stated: tuple[int, int] | None, where: object) -> Image.Image:
    """The image of a file as RGB, turned as its annotations mean it.

    The size that they state decides. An orientation of 5 to 8 exchanges width and height, so one of the two pictures
    has that size, the stored one or the upright one. Where the size cannot tell (orientations 2 to 4, a square, no size
    stated) the image is refused, for its boxes might lie anywhere.

    Args:
        path: the image.
        stated: width and height by the annotations, if they say so.
        where: what states it, for the message.

    Raises:
        ValueError: the image is broken, of another size, or its orientation leaves open what is meant.
    """
    found: list[int] = []

    def turn(image: Image.Image, orientation: int) -> Image.Image:
        found.append(orientation if orientation in range(2, 9) else 1)
        return image if image.size == stated else upright(image, orientation)

    image = load_image(path, turn)
    orientation = found[-1]
    if stated is not None and image.size != stated:
        turned = "" if orientation == 1 else f", turned from EXIF orientation {orientation},"
        raise ValueError(f"size of {path} (={image.size}){turned} must be that stated in {where} (={stated})")
    if orientation in (2, 3, 4) or (orientation > 4 and (stated is None or image.width == image.height)):
        raise ValueError(
            f"EXIF orientation of {path} (={orientation}) must be 1, or exchange the sides of the size that {where} "
            "states: otherwise nobody knows which pixels are meant, as stored or upright; save the image without it"
        )
    return image

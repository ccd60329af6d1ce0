"""Image files, decoded by Pillow to upright RGB of eight bits; the pixels alone decide whether a file is broken."""

import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from resnest_edu.arguments import first_line

_NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}  # Pillow knows them, but needs other programs to read
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 0x0102, 0x0106  # tags of EXIF and TIFF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DARK = 16  # no picture in bytes is as dark as this all over; one of floats from 0 to 1 may go a little beyond 1
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


def readable_endings() -> set[str]:
    """The endings, in lower case, of files that Pillow reads."""
    Image.init()
    formats = (set(Image.OPEN) | {"MPO"}) - _NO_PICTURES  # what is called .mpo is opened as JPEG
    return {ending for ending, form in Image.registered_extensions().items() if form in formats}


def load_image(path: str | Path) -> Image.Image:
    """The image of a file as upright RGB of eight bits; of several the first. What is transparent becomes white.

    Grey of 16 bits is scaled. Floats up to 1 are multiplied by 255; 32-bit integers up to 255, and floats that reach
    16 … 255, are taken as they are; any others are refused, since their white is not known. An orientation in the
    metadata is followed; metadata that cannot be read count for nothing.

    Raises ValueError, which names the file, if its pixels cannot be read.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from resnest_edu.data import load_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (40, 30), 77).save(f"{folder}/grey.png")
        ...     image = load_image(f"{folder}/grey.png")
        >>> image.mode, image.size, image.getpixel((0, 0))
        ('RGB', (40, 30), (77, 77, 77))
    """
    return upright(*load_stored(path))


def square(image: Image.Image, size: int) -> Image.Image:
    """The shorter side resized to ``size`` pixels, bilinearly, and the centre cut out."""
    return image if image.size == (size, size) else ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def load_stored(path: str | Path) -> tuple[Image.Image, int]:
    """The same image as it is stored, and its EXIF orientation: 1, as it is, to 8."""
    try:
        return _stored(path)
    except Exception as error:  # decoders raise what they like, down to IndexError and struct.error
        reason = error
    with suppress(Exception):
        if pixels := _png_pixels(Path(path)):
            return _stored(pixels)
    raise ValueError(f"cannot read image {path}: {first_line(reason)}") from reason


def upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _stored(file: str | Path | BytesIO) -> tuple[Image.Image, int]:
    with Image.open(file) as image:
        rgb = _rgb(image)
        return rgb, exif_orientation(image)  # after the pixels, since it may stand behind them


def exif_orientation(image: Image.Image) -> int:
    """1, as it is, to 8; damaged metadata say nothing."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # as with pixels, decoders raise what they like
        return 1
    return orientation if orientation in _TURNS else 1


def _rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.mode == "F" or image.mode.startswith("I"):  # PIL's own conversion would cut every value off at 255
        return Image.fromarray(_grey(image)).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _grey(image: Image.Image) -> np.ndarray:
    """From a channel of more than eight bits: uint8 (H, W)."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if image.mode != "F" and (image.mode != "I" or image.format in ("PNG", "PPM")):
        white = 2 ** tags.get(_BITS, (16,))[0] - 1
        grey = (values.clip(0, white).astype(np.uint32) * 255 // white).astype(np.uint8)
        if tags.get(_PHOTOMETRIC) == 0:
            grey = 255 - grey  # the file's white is 0
        grey[values == image.info.get("transparency", -1)] = 255
        return grey
    least, most = values.min(), values.max()
    if image.mode == "F" and least >= 0 and most <= 1:
        values = 255 * values
    elif not (least >= 0 and (_DARK if image.mode == "F" else 0) <= most <= 255):  # not a number is neither
        raise ValueError(
            f"mode {image.mode} with values from {least:g} to {most:g}, of which white is not known: save it with 8 or "
            "16 bits a channel"
        )
    return values.round().astype(np.uint8)


def _png_pixels(path: Path) -> BytesIO | None:
    """Of a PNG the chunks that make its pixels, and its EXIF block if it is whole; of another file nothing."""
    content = path.read_bytes()
    if not content.startswith(_PNG):
        return None
    kept, start = [_PNG], len(_PNG)
    while start + 12 <= len(content):  # length, kind, what it holds, checksum of kind and content
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        kind, checksum = content[start + 4 : start + 8], int.from_bytes(content[end - 4 : end], "big")
        if kind in _PNG_PIXELS or (kind == b"eXIf" and zlib.crc32(content[start + 4 : end - 4]) == checksum):
            kept.append(content[start:end])
        start = end
    return BytesIO(b"".join(kept))

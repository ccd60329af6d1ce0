import re
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from resnest_edu.data.image_files import load_image, readable_endings
from tests.refused import assert_refused

RED, WHITE = (250, 10, 20), (255, 255, 255)
NOISE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)


def plain(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (8, 8), colour)


def numbers(value: float, dtype: type) -> Image.Image:
    return Image.fromarray(np.full((8, 8), value, dtype))


def with_tag(path: Path, tag: int, value: int) -> None:
    """Change a number in a little-endian TIFF."""
    content = path.read_bytes()
    place = max(content.find(struct.pack("<HHI", tag, kind, 1)) for kind in (3, 4))  # short or long
    path.write_bytes(content[: place + 8] + struct.pack("<I", value) + content[place + 12 :])


def colours(path: Path) -> dict:
    return {colour: count for count, colour in load_image(path).getcolors()}


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    see_through, deep = np.full((8, 8), 300, np.uint16), np.zeros((8, 8), np.uint16)
    see_through[0, 0], deep[0, 0] = 7, 65535
    for name, image, expected, options in (
        ("RGB.png", plain("RGB", RED), RED, {}),
        ("grey.png", plain("L", 77), (77,) * 3, {}),
        ("bilevel.png", plain("1", 1), WHITE, {}),
        ("palette.png", plain("RGB", RED).quantize(4), RED, {}),
        ("palette.gif", plain("RGB", RED).quantize(4), WHITE, {"transparency": 0}),
        ("opaque.png", plain("RGBA", (*RED, 255)), RED, {}),
        ("transparent.png", plain("RGBA", (*RED, 0)), WHITE, {}),
        ("one colour.png", plain("RGB", RED), WHITE, {"transparency": RED}),
        ("grey+alpha.png", plain("LA", (0, 51)), (204,) * 3, {}),
        ("CMYK.tif", plain("CMYK", (0, 255, 255, 0)), (255, 0, 0), {}),
        ("CMYK.jpg", plain("CMYK", (0, 255, 255, 0)), (255, 0, 0), {}),
        ("YCbCr.jpg", plain("YCbCr", (128, 128, 128)), (128,) * 3, {}),
        ("16 bit.png", numbers(0x8000, np.uint16), (127,) * 3, {}),
        ("16 bit.tif", numbers(0x8000, np.uint16), (127,) * 3, {}),
        ("16 bit.pgm", numbers(0x8000, np.uint16), (127,) * 3, {}),
        ("big-endian.tif", numbers(0x8000, np.dtype(">u2")), (127,) * 3, {}),
        ("32 bit.tif", numbers(200, np.int32), (200,) * 3, {}),
        ("float bytes.tif", numbers(199.6, np.float32), (200,) * 3, {}),
        ("float.tif", numbers(0.2, np.float32), (51,) * 3, {}),
        ("float.pfm", numbers(0.2, np.float32), (51,) * 3, {}),
        ("black.tif", numbers(0, np.float32), (0,) * 3, {}),
    ):
        image.save(tmp_path / name, **options)
        found = load_image(tmp_path / name)
        assert found.mode == "RGB" and np.abs(np.asarray(found).astype(int) - expected).max() <= 1, name

    Image.fromarray(deep).save(tmp_path / "inverted.tif")
    with_tag(tmp_path / "inverted.tif", 262, 0)  # white is 0
    assert colours(tmp_path / "inverted.tif") == {(0, 0, 0): 1, WHITE: 63}
    Image.fromarray(see_through).save(tmp_path / "see through.png", transparency=7)
    assert colours(tmp_path / "see through.png") == {WHITE: 1, (1, 1, 1): 63}
    for mode, colour, expected in (("RGBA", (10, 0, 0, 51), (214, 204, 204)), ("LA", (10, 51), (214,) * 3)):
        plain(mode, colour).save(tmp_path / "premultiplied.tif")
        with_tag(tmp_path / "premultiplied.tif", 338, 1)
        assert colours(tmp_path / "premultiplied.tif") == {expected: 64}
    twelve = tmp_path / "12 bit.tif"
    Image.fromarray(np.tile(np.uint8([0x80, 0x08, 0x00]), (8, 4))).save(twelve)  # three bytes are two pixels
    with_tag(twelve, 258, 12)
    with_tag(twelve, 256, 8)
    assert colours(twelve) == {(127, 127, 127): 64}


def test_what_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    Image.fromarray(NOISE).save(whole)
    content = whole.read_bytes()
    data = content.index(b"IDAT")
    for name, bytes_ in {
        "cut.png": content[: len(content) // 2],
        "pixels.png": content[: data + 40] + b"?" + content[data + 41 :],
        "text.png": b"hello",
        "empty.jpg": b"",
    }.items():
        (tmp_path / name).write_bytes(bytes_)
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name, value, dtype in (
        ("float.tif", 65535, np.float32),
        ("beyond.tif", 1.25, np.float32),
        ("negative.tif", -0.5, np.float32),
        ("nan.tif", np.nan, np.float32),
        ("32 bit.tif", 65535, np.int32),
    ):
        numbers(value, dtype).save(tmp_path / name)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    rows = {
        **{
            "cut.png": "truncated",
            "pixels.png": "broken",
            "text.png": "cannot identify",
            "empty.jpg": "cannot identify",
        },
        **{"nowhere.png": "No such file", "loop.png": "symbolic links", "huge.png": "exceeds limit"},
        "float.tif": "mode F with values from 65535 to 65535, of which white is not known: save it with 8 or 16 bits",
        "negative.tif": "mode F with values from -0.5",
        "beyond.tif": "mode F with values from 1.25 to 1.25",
        "nan.tif": "mode F with values from nan",
        "32 bit.tif": "mode I with values from 65535",
    }
    named = [
        (tmp_path / name, f"^cannot read image {re.escape(str(tmp_path / name))}: .*{m}") for name, m in rows.items()
    ]
    assert_refused(load_image, named)


def png(kind: bytes, held: bytes, *, last: bool = False) -> bytes:
    """The noise with one more chunk, before or after its pixels."""
    file = BytesIO()
    Image.fromarray(NOISE).save(file, "PNG")
    content = file.getvalue()
    place = len(content) - 12 if last else 33
    chunk = struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))
    return content[:place] + chunk + content[place:]


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def test_damaged_metadata_count_for_nothing(tmp_path: Path) -> None:
    raw, huge = b"Raw profile type exif\0", zlib.compress(bytes(3_000_000))
    chunks = {
        "EXIF without a header": (b"eXIf", b"junk"),
        "EXIF that ends": (b"eXIf", b"MM\0*"),
        "EXIF that leads nowhere": (b"eXIf", b"II*\0\xff\xff\xff\xff"),
        "EXIF as text": (b"tEXt", raw + b"\nexif\n   zz\nzzzz"),
        "EXIF as packed text": (b"zTXt", raw + b"\0" + zlib.compress(b"\nexif\n 3\nabc")),
        "packed text of 3 MB": (b"zTXt", b"Comment\0\0" + huge),
        "international text of 3 MB": (b"iTXt", b"Comment\0\1\0\0\0" + huge),
        "text of 3 MB": (b"tEXt", b"Comment\0" + bytes(3_000_000)),
        "resolution": (b"pHYs", b"\1"),
        "colour profile": (b"iCCP", b"abc"),
        "animation": (b"fcTL", bytes(26)),
    }
    files = {f"{name}, {last}.png": png(*chunk, last=last) for name, chunk in chunks.items() for last in (False, True)}
    content = png(b"tEXt", b"Comment\0text")
    files["checksum.png"] = content.replace(b"text", b"tent")
    for name, value in {"zero": 0, "nine": 9}.items():
        files[f"orientation {name}.png"] = png(b"eXIf", exif(value).removeprefix(b"Exif\0\0"))
    for name, bytes_ in files.items():
        (tmp_path / name).write_bytes(bytes_)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert np.array_equal(load_image(tmp_path / name), NOISE), name


def test_an_orientation_is_followed(tmp_path: Path) -> None:
    turned = {
        **{1: NOISE, 2: NOISE[:, ::-1], 3: NOISE[::-1, ::-1], 4: NOISE[::-1], 5: NOISE.swapaxes(0, 1)},
        **{6: np.rot90(NOISE, -1), 7: NOISE[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(NOISE)},
    }
    for orientation, expected in turned.items():
        for name, options in (("a.png", {}), ("a.tif", {}), ("a.webp", {"lossless": True})):
            Image.fromarray(NOISE).save(tmp_path / name, exif=exif(orientation), **options)
            assert np.array_equal(load_image(tmp_path / name), expected), (orientation, name)
        Image.fromarray(NOISE).save(tmp_path / "a.jpg", exif=exif(orientation), quality=100, subsampling=0)
        assert np.abs(np.asarray(load_image(tmp_path / "a.jpg")).astype(int) - expected).max() < 12
    late = png(b"eXIf", exif(6).removeprefix(b"Exif\0\0"), last=True)
    broken = late[:33] + bytes(4) + b"tEXt" + bytes(4) + late[33:]  # a chunk with a wrong checksum
    for content in (late, broken):
        (tmp_path / "a.png").write_bytes(content)
        assert np.array_equal(load_image(tmp_path / "a.png"), turned[6])


def test_what_pillow_reads_without_other_programs() -> None:
    endings = readable_endings()
    assert endings >= {
        ".jpg",
        ".jpeg",
        ".jfif",
        ".jpe",
        ".png",
        ".gif",
        ".bmp",
        ".tif",
        ".webp",
        ".jp2",
        ".pgm",
        ".mpo",
    }
    assert not endings & {".pdf", ".eps", ".h5", ".mpg", ".wmf", ".txt", ""}

"""The Triton programs of :mod:`resnest_edu.speed.tail_kernels`, and the rule by which they share the work.

Legend: B batch, R splits, C channels, P positions of a map (H · W).

A channels-last map is a table of P rows of C numbers, and a batch is B tables in a row. One program walks down a strip
of one table, tile by tile: ``COLUMNS`` channels wide, ``tiles`` tiles of ``ROWS`` positions long. Axis 0 of the grid
counts strips, images outermost; axis 1 counts blocks of columns. All sums are taken in float32.

Only what is R times there is written with ``R``: Triton unrolls the loops over splits, whose pointers come one by one.
"""

from typing import NamedTuple

import triton
import triton.language as tl

# Decided once, as it is for the programs below: whether Triton interprets them, on any device, or compiles them.
INTERPRETED: bool = triton.knobs.runtime.interpret

# The numbers of one tile: 16 for each thread of the usual four warps, which in bfloat16 are two reads of 16 bytes, as
# wide as they come. A program that sums keeps up to R + 1 tiles in registers, so larger ones leave room for fewer.
TILE = 2048
# Channels in a row of a tile, at most: in bfloat16, 256 bytes in one piece.
WIDEST = 128
# How many programs suffice: about 8 of four warps on each of the 132 multiprocessors of a large GPU, which can hold 16,
# so all run at once. With R tiles of 4 KiB on their way to each program, a multiprocessor waits for 32 KiB and more;
# memory that sends it 36 bytes a nanosecond and answers within 0.7 µs keeps 25 KiB on their way.
PROGRAMS = 1024
# Positions in a strip, at least, if the map has as many: what a sum leaves of a strip, float32 to be written and read
# again, is then at most a sixteenth of what was read.
SHORTEST = 64


class Cut(NamedTuple):
    """How maps are cut up: the sizes of a tile, tiles in a strip, strips of an image, blocks of columns."""

    columns: int
    rows: int
    tiles: int
    strips: int
    blocks: int


def plan(shape: tuple[int, ...]) -> Cut:
    """How maps of the ``shape`` (B, C, H, W) are cut up."""
    images, channels, height, width = shape
    columns = min(triton.next_power_of_2(channels), WIDEST)
    rows = TILE // columns
    blocks = triton.cdiv(channels, columns)
    tiles = triton.cdiv(height * width, rows)
    length = max(triton.cdiv(tiles, triton.cdiv(PROGRAMS, images * blocks)), SHORTEST // rows)
    length = min(length, tiles)
    return Cut(columns, rows, length, triton.cdiv(tiles, length), blocks)


@triton.jit
def _pick(u0, u1, u2, u3, r: tl.constexpr):
    if r == 0:  # noqa: SIM116 - Triton has no dictionaries
        return u0
    elif r == 1:
        return u1
    elif r == 2:
        return u2
    else:
        return u3


@triton.jit
def _tile(i, strips, tiles, positions, channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Where tile ``i`` of this program lies: its first number, the others from there, and which of them exist."""
    strip = tl.program_id(0)
    block = tl.program_id(1) * COLUMNS
    first = ((strip % strips) * tiles + i) * ROWS
    row = tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    # A batch may hold more than 2^31 numbers, a tile's neighbourhood does not.
    start = ((strip // strips).to(tl.int64) * positions + first) * channels + block
    return start, row * channels + column, (row < positions - first) & (column < channels - block)


@triton.jit
def _row(table, row, channels, COLUMNS: tl.constexpr):
    """This program's columns of one row of a table with C columns, in float32."""
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    return tl.load(table + row.to(tl.int64) * channels + column, column < channels, other=0).to(tl.float32)


@triton.jit
def pool(
    out, u0, u1, u2, u3, scale, strips, tiles, positions, channels,
    R: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out (B, strips, C) = scale · the sum of all splits over a strip."""
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for i in range(tiles):
        start, offsets, mask = _tile(i, strips, tiles, positions, channels, ROWS, COLUMNS)
        for r in tl.static_range(R):
            total += tl.load(_pick(u0, u1, u2, u3, r) + start + offsets, mask, other=0).to(tl.float32)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    tl.store(out + tl.program_id(0).to(tl.int64) * channels + column, tl.sum(total, 0) * scale, column < channels)


@triton.jit
def weigh(
    out, u0, u1, u2, u3, weights, strips, tiles, positions, channels,
    R: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out (B, C, H, W) = the sum of weights[:, r] · u_r, with weights (B, R, C)."""
    first = tl.program_id(0) // strips * R
    # Once, and not in the loop; where there are fewer than four, the last ones are not used.
    w0 = _row(weights, first, channels, COLUMNS)
    w1 = _row(weights, first + min(1, R - 1), channels, COLUMNS)
    w2 = _row(weights, first + min(2, R - 1), channels, COLUMNS)
    w3 = _row(weights, first + min(3, R - 1), channels, COLUMNS)
    for i in range(tiles):
        start, offsets, mask = _tile(i, strips, tiles, positions, channels, ROWS, COLUMNS)
        total = tl.zeros((ROWS, COLUMNS), tl.float32)
        for r in tl.static_range(R):
            u = tl.load(_pick(u0, u1, u2, u3, r) + start + offsets, mask, other=0)
            total += _pick(w0, w1, w2, w3, r)[None, :] * u
        tl.store(out + start + offsets, total, mask)


@triton.jit
def weights_gradient(
    out, grad, u0, u1, u2, u3, strips, tiles, positions, channels,
    R: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out (B, strips, R, C) = the sum of grad · u_r over a strip."""
    t0 = tl.zeros((ROWS, COLUMNS), tl.float32)
    t1 = t0
    t2 = t0
    t3 = t0
    for i in range(tiles):
        start, offsets, mask = _tile(i, strips, tiles, positions, channels, ROWS, COLUMNS)
        g = tl.load(grad + start + offsets, mask, other=0).to(tl.float32)
        t0 += g * tl.load(u0 + start + offsets, mask, other=0)
        if R > 1:
            t1 += g * tl.load(u1 + start + offsets, mask, other=0)
        if R > 2:
            t2 += g * tl.load(u2 + start + offsets, mask, other=0)
        if R > 3:
            t3 += g * tl.load(u3 + start + offsets, mask, other=0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    out += tl.program_id(0).to(tl.int64) * R * channels + column
    for r in tl.static_range(R):
        tl.store(out + r * channels, tl.sum(_pick(t0, t1, t2, t3, r), 0), column < channels)


@triton.jit
def splits_gradient(
    d0, d1, d2, d3, grad, weights, shift, scale, strips, tiles, positions, channels,
    R: tl.constexpr, SHIFTED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """d_r (B, C, H, W) = weights[:, r] · grad + scale · shift, with shift (B, C)."""
    image = tl.program_id(0) // strips
    w0 = _row(weights, image * R, channels, COLUMNS)
    w1 = _row(weights, image * R + min(1, R - 1), channels, COLUMNS)
    w2 = _row(weights, image * R + min(2, R - 1), channels, COLUMNS)
    w3 = _row(weights, image * R + min(3, R - 1), channels, COLUMNS)
    offset = tl.zeros((COLUMNS,), tl.float32)
    if SHIFTED:
        offset = scale * _row(shift, image, channels, COLUMNS)
    for i in range(tiles):
        start, offsets, mask = _tile(i, strips, tiles, positions, channels, ROWS, COLUMNS)
        g = tl.load(grad + start + offsets, mask, other=0).to(tl.float32)
        for r in tl.static_range(R):
            d = _pick(w0, w1, w2, w3, r)[None, :] * g + offset[None, :]
            tl.store(_pick(d0, d1, d2, d3, r) + start + offsets, d, mask)

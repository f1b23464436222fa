"""A second decoder, for one kind of picture: one grey channel as effort 1 packs it. Four times as fast as libjxl's.

The verification of an archive is decoding, and with libjxl that takes four times as long as packing. What effort 1
writes is a small part of JPEG XL (ISO/IEC 18181-1): groups of 256 x 256 pixels, each predicted by the clamped gradient
of its neighbours; the differences are numbers of a prefix code, runs of equal ones are counted. This decodes that part,
strictly, and nothing else: it was written from the format, apart from the encoder, so an error of the encoder does not
hide in it.

What it may be used for is *learned* from libjxl: the first picture of a kind is decoded by both, and if they agree the
bits that say what a picture is (size, depth, transforms, predictor) are remembered. Pictures that begin with other bits
are libjxl's, and so is each 64th: `Decoder.unpacked` is never less strict than libjxl on what was not seen before.

    codestream   image header | frame header | sizes of the sections | sections
    sections     global: kind of modular coding (211 bits, alike in all), four prefix codes | empty ones | the groups
    group        4 bits: no transforms | numbers, row by row
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls, no-check-untyped-defs, disable-error-code="misc, untyped-decorator"
import contextlib
import itertools
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recorders.archive import jxl

GROUP = 256
GROUP_OF_GROUPS = 2048
FRAME_HEADER = bytes((8, 2, 1, 0))  # modular, groups of 256, one pass, last frame, no filters; sizes in their order
CODING_BITS = 211
CODES = 4
NO_TRANSFORMS = 3
ALPHABET = 512
LARGEST = 18  # number of a difference of 16 bits
RUNS = 224  # numbers of the code from here on are lengths of runs
SHORTEST_RUN = 7
LONGEST_CODE = 15
NEAR_BITS = 12  # a number whose code and further bits are no longer is looked up at once
_ORDER = (1, 2, 3, 4, 0, 5, 17, 6, 16, 7, 8, 9, 10, 11, 12, 13, 14, 15)  # of the lengths of lengths (RFC 7932, 3.5)
_LENGTH_OF_LENGTH = {(2, 0): 0, (2, 2): 3, (2, 1): 4, (3, 3): 2, (4, 7): 1, (4, 15): 5}  # by how many bits, and bits


class OtherKindError(Exception):
    """The picture is not of the one kind, or is damaged: why. libjxl decides."""


class Kind(NamedTuple):
    """What pictures that begin alike have in common."""

    height: int
    width: int
    dtype: str
    coding: int  # the first bits of the global section


class Decoder:
    """For one process."""

    CHECK_EVERY = 64

    def __init__(self) -> None:
        self._kinds: dict[bytes, Kind] = {}  # by all bytes before the sizes of the sections
        self._count = 0
        self.quick = 0  # pictures that were not decoded by libjxl

    def unpacked(self, data: bytes) -> NDArray[Any]:
        """The pixels of a file, `(height, width)`. Raises `jxl.NoFrameError`."""
        self._count += 1
        with contextlib.suppress(OtherKindError):
            stream = jxl.codestream(data)
            kind = self._kinds.get(stream[: _sizes_at(stream)])
            if kind is not None and self._count % self.CHECK_EVERY:
                image = decoded(stream, kind)
                self.quick += 1
                return image
        image = jxl.unpacked(data)
        with contextlib.suppress(OtherKindError):
            self._learn(jxl.codestream(data), image)
        return image

    def _learn(self, stream: bytes, image: NDArray[Any]) -> None:
        """From what libjxl has decoded. A kind that it does not agree on is forgotten."""
        at = _sizes_at(stream)
        self._kinds.pop(stream[:at], None)
        if image.ndim == 2 and image.dtype.name in ("uint8", "uint16"):
            height, width = image.shape
            sections = _sections(stream, at, height, width)
            coding = _Bits(sections[0][:32]).take(CODING_BITS)
            kind = Kind(height, width, image.dtype.name, coding)
            if np.array_equal(decoded(stream, kind), image):
                self._kinds[stream[:at]] = kind


def decoded(stream: bytes, kind: Kind) -> NDArray[Any]:
    """The pixels of a codestream of that kind, its header apart. Raises OtherKindError."""
    sections = _sections(stream, _sizes_at(stream), kind.height, kind.width)
    bits = _Bits(sections[0])
    if bits.take(CODING_BITS) != kind.coding:
        raise OtherKindError("it is coded in another way")
    codes = [_lengths_of(bits) for _ in range(CODES)]
    if bits.take(4) != NO_TRANSFORMS:
        raise OtherKindError("it has transforms")
    bits.finish()
    groups = sections[-_count(kind.height, GROUP) * _count(kind.width, GROUP) :]
    if any(sections[1 : -len(groups)]):
        raise OtherKindError("a section is not empty that should be")
    # Each group begins at a word of 32 bits, and more zeros follow it than a number can have bits.
    starts = np.cumsum([0, *(len(group) // 4 + 4 for group in groups)])
    words = np.zeros(starts[-1], "<u4")
    room = words.view(np.uint8)
    for start, group in zip(starts.tolist(), groups):
        room[4 * start : 4 * start + len(group)] = np.frombuffer(group, np.uint8)
    sizes = np.array([len(group) for group in groups])
    image = np.empty((kind.height, kind.width), kind.dtype)
    if not _decode(words, starts, sizes, *_tables(codes[0]), image):
        raise OtherKindError("its numbers are not those of a picture")
    return image


def _count(size: int, step: int) -> int:
    return -(-size // step)


def _sizes_at(stream: bytes) -> int:
    """Where the sizes of the sections begin: after the header of the one frame."""
    at = stream.find(FRAME_HEADER, 0, 64)
    if at < 0 or not stream.startswith(b"\xff\x0a"):
        raise OtherKindError("it has another header")
    return at + len(FRAME_HEADER)


def _sections(stream: bytes, at: int, height: int, width: int) -> list[bytes]:
    """The sections: global, one a group of groups (empty), one more (empty), and the groups."""
    groups = _count(height, GROUP) * _count(width, GROUP)
    if groups == 1:
        raise OtherKindError("one group has no section of its own")
    above = _count(height, GROUP_OF_GROUPS) * _count(width, GROUP_OF_GROUPS)
    bits = _Bits(stream[at : at + 4 * (groups + above + 2)])
    sizes = []
    for _ in range(2 + above + groups):
        few, base = ((10, 0), (14, 1024), (22, 17408), (30, 4211712))[bits.take(2)]
        sizes.append(base + bits.take(few))
    at += -(-bits.at // 8)
    ends = list(itertools.accumulate(sizes, initial=at))
    if ends[-1] != len(stream):
        raise OtherKindError("its sections are longer or shorter than it is")
    return [stream[start:end] for start, end in itertools.pairwise(ends)]


class _Bits:
    """Bits of a few bytes, the lowest first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._length, self.at = int.from_bytes(data, "little"), 8 * len(data), 0

    def take(self, count: int) -> int:
        found = self.look(count)
        self.at += count
        if self.at > self._length:
            raise OtherKindError("it ends too early")
        return found

    def look(self, count: int) -> int:
        return self._value >> self.at & (1 << count) - 1

    def take_number(self, code: dict[tuple[int, int], int]) -> int:
        """The next number of a prefix code: by length and bits."""
        for length in range(1, LONGEST_CODE + 1):
            number = code.get((length, self.look(length)))
            if number is not None:
                self.take(length)
                return number
        raise OtherKindError("its prefix code has a hole")

    def finish(self) -> None:
        """Nothing but zeros to the end of the byte, and nothing after it."""
        if self._length - self.at >= 8 or self._value >> self.at:
            raise OtherKindError("more follows than should")


def _lengths_of(bits: _Bits) -> list[int]:
    """A prefix code: how many bits each number of the alphabet has (RFC 7932, 3.5). 0: it does not occur."""
    if bits.take(2) != 0:
        raise OtherKindError("a prefix code is not written at length")
    first, space = [0] * len(_ORDER), 32
    for which in _ORDER:
        if space <= 0:
            break
        width, length = next(
            (width, found)
            for width in (2, 3, 4)
            if (found := _LENGTH_OF_LENGTH.get((width, bits.look(width)))) is not None
        )
        bits.take(width)
        first[which] = length
        space -= 32 >> length if length else 0
    if space:
        raise OtherKindError("a prefix code is not complete")
    code = _code(first)
    lengths: list[int] = []
    space, before, repeated, of = 1 << LONGEST_CODE, 8, 0, -1
    while len(lengths) < ALPHABET and space > 0:
        number = bits.take_number(code)
        if number < 16:
            lengths.append(number)
            before, repeated = number or before, 0
            space -= (1 << LONGEST_CODE) >> number if number else 0
            continue
        few, length = (2, before) if number == 16 else (3, 0)
        repeated = 0 if length != of else repeated
        of = length
        old = repeated
        repeated = ((repeated - 2) << few if repeated else 0) + bits.take(few) + 3
        lengths += [length] * (repeated - old)
        space -= (repeated - old) * ((1 << LONGEST_CODE) >> length if length else 0)
    if space or len(lengths) > ALPHABET:
        raise OtherKindError("a prefix code is not complete")
    return lengths + [0] * (ALPHABET - len(lengths))


def _code(lengths: list[int]) -> dict[tuple[int, int], int]:
    """The canonical code of these lengths: number by length and bits, the first bit lowest."""
    out = {}
    code, before = 0, 0
    for length, number in sorted((length, number) for number, length in enumerate(lengths) if length):
        code <<= length - before
        out[length, int(f"{code:0{length}b}"[::-1], 2)] = number
        code, before = code + 1, length
    return out


def _tables(lengths: list[int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`near`: by the next bits, 64 x difference + bits used, where that is known from so few, else 0;
    `far`: by the next bits, 16 x number of the code + its length; 0: there is none.
    """
    far = np.zeros(1 << LONGEST_CODE, np.int32)
    near = np.zeros(1 << NEAR_BITS, np.int32)
    for (length, bits), number in _code(lengths).items():
        if LARGEST < number < RUNS:
            raise OtherKindError("its prefix code has numbers that no difference has")
        far[bits :: 1 << length] = 16 * number + length
        more = max(0, number - 1)
        if number < RUNS and length + more <= NEAR_BITS:
            for further in range(1 << more):
                value = (1 << more) + further if number else 0
                near[further << length | bits :: 1 << length + more] = 64 * _signed(value) + length + more
    return near, far


def _signed(value: int) -> int:
    return value >> 1 ^ -(value & 1)


@njit(nogil=True, cache=True)
def _decode(words, starts, sizes, near, far, image):
    """Decode all groups into an image; False if one is not as it should be."""
    height, width = image.shape
    across = -(-width // GROUP)
    for group in range(len(sizes)):
        y0, x0 = group // across * GROUP, group % across * GROUP
        part = image[y0 : min(height, y0 + GROUP), x0 : min(width, x0 + GROUP)]
        if not _decode_group(words, starts[group], sizes[group], near, far, part):
            return False
    return True


@njit(nogil=True, cache=True)
def _decode_group(words, at, size, near, far, image):
    height, width = image.shape
    end = at + size // 4 + 3  # of what may be read
    largest = (1 << 8 * image.itemsize) - 1
    held, count = np.uint64(words[at]), np.int64(32)
    at += 1
    if held & np.uint64(15) != NO_TRANSFORMS:
        return False
    held >>= np.uint64(4)
    count -= 4
    used = np.int64(4)
    run, same = 0, np.int64(0)
    above = np.zeros(width + 1, np.int64)
    for y in range(height):
        left = above[1] if y else np.int64(0)
        corner = left
        for x in range(width):
            if run:
                run -= 1
                difference = same
            else:
                if count < 32:
                    if at >= end:
                        return False
                    held |= np.uint64(words[at]) << np.uint64(count)
                    at += 1
                    count += 32
                found = np.int64(near[held & np.uint64((1 << NEAR_BITS) - 1)])
                if found:
                    length = found & 63
                    difference = found >> 6
                else:
                    entry = np.int64(far[held & np.uint64((1 << LONGEST_CODE) - 1)])
                    length, number = entry & 15, entry >> 4
                    if length == 0:
                        return False
                    if number < RUNS:
                        more = max(0, number - 1)
                        value = np.int64((held >> np.uint64(length)) & np.uint64((1 << more) - 1))
                        value += (1 << more) if number else 0
                        length += more
                        difference = (value >> 1) ^ -(value & 1)
                    else:
                        number -= RUNS
                        more = 0
                        if number >= 16:
                            more = number - 12
                            if more > 17:
                                return False
                            number = (1 << more) + np.int64((held >> np.uint64(length)) & np.uint64((1 << more) - 1))
                        length += more
                        run = number + SHORTEST_RUN - 1
                        difference = same
                held >>= np.uint64(length)
                count -= length
                used += length
                same = difference
            up = above[x + 1] if y else left
            if not y:
                corner = left
            low, high = min(left, up), max(left, up)
            value = min(high, max(low, left + up - corner)) + difference
            if value < 0 or value > largest:
                return False
            corner = up
            left = value
            above[x + 1] = value
            image[y, x] = value
    return run == 0 and held == 0 and (used + 7) // 8 == size

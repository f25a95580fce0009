"""MATLAB files, version 5 (as MATLAB 5 to 7.2 save them): numbers, text and cells.

SciPy reads these files in compiled code that trusts them: one changed byte in a type makes SciPy
1.17 read beyond its tables and kills the process, and a cell array may announce gigabytes. This
reader takes nothing for granted and knows only the kinds of values that data sets are made of.

A file is a header of 128 bytes, then elements: type and length in bytes (uint32 each), data, and
padding to eight bytes. An element of up to four bytes may lie inside its tag. A packed element
holds another one. A matrix holds elements itself: class, dimensions, name, then its values in
column order, or one matrix per cell. Source: MathWorks, "MAT-File Format".
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_INT8, _INT32, _UINT32, _MATRIX, _PACKED = 1, 5, 6, 14, 15
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_CELL, _CHAR = 1, 4
_LETTERS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_DEEPEST = 8  # cells in cells


def load_mat(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named variables of a file, as SciPy's `loadmat` gives them.

    Returns:
        name -> an array of numbers in the variable's class, of rows of text [R], or of objects
        where it is a cell array.

    Raises:
        ValueError: the file is missing, damaged, of another kind or lacks a variable; the message
            names it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        found = dict(_variables(path.read_bytes(), names))
    except (ValueError, struct.error, zlib.error, MemoryError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{path}: not a readable MATLAB file ({reason}); download it again"
        ) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{path}: lacks the variable {missing[0]!r}")
    return found


def _variables(data: bytes, names) -> Iterator[tuple[str, np.ndarray]]:
    order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(data[124:128])
    if order is None:
        raise ValueError("no header of version 5")
    for kind, content in _elements(memoryview(data)[128:], order):
        if kind == _PACKED:
            unpacked = list(_elements(memoryview(zlib.decompress(content)), order))
            if len(unpacked) != 1:
                raise ValueError(f"{len(unpacked)} elements are packed into one")
            kind, content = unpacked[0]
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} between the variables")
        name, value = _matrix(content, order, names, depth=0)
        if name in names:
            yield name, value


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, content) of one element after the other."""
    place = 0
    while place < len(data):
        kind, size = struct.unpack_from(order + "II", data, place)
        start = place + 8
        if kind >> 16:  # a small one: the length shares a number with the type
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            place += 8
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        else:
            place = start + (size if kind == _PACKED else -(-size // 8) * 8)
        if start + size > len(data):
            raise ValueError("it is cut off")
        yield kind, data[start : start + size]


def _matrix(data: memoryview, order: str, names, *, depth: int) -> tuple[str, Any]:
    """Name and value; no value for a variable that nobody asked for."""
    parts = _elements(data, order)
    flags = _next(parts, _UINT32, order + "u4")
    shape = _next(parts, _INT32, order + "i4")
    if len(flags) != 2 or len(shape) < 2 or (shape < 0).any():
        raise ValueError("a variable without class or dimensions")
    shape = tuple(shape.tolist())
    name = bytes(_next(parts, _INT8, "u1")).decode("latin-1")
    if not depth and name not in names:
        return name, None
    kind, complicated = int(flags[0]) & 0xFF, int(flags[0]) & 0x0800
    if kind == _CELL:
        return name, _cells(parts, order, shape, depth)
    stored, content = next(parts, (None, b""))
    if kind == _CHAR:
        return name, _text(stored, content, order, shape)
    if kind not in _CLASSES or stored not in _TYPES or complicated:
        raise ValueError(f"{name or 'a cell'} holds no numbers, text or cells")
    values = np.frombuffer(content, order + _TYPES[stored])
    if len(values) != math.prod(shape):
        raise ValueError(f"{name or 'a cell'} announces {list(shape)} values and has {len(values)}")
    return name, values.reshape(shape, order="F").astype(_CLASSES[kind], order="K", copy=False)


def _cells(parts, order, shape, depth):
    if depth == _DEEPEST:
        raise ValueError("cells are nested too deep")
    values = [
        _matrix(content, order, (), depth=depth + 1)[1] if len(content) else np.zeros((0, 0))
        for kind, content in parts
        if kind == _MATRIX
    ]
    if len(values) != math.prod(shape):
        raise ValueError(f"{list(shape)} cells are announced and {len(values)} there")
    cells = np.empty(len(values), object)
    cells[:] = values
    return cells.reshape(shape, order="F")


def _text(stored, content, order, shape):
    """Rows of a character array."""
    if not math.prod(shape):
        return np.zeros(0, "U1")
    if stored not in _LETTERS or len(shape) != 2:
        raise ValueError(f"text of type {stored} and shape {list(shape)}")
    encoding = _LETTERS[stored]
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if order == "<" else "-be"
    letters = bytes(content).decode(encoding)
    if len(letters) != math.prod(shape):
        raise ValueError(f"{list(shape)} letters are announced and {len(letters)} there")
    return np.array([letters[row :: shape[0]] for row in range(shape[0])])


def _next(parts, wanted, dtype) -> np.ndarray:
    kind, content = next(parts, (None, b""))
    if kind != wanted:
        raise ValueError(f"type {kind} in the place of {wanted}")
    return np.frombuffer(content, dtype)

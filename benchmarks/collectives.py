"""What a compiled program sends between devices, read from its text."""

import math
import re
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# `%name = SHAPE kind(operands)`, or `kind-start` where the compiler lets it run beside others.
# The shape is one word, or a tuple, whose layouts may hold parentheses.
_SHAPE = r"\((?:[^()]|\([^()]*\))*\)|\S+"
_INSTRUCTION = re.compile(rf"= ({_SHAPE}) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


class Traffic(NamedTuple):
    """One kind of collective of a program; bytes are those of one device and one run."""

    count: int  # instructions
    payload: int  # bytes of the whole arrays that are reduced, gathered or exchanged
    sent: float  # bytes that a device sends if all devices form a ring


def traffic(text: str, devices: int) -> dict[str, Traffic]:
    """Collectives of a program by kind.

    An instruction inside of a loop counts once, however often the loop runs; both branches of a
    conditional count.

    Args:
        text: `compiled.as_text()`, the program of one device after partitioning.
        devices: that take part, in all collectives alike.
    """
    found = {}
    for shape, kind, start in _INSTRUCTION.findall(text):
        arrays = _array_bytes(shape)
        if start and kind in ("all-gather", "collective-permute"):
            arrays = arrays[len(arrays) // 2 :]  # operands come before the results
        payload = sum(arrays) * (devices if kind == "reduce-scatter" else 1)
        ring = 0.0 if devices == 1 else (devices - 1) / devices
        share = {"all-reduce": 2 * ring, "collective-permute": 1.0 if ring else 0.0}.get(kind, ring)
        old = found.get(kind, Traffic(0, 0, 0.0))
        found[kind] = Traffic(old.count + 1, old.payload + payload, old.sent + share * payload)
    return found


def _array_bytes(shape):
    """Bytes of each array in a shape such as `(f32[8,4]{1,0}, bf16[3]{0})`; counters left out."""
    sizes = []
    for name, bits, sides in _ARRAY.findall(shape):
        if name == "u32" and not sides:
            continue  # the context of an asynchronous permutation
        each = 1 if name == "pred" else int(bits) / 8
        sizes.append(int(each * math.prod(int(side) for side in sides.split(",") if side)))
    return sizes

"""Which landmark becomes which when a face is mirrored.

A mirrored left eye is a right eye: after a flip the points must also swap their places in the list.
A table holds the pairs that swap; every other point maps onto itself. Indices are 0-based.
"""

import numpy as np

from jaxgen.data import text_files

# 68 points of iBUG / 300-W: jaw, brows, nostrils, eyes, lips.
_IBUG_68 = (
    [(i, 16 - i) for i in range(8)]
    + [(i, 43 - i) for i in range(17, 22)]
    + [(31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    + [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
)
# 98 points of WFLW: jaw, brows, nostrils, eyes, lips, pupils.
_WFLW_98 = (
    [(i, 32 - i) for i in range(16)]
    + [(33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47)]
    + [(55, 59), (56, 58), (60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74)]
    + [(67, 73), (76, 82), (77, 81), (78, 80), (83, 87), (84, 86), (88, 92), (89, 91), (93, 95)]
    + [(96, 97)]
)
# fmt: off
_COFW_29 = [(0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17),
            (18, 19), (22, 23)]
# fmt: on
_AFLW_19 = [(0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9), (12, 14), (15, 17)]
# Eyes, nose, mouth corners: CelebA and most face detectors.
_FIVE = [(0, 1), (3, 4)]

TABLES = {68: _IBUG_68, 98: _WFLW_98, 29: _COFW_29, 19: _AFLW_19, 5: _FIVE}


def permutation(pairs, num_points) -> np.ndarray:
    """Where each point of a mirrored face comes from: `mirrored = moved[permutation]`.

    Args:
        pairs: (left, right) indices that swap.
        num_points: K.

    Returns:
        [K] int64; its own inverse.

    Raises:
        ValueError: an index is out of range, or a point appears in two pairs.
    """
    order = np.arange(num_points)
    seen = [index for pair in pairs for index in pair]
    wrong = [i for i in seen if not 0 <= i < num_points]
    if wrong:
        raise ValueError(f"flip pairs name point {wrong[0]}, but points are 0 to {num_points - 1}")
    if len(set(seen)) < len(seen):
        twice = next(i for i in seen if seen.count(i) > 1)
        raise ValueError(f"flip pairs name point {twice} twice; each point swaps with one other")
    for left, right in pairs:
        order[left], order[right] = right, left
    return order


def read_pairs(path) -> list[tuple[int, int]]:
    """Pairs from a text file: one `left,right` a line, 0-based; `#` starts a comment.

    Raises:
        ValueError: a line is something else; the message holds file and line.
    """
    pairs = []
    for number, line in enumerate(text_files.read_text(path).splitlines(), start=1):
        content = line.split("#")[0].strip()
        if not content:
            continue
        try:
            left, right = (int(part) for part in content.split(","))
        except ValueError:
            shown = text_files.quoted(line)
            raise ValueError(
                f"{path}:{number}: expected two 0-based indices such as 3,7, got {shown}"
            ) from None
        pairs.append((left, right))
    return pairs


def for_points(num_points, path=None) -> np.ndarray:
    """The permutation for K points: from a file, or from the table of the known sets.

    Raises:
        ValueError: no file is given and no known set has this many points.
    """
    if path:
        pairs = read_pairs(path)
        try:
            return permutation(pairs, num_points)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    if num_points not in TABLES:
        raise ValueError(
            f"no flip pairs are known for {num_points} points: name a file with one left,right "
            "pair a line in config.data.flip_pairs, or set config.augment.flip=0"
        )
    return permutation(TABLES[num_points], num_points)

"""`.pts` files of the iBUG family: one face's points as text.

    version: 1
    n_points: 68
    {
    53.370 98.290
    ...
    }

Coordinates are 1-based (MATLAB): 1 is subtracted, fractions are kept.
"""

from pathlib import Path

import numpy as np

from jaxgen.data import text_files


def read_pts(path, num_points) -> np.ndarray:
    """Points of one file.

    Args:
        path: the file.
        num_points: how many it must hold.

    Returns:
        [num_points, 2] float64 (x, y), 0-based pixels.

    Raises:
        ValueError: another count, a value that is no finite number, or anything else where the
            format has its fixed words; the message holds file and line.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    content = [(n, line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]

    def fail(number, message):
        raise ValueError(f"{path}:{number}: {message}")

    def word(index, what):
        return content[index] if index < len(content) else fail(len(lines), f"no {what}")

    number, line = word(0, "'version:' line")
    if not line.startswith("version:"):
        fail(number, f"expected 'version: 1', got {line[:40]!r}")
    number, line = word(1, "'n_points:' line")
    key, _, count = line.partition(":")
    if key.strip() != "n_points" or count.strip() != str(num_points):
        fail(number, f"expected 'n_points: {num_points}', got {line[:40]!r}")
    number, line = word(2, "'{'")
    if line != "{":
        fail(number, f"expected '{{', got {line[:40]!r}")
    points = []
    for number, line in content[3:]:
        if line == "}":
            break
        try:
            x, y = (text_files.number(value) for value in line.split())
        except ValueError:
            fail(number, f"expected two numbers, got {line[:40]!r}")
        points.append((x - 1.0, y - 1.0))
    else:
        fail(len(lines), "the file ends before '}'")
    if len(points) != num_points:
        fail(number, f"{len(points)} points, but the header says {num_points}")
    return np.array(points, np.float64)

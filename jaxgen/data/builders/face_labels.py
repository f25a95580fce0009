"""What a user's files may say about pictures of faces: landmarks and yaws, as CSV with a header.

    name,point,x,y           5 or 68 points a face, counted from 0, as LaplaceKL's `predict` writes
                             them (its other columns are ignored, but `face` and `frame` must be 0
                             or empty: one face a picture)
    name,yaw                 degrees, positive when the nose points to the image's right

`name` is the path below the data set's folder. Coordinates are pixels, the centre of the top left
pixel is (0, 0).
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxgen.data import text_files


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """Landmarks by name, each [5, 2] or [68, 2] float64.

    Raises:
        ValueError: the file cannot be read or a face lacks points; the message names the line or
            the picture.
    """
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for line, row in _rows(path, ("name", "point", "x", "y")):
        if any(row.get(key) not in (None, "", "0") for key in ("face", "frame")):
            raise ValueError(
                f"{path}, line {line}: a second face or frame of {row['name']!r}; recognition "
                "needs pictures of one face each"
            )
        point = int(_number(path, line, row, "point"))
        points = found.setdefault(row["name"], {})
        if point in points:
            raise ValueError(f"{path}, line {line}: point {point} of {row['name']!r} comes twice")
        points[point] = (_number(path, line, row, "x"), _number(path, line, row, "y"))
    for name, points in found.items():
        if sorted(points) not in (list(range(5)), list(range(68))):
            raise ValueError(
                f"{path}: {name!r} has {len(points)} points; faces have 5 or 68, counted from 0"
            )
    return {
        name: np.array([points[k] for k in range(len(points))]) for name, points in found.items()
    }


def read_yaws(path: Path) -> dict[str, float]:
    """Yaw in degrees by name.

    Raises:
        ValueError: the file cannot be read, or a yaw is no angle in -180 .. 180.
    """
    yaws = {}
    for line, row in _rows(path, ("name", "yaw")):
        yaw = _number(path, line, row, "yaw")
        if abs(yaw) > 180:
            raise ValueError(f"{path}, line {line}: a yaw of {yaw:g} degrees is beyond 180")
        if row["name"] in yaws:
            raise ValueError(f"{path}, line {line}: {row['name']!r} comes twice")
        yaws[row["name"]] = yaw
    return yaws


def read_table(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header, each with its line number.

    Args:
        path: the file.
        columns: names that the header must have; a row must fill all of them.

    Raises:
        ValueError: the file, a column or a value is missing; the message names the line.
    """
    return list(_rows(path, columns))


def _rows(path, columns) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(
                    f"{path}, line 1: the header lacks {', '.join(missing)}; it must name "
                    f"{','.join(columns)}"
                )
            for row in reader:
                empty = [column for column in columns if not row[column]]
                if empty:
                    raise ValueError(f"{path}, line {reader.line_num}: {empty[0]} is empty")
                yield reader.line_num, row
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a text file in UTF-8 ({error})") from error


def _number(path, line, row, column) -> float:
    try:
        return text_files.number(row[column])
    except ValueError:
        shown = text_files.quoted(row[column])
        raise ValueError(f"{path}, line {line}: {column} is {shown}, not a number") from None

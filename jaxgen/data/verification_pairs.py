"""Pairs that verification is measured on: CFP's folds, drawn folds, pairs of templates.

Pairs hold rows of a `recognition_sets.Faces`; scores of a pair are
`recognition.cosine`-like products of the two rows' features, and the figures come from
`recognition.over_folds(scores, pairs.same, pairs.fold)`.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxgen.data import hashing, text_files
from jaxgen.data.builders import cfp, face_labels, face_templates, registry
from jaxgen.data.recognition_sets import Faces

CFP_KINDS = {"FF": ("frontal", "frontal"), "FP": ("frontal", "profile")}
CFP_FOLDS, CFP_PAIRS = 10, 350  # pairs of the same person in a fold, and as many of different ones
CFP_PAIRS_PER_PERSON = 7  # on average in the official lists: 350 of the 50 people of a fold
_log = logging.getLogger(__name__)


class Pairs(NamedTuple):
    """Pairs of pictures.

    Attributes:
        first: [Q] int64 rows; second: [Q] int64.
        same: [Q] bool, True for the same person.
        fold: [Q] int64, 0, 1, ...
        dropped: number of pairs of the protocol whose pictures are not there.
    """

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    fold: np.ndarray
    dropped: int = 0


class TemplatePairs(NamedTuple):
    """Pairs of templates.

    Attributes:
        templates: T ids.
        rows: [T, n] int64, the pictures of each; rows beyond a template's last repeat its first.
        mask: [T, n] bool, False for those.
        first: [Q] int64 numbers of templates; second: [Q] int64.
        same: [Q] bool.
    """

    templates: tuple[str, ...]
    rows: np.ndarray
    mask: np.ndarray
    first: np.ndarray
    second: np.ndarray
    same: np.ndarray


def cfp_pairs(data_config, faces: Faces, kind: str) -> Pairs:
    """The official ten folds of CFP, as far as their pictures are there.

    Args:
        data_config: mapping with name "cfp"; its manual_dir and options say where the files lie.
        faces: the split "all", or another.
        kind: "FF" frontal-frontal or "FP" frontal-profile.

    Raises:
        ValueError: a list is missing or broken (the message names file and line), or fewer than two
            folds have any pair left.
    """
    kinds = _kinds(kind)
    folder = registry.manual_folder(
        data_config.get("manual_dir", ""), cfp.Cfp, data_config.get("options", None)
    )
    row_of = {name: row for row, name in enumerate(faces.name)}
    names = [_read_pictures(folder / "Protocol" / f"Pair_list_{k[0].upper()}.txt") for k in kinds]
    pairs, dropped = [], 0
    for fold in range(CFP_FOLDS):
        for same in (True, False):
            listed = "same" if same else "diff"
            path = folder / "Protocol" / "Split" / kind / f"{fold + 1:02d}" / f"{listed}.txt"
            for one, other in _read_pairs(path, names):
                if one in row_of and other in row_of:
                    pairs.append((row_of[one], row_of[other], same, fold))
                else:
                    dropped += 1
    left = len({pair[3] for pair in pairs})
    if left < 2:
        raise ValueError(
            f"{folder}: only {left} folds of CFP {kind} have pairs whose pictures are in this "
            'split; open the split "all", or use `drawn_pairs`'
        )
    if dropped:
        _log.warning(
            "CFP %s in %s: %d of %d pairs are left out because a picture is not there, %d of %d "
            "folds are left; do not compare with published results",
            *(kind, folder, dropped, dropped + len(pairs), left, CFP_FOLDS),
        )
    return _pairs(pairs, dropped)


def drawn_pairs(
    faces: Faces, kind: str, *, folds: int = CFP_FOLDS, per_person: int = CFP_PAIRS_PER_PERSON
) -> Pairs:
    """Folds of CFP's shape over whoever is there: for splits of people of one's own.

    People are dealt to the folds, so that no one is in two. Each person gets `per_person` pairs of
    her own pictures and as many with other people of the fold, fewer where there are not so many.
    Everything hangs on names alone and comes out alike everywhere.

    Args:
        faces: pictures whose `subset` is "frontal" or "profile".
        kind: "FF" or "FP".
        folds: number of folds; two people or more in each.
        per_person: pairs of either sort.

    Raises:
        ValueError: too few people, a person without pictures of a kind, or a set that does not say
            which pictures are of which kind.
    """
    kinds = _kinds(kind)
    if not set(faces.subset) & set(kinds):
        raise ValueError(
            "pairs are drawn of frontal and profile pictures by their `subset`, as CFP's builder "
            f"gives it, and the pictures of this set have {text_files.quoted(faces.subset[0])} "
            'there: set config.test.protocol="identification" for such a set'
        )
    people = faces.people
    dealt = sorted(range(len(people)), key=lambda p: hashing.uniform(f"fold/{people[p]}"))
    if len(dealt) < 2 * folds:
        raise ValueError(f"{len(dealt)} people cannot fill {folds} folds with two people each")
    rows = faces.rows_of_people()
    of_kind = [
        {k: [row for row in own if faces.subset[row] == k] for k in set(kinds)} for own in rows
    ]
    pairs = []
    for place, person in enumerate(dealt):
        fold = place % folds
        own, there = of_kind[person], dealt[fold::folds]
        lacking = [k for k in kinds if len(own[k]) < (2 if kind == "FF" else 1)]
        if lacking:
            raise ValueError(f"{people[person]!r} has too few {lacking[0]} pictures for pairs")
        same = [(a, b) for a in own[kinds[0]] for b in own[kinds[1]] if kind == "FP" or a < b]
        others = [row for p in there if p != person for row in of_kind[p][kinds[1]]]
        different = [(a, b) for a in own[kinds[0]] for b in others]
        for is_same, listed in ((True, same), (False, different)):
            text = f"{kind}/{'same' if is_same else 'diff'}"
            listed.sort(
                key=lambda ab: hashing.uniform(f"{text}/{faces.name[ab[0]]}/{faces.name[ab[1]]}")
            )
            pairs += [(a, b, is_same, fold) for a, b in listed[:per_person]]
    return _pairs(sorted(pairs, key=lambda pair: (pair[3], not pair[2])), 0)


def template_pairs(data_config, faces: Faces) -> TemplatePairs:
    """The pairs of a `face_templates` set.

    Args:
        data_config: mapping with name "face_templates" and its manual_dir and options.
        faces: the split "test"; `subset` is the template.

    Raises:
        ValueError: the list is missing or broken, or names a template without a picture.
    """
    options = face_templates.FaceTemplates.complete_options(data_config.get("options", None))
    folder = registry.manual_folder(
        data_config.get("manual_dir", ""), face_templates.FaceTemplates, options
    )
    path = folder / options["pairs"]
    templates = tuple(sorted(set(faces.subset)))
    number = {template: k for k, template in enumerate(templates)}
    listed = []
    for line, row in face_labels.read_table(path, ("template_a", "template_b", "same")):
        two = row["template_a"], row["template_b"]
        absent = [template for template in two if template not in number]
        if absent:
            raise ValueError(
                f"{path}, line {line}: template {text_files.quoted(absent[0])} has no picture"
            )
        if row["same"] not in ("0", "1"):
            shown = text_files.quoted(row["same"])
            raise ValueError(f"{path}, line {line}: same is 0 or 1, got {shown}")
        listed.append((*(number[template] for template in two), row["same"] == "1"))
    if not listed:
        raise ValueError(f"{path}: no pair in it")
    members = [[] for _ in templates]
    for row, template in enumerate(faces.subset):
        members[number[template]].append(row)
    rows, mask = padded(members)
    first, second, same = (np.array(column) for column in zip(*listed, strict=True))
    return TemplatePairs(templates, rows, mask, first, second, same)


def padded(sets: list) -> tuple[np.ndarray, np.ndarray]:
    """Sets of rows, each with one row or more, as one array [T, n] and its mask.

    Raises:
        ValueError: a set without a row; its number is named.
    """
    empty = [number for number, rows in enumerate(sets) if not len(rows)]
    if empty:
        raise ValueError(f"set {empty[0]} holds no picture: leave it out")
    longest = max(map(len, sets))
    mask = np.arange(longest) < np.array([[len(rows)] for rows in sets])
    rows = np.array([[*rows, *[rows[0]] * (longest - len(rows))] for rows in sets])
    return rows.astype(np.int64), mask


def _kinds(kind):
    if kind not in CFP_KINDS:
        raise ValueError(f"pairs are of one of {list(CFP_KINDS)}, got {kind!r}")
    return CFP_KINDS[kind]


def _pairs(listed, dropped):
    first, second, same, fold = (np.array(column) for column in zip(*listed, strict=True))
    return Pairs(first, second, same, fold, dropped)


def _read_pictures(path: Path) -> dict[str, str]:
    """Number -> name such as "001/frontal/01"."""
    found = {}
    for line, text in _lines(path):
        number, _, picture = text.partition(" ")
        parts = picture.strip().replace("\\", "/").rsplit("/", 3)
        if not number.isdigit() or len(parts) != 4 or not parts[3].endswith(".jpg"):
            shown = text_files.quoted(text)
            raise ValueError(f"{path}, line {line}: expected `NUMBER PATH.jpg`, got {shown}")
        found[number] = "/".join([*parts[1:3], parts[3].removesuffix(".jpg")])
    return found


def _read_pairs(path: Path, names) -> list[tuple[str, str]]:
    pairs = []
    for line, text in _lines(path):
        numbers = [part.strip() for part in text.split(",")]
        if len(numbers) != 2:
            shown = text_files.quoted(text)
            raise ValueError(f"{path}, line {line}: expected `NUMBER,NUMBER`, got {shown}")
        for number, listed in zip(numbers, names, strict=True):
            if number not in listed:
                shown = text_files.quoted(number)
                raise ValueError(f"{path}, line {line}: the protocol names no picture {shown}")
        pairs.append(tuple(listed[n] for n, listed in zip(numbers, names, strict=True)))
    if len(pairs) != CFP_PAIRS:
        raise ValueError(f"{path}: {len(pairs)} pairs, but the protocol has {CFP_PAIRS}")
    return pairs


def _lines(path):
    try:
        text = text_files.read_text(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: this list of the protocol cannot be read ({error})") from error
    return [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]

"""Measures the GAN on held-out crops: how true its images are, and how well faces are told.

PSNR counts crops whose true high-resolution image is known, all of them and faces alone.
Accuracies are the mean of the share of faces and of the share of backgrounds that are classified
right, so that a class that is rare in a size counts as much as the other; sizes are heights of the
faces in the picture, in pixels.
"""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from PIL import Image

from jaxgen.data import array_batches, face_pair_files
from jaxgen.kernels.pixels import unscale
from jaxgen.tasks import tiny_faces, tiny_faces_figures
from jaxgen.tasks import tiny_faces_players as players
from jaxgen.tasks.tiny_faces_players import Variables
from jaxgen.training import hosts

HEIGHTS = (0, 8, 16, 32, np.inf)  # bounds of the sizes
_VALIDATED = 384  # crops that are looked at while training
_SHOWN = 4  # strips that are drawn while training


def compile_evaluate(config) -> Callable[[Variables, Mapping], dict[str, np.ndarray]]:
    """Compiles once for each kind of variables: (variables, crops) -> arrays of `eval_step`.

    Each process measures its share on a device of its own; all of them get all results.
    """
    compiled = jax.jit(partial(tiny_faces.eval_step, config))
    size = config.gan.fusion.batch_size

    def evaluate(variables, crops):
        variables = hosts.fetch(variables)
        arrays = {name: crops[name] for name in ("low", "image")}
        batches = array_batches.evaluation_batches(
            arrays, batch_size=size, process_index=hosts.index(), process_count=hosts.count()
        )
        parts = []
        for batch in batches:
            found = compiled(variables, {name: batch[name] for name in arrays})
            found = {name: np.asarray(value) for name, value in found.items()}
            parts.append(jax.tree.map(lambda x, v=batch["valid"]: x[v], (found, batch["index"])))
        return hosts.gather_in_order(*jax.tree.map(lambda *each: np.concatenate(each), *parts))

    return evaluate


def compile_enlarge(config) -> Callable[[Variables, np.ndarray], list[np.ndarray]]:
    """(variables, low uint8 [N, l, l, 3]) -> first and second image, uint8 [N, h, h, 3] each.

    Without a refinement network both are the first.
    """

    @jax.jit
    def enlarge(variables, low):
        images = players.super_resolve(config, variables, low)
        return [unscale(image) for image in (images.coarse, images.final)]

    return lambda variables, low: jax.device_get(enlarge(hosts.fetch(variables), low))


def validated_rows(paired: np.ndarray) -> np.ndarray:
    """Held-out crops that are looked at in training, spread over all.

    Args:
        paired: [N] bool. The generator is judged by paired crops alone, so some are among them.

    Returns:
        Ascending rows of N, int64.
    """
    rows = np.unique(np.linspace(0, len(paired) - 1, _VALIDATED).astype(int))
    return rows if paired[rows].any() else np.union1d(rows, np.flatnonzero(paired)[:_SHOWN])


def compile_validation(config, devices: Mesh, crops: Mapping) -> Callable[..., dict[str, float]]:
    """(variables, folder, step) -> a few numbers of some held-out crops, for training.

    With a folder and a generator, strips of pictures go to FOLDER/pictures as well.
    """
    del devices  # every process looks for itself
    rows = validated_rows(np.asarray(crops["paired"]))
    some = {name: np.asarray(crops[name][rows]) for name in face_pair_files.NAMES}
    evaluate, enlarge = compile_evaluate(config), compile_enlarge(config)
    shown = np.flatnonzero(some["is_face"] & some["paired"])[:_SHOWN]

    def validate(variables, folder: Path | None = None, step: int = 0):
        found = evaluate(variables, some)
        numbers = {}
        if variables.generator is not None:
            numbers |= psnr_numbers(found, some)
        if variables.discriminator is not None:
            numbers["class_loss"] = class_loss(found["face_super_resolved"], some["is_face"])
            for kind in ("real", "super_resolved"):
                right = (found[f"face_{kind}"] > 0) == some["is_face"]
                counts = some["paired"] if kind == "real" else np.ones_like(right)
                numbers[f"face_accuracy_{kind}"] = balanced_accuracy(right, some["is_face"], counts)
        if folder is not None and variables.generator is not None and len(shown):
            save_strips(folder / "pictures", step, enlarge, variables, some, shown)
        return {name: value for name, value in numbers.items() if np.isfinite(value)}

    return validate


def psnr_numbers(found: Mapping[str, np.ndarray], crops: Mapping) -> dict[str, float]:
    """Mean PSNR in dB over the paired crops: psnr of the final image, psnr_coarse of the first.

    psnr_faces and psnr_faces_coarse are those of faces alone: much background is flat, and flat
    crops have a high PSNR by any method. Without such crops there is no number.
    """
    paired = np.asarray(crops["paired"])
    numbers = {}
    for name, rows in (("psnr", paired), ("psnr_faces", paired & np.asarray(crops["is_face"]))):
        if rows.any():
            numbers[name] = float(found["psnr_final"][rows].mean())
            numbers[f"{name}_coarse"] = float(found["psnr_coarse"][rows].mean())
    return numbers


def accuracy_by_height(logits: np.ndarray, crops: Mapping, counts: np.ndarray) -> dict[str, float]:
    """Accuracies in percent: "all", and "height_8_16" and so on. NaN where a class is missing.

    Args:
        logits: [N], above 0 for a face.
        crops: with is_face and height.
        counts: [N] bool, crops that count.
    """
    is_face, height = np.asarray(crops["is_face"]), np.asarray(crops["height"])
    right = (logits > 0) == is_face
    numbers = {"all": balanced_accuracy(right, is_face, counts)}
    for low, high in itertools.pairwise(HEIGHTS):
        inside = counts & (height > low) & (height <= high)
        name = f"height_{low}_{'inf' if np.isinf(high) else high}"
        numbers[name] = balanced_accuracy(right, is_face, inside)
    return numbers


def balanced_accuracy(right: np.ndarray, is_face: np.ndarray, counts: np.ndarray) -> float:
    """Mean of both classes' accuracies, in percent; NaN without both. [N] bool each."""
    classes = [counts & is_face, counts & ~is_face]
    if not all(rows.any() for rows in classes):
        return float("nan")
    return 100 * float(np.mean([right[rows].mean() for rows in classes]))


def class_loss(logits: np.ndarray, is_face: np.ndarray) -> float:
    """Mean cross-entropy of face and background."""
    signed = np.where(is_face, -logits, logits).astype(np.float64)
    return float(np.logaddexp(0, signed).mean())


def save_strips(folder: Path, step: int, enlarge, variables, crops, rows) -> None:
    """Writes FOLDER/step_000123.png, strips of some crops."""
    low = np.asarray(crops["low"][rows])
    coarse, final = enlarge(variables, low)
    bicubic, _ = enlarge(Variables(None, None), low)
    truth = np.asarray(crops["image"][rows])
    if not hosts.is_first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    picture = tiny_faces_figures.plain_strips(low, bicubic, coarse, final, truth)
    Image.fromarray(picture).save(folder / f"step_{step:06d}.png")

"""Poses of DR-GAN: of real images, and which ones are drawn in a step.

A batch holds sets of n images of P people, see dr_gan.py. Poses are classes or yaws in degrees
(config.pose.form).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.tasks.dr_gan_losses import Poses, by_class, is_known


class Wanted(NamedTuple):
    """What to draw: each image's person once, then each set's. R = P n, and P more with sets."""

    identity: jax.Array  # [R] int32
    poses: Poses  # [R]
    there: jax.Array  # [R] bool: whether its source is an image, not a filler
    like: jax.Array  # [R] int32: a real image [P n] of that person
    paired: jax.Array  # [R] bool: whether that image has the wanted pose


def pose_code(config, yaw: jax.Array) -> Poses:
    """Poses of wanted yaws.

    Args:
        config: pose.classes lists the yaws of the classes; the nearest one is taken.
        yaw: [R] degrees.
    """
    if not by_class(config):
        return Poses(yaw[:, None] / 90, jnp.deg2rad(yaw))
    classes = jnp.asarray(config.pose.classes, jnp.float32)
    return _of_classes(config, jnp.abs(yaw[:, None] - classes).argmin(-1))


def real_poses(config, faces: Any) -> Poses:
    """Poses [P n] of the images of a batch, in order; label -1 or NaN where unknown.

    Args:
        config: of the run.
        faces: as of `dr_gan.train_step`: "pose" [P, n] int32, "yaw" [P, n] float32 degrees.
    """
    if by_class(config):
        return _of_classes(config, faces["pose"].reshape(-1))
    return pose_code(config, faces["yaw"].reshape(-1))


def draw_poses(config, key: jax.Array, shape: tuple[int, int]) -> Poses:
    """Random target poses: every class alike; a yaw within pose.limit, often near frontal.

    Args:
        config: of the run.
        key: PRNG key.
        shape: [P, n'], flattened in the result.
    """
    if by_class(config):
        label = jax.random.randint(key, shape, 0, len(config.pose.classes))
        return _of_classes(config, label.reshape(-1))
    # As the authors' code has it: the first of each set near frontal, the others anywhere.
    first, others = jax.random.split(key)
    yaw = jax.random.uniform(others, shape, minval=-1, maxval=1) * config.pose.limit
    near = jnp.clip(45 * jax.random.normal(first, shape[:1]), -config.pose.limit, config.pose.limit)
    return pose_code(config, yaw.at[:, 0].set(near).reshape(-1))


def wanted_images(config, key: jax.Array, faces: Any) -> Wanted:
    """Random poses; or, with gan.weights.pixel, those of other pictures of the same people.

    Args:
        config: gan.fuse says whether sets of several images are drawn from as well.
        key: PRNG key.
        faces: as of `dr_gan.train_step`.
    """
    people, count = faces["mask"].shape
    pose_of_each, pose_of_set = jax.random.split(key)
    if config.gan.weights.pixel:
        wanted = other_pictures(config, pose_of_each, faces)
    else:
        poses = draw_poses(config, pose_of_each, (people, count))
        identity, there = faces["identity"].repeat(count), faces["mask"].reshape(-1)
        wanted = Wanted(identity, poses, there, jnp.arange(len(there)), jnp.zeros_like(there))
    if not has_sets(config, count):
        return wanted
    # A set draws what its first image should show, or anything.
    of_sets = jax.tree.map(lambda each: each[::count], wanted)
    if not config.gan.weights.pixel:
        of_sets = of_sets._replace(poses=draw_poses(config, pose_of_set, (people, 1)))
    return join(wanted, of_sets._replace(there=faces["mask"].any(-1)))


def other_pictures(config, key: jax.Array, faces: Any) -> Wanted:
    """Of each image the next picture of its set; R = P n.

    Args:
        config: of the run.
        key: PRNG key for poses where that picture is missing or its pose unknown.
        faces: as of `dr_gan.train_step`.
    """
    people, count = faces["mask"].shape
    there = faces["mask"].reshape(-1)
    like = jnp.roll(jnp.arange(people * count).reshape(people, count), -1, 1).reshape(-1)
    drawn, real = draw_poses(config, key, (people, count)), real_poses(config, faces)
    paired = (is_known(config, real.label) & there)[like] & there
    poses = Poses(
        jnp.where(paired[:, None], real.code[like], drawn.code),
        jnp.where(paired, real.label[like], drawn.label),
    )
    return Wanted(faces["identity"].repeat(count), poses, there, like, paired)


def without_targets(mask: jax.Array, wanted: Wanted) -> jax.Array:
    """The pictures that a set may be drawn from: all but the one its drawing is compared with.

    A fused feature that holds the target itself would be rewarded for the light, the expression and
    the background of that very picture, which a feature of the person must not keep.

    Args:
        mask: [P, n] bool, True for pictures that are there.
        wanted: of `wanted_images`, with sets: R = P n + P.

    Returns:
        [P, n] bool; a set of the target alone keeps it.
    """
    people, count = mask.shape
    like, paired = wanted.like[people * count :], wanted.paired[people * count :]
    rows = jnp.arange(people * count).reshape(people, count)
    others = mask & ~((rows == like[:, None]) & paired[:, None])
    return jnp.where(others.any(-1, keepdims=True), others, mask)


def has_sets(config, count: int) -> bool:
    """Whether something is drawn from sets of `count` images too."""
    return config.gan.fuse and count > 1


def join(first: Any, second: Any) -> Any:
    """Trees of arrays [R, ...] and [R', ...] -> [R + R', ...]."""
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), first, second)


def _of_classes(config, label):
    return Poses(jax.nn.one_hot(label, len(config.pose.classes)), label)

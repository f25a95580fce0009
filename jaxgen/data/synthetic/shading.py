"""Colour of the head: light and smooth paint per vertex, fine paint per pixel.

Whatever varies slowly (light, skin tone, where a beard grows) is computed at the vertices and
interpolated; edges and patterns (lips, brows, iris, strands) are decided at each pixel.
Colours are linear light.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import random

from jaxgen.data.synthetic import asset, camera, hair, lighting, materials, texture
from jaxgen.data.synthetic.materials import mix, smoothstep
from jaxgen.data.synthetic.stored import PARTS

# Pattern tile of a person: coarse, middle and fine skin, strands of hair (texels along, across).
PATTERNS = ((8.0, 8.0), (2.5, 2.5), (0.9, 0.9), (10.0, 0.4))


class Surface(NamedTuple):
    """What is interpolated, per vertex [V] or per pixel [H, W]; the last axis is split off.

    Attributes:
        rest: [..., 3] place on the mean head.
        normal: [..., 3] in posed model axes.
        light: [..., 3] irradiance / pi.
        albedo: [..., 3] smooth part of the colour.
        lip, lower, ear: [..., 1] fields of the asset.
        beard: [..., 1] in [0, 1]; root: [..., 1] degrees inside the hairline.
        texture: [..., 2] place on the pattern tile.
    """

    rest: jnp.ndarray
    normal: jnp.ndarray
    light: jnp.ndarray
    albedo: jnp.ndarray
    lip: jnp.ndarray
    lower: jnp.ndarray
    ear: jnp.ndarray
    beard: jnp.ndarray
    root: jnp.ndarray
    texture: jnp.ndarray


def pack(surface):
    """Surface -> [..., 20]."""
    return jnp.concatenate(surface, -1)


def unpack(values):
    """[..., 20] -> Surface."""
    return Surface(*jnp.split(values, (3, 6, 9, 12, 13, 14, 15, 16, 17), -1))


def at_vertices(head, scene, normal):
    """Everything that the pixels interpolate.

    Args:
        head: asset.Head.
        scene: scene.Scene.
        normal: [V + H, 3] posed.

    Returns:
        Surface of [V + H, ...].
    """
    person, skins, hairs = scene.person, len(head.mean), len(head.hair_base)
    rotation = camera.rotation_matrix(scene.angles)
    light = lighting.rotate_to_head(scene.light, rotation)
    shadowed = jnp.maximum(head.transfer @ light, 0)
    free = jnp.maximum(lighting.irradiance(light, normal @ rotation), 0)
    # What the mean head shadows stays dark; elsewhere the true normal decides.
    skin_light = jnp.sqrt(shadowed * (0.5 * shadowed + 0.5 * free[:skins]))
    # Hair and hats throw a soft shadow on the skin below them.
    overhang = hair.hairline(person.style, scene.hat, head.skull_angles)
    thick = jnp.where(scene.hat > 0, 1.0, smoothstep(0.06, 0.3, person.style[0]))
    skin_light *= 1 - 0.45 * (thick * smoothstep(-16.0, 2.0, overhang))[:, None]
    # Hair shadows itself: less light towards the roots and low down.
    hair_light = free[skins:] * (0.75 - 0.3 * head.hair_drop[:, None])

    def field(name):
        values = head.fields[:, asset.FIELDS.index(name)]
        return jnp.concatenate([values, jnp.zeros(hairs)])[:, None]

    def with_hair(values):
        return jnp.concatenate([values, jnp.zeros((hairs, *values.shape[1:]))])

    ear = field("ear")
    tint = materials.skin(person, head.mean, ear[:skins, 0], head.marks)
    root = hair.hairline(person.style, scene.hat, head.skull_angles, painted=True)
    root = jnp.where((person.style[0] < 0.06) & (scene.hat == 0), -90.0, root)
    return Surface(
        rest=jnp.concatenate([head.mean, head.hair_base]),
        normal=normal,
        light=jnp.concatenate([skin_light, hair_light]),
        albedo=with_hair(tint),
        lip=field("lip"),
        lower=field("lower"),
        ear=ear,
        beard=with_hair(materials.beard(person, head.mean, head.marks)[:, None]),
        root=with_hair(root[:, None]),
        texture=head.texture,
    )


def at_pixels(head, scene, surface, triangle):
    """Colour and part of each pixel.

    Args:
        head: asset.Head.
        scene: scene.Scene.
        surface: Surface of [H, W, ...].
        triangle: [H, W] int32, any number where nothing is.

    Returns:
        [H, W, 3] linear light, [H, W] int32 index into PARTS.
    """
    person = scene.person
    material = head.material[jnp.maximum(triangle, 0)]
    x, y, z = (surface.rest[..., k] for k in range(3))
    lip, ear, root = surface.lip[..., 0], surface.ear[..., 0], surface.root[..., 0]
    tile = texture.noise_tile(random.wrap_key_data(person.texture), PATTERNS)
    pattern = texture.look_up(tile, surface.texture)
    coarse, middle, fine, strand = (0.5 * pattern[..., k] for k in range(4))

    # Skin with pores and spots, lips, brows, beard.
    rough = 0.05 * coarse + (0.03 + 0.07 * person.wear) * middle + 0.05 * person.wear * fine
    albedo = surface.albedo * (1 + rough)[..., None]
    spots = smoothstep(0.6, 0.95, fine) * person.freckles * (z > 0.5)
    albedo = albedo * (1 - spots[..., None] * jnp.array([0.2, 0.32, 0.4]))
    painted = (
        materials.skin_tone(person) * jnp.array([0.92, 0.5, 0.55]) * (1 + 0.1 * middle)[..., None]
    )
    albedo = mix(albedo, painted, smoothstep(0.35, 0.75, lip) * (0.35 + 0.65 * person.lips))
    hair_color = materials.to_linear(person.hair)
    curve = materials.brow_curve(head.marks)
    brow = materials.brow(person, x, y, z, curve, fine)
    beard = surface.beard[..., 0] * (0.85 + 0.25 * fine + 0.15 * middle) * smoothstep(0.4, 0.2, lip)
    scalp = smoothstep(-4.0, 6.0, root + 7 * strand + 4 * middle) * (ear < 0.5)
    hat = scene.hat > 0
    lashes = materials.lash_line(x, y, z, materials.lid_curve(head.marks))
    albedo = albedo * (1 - 0.75 * lashes)[..., None]
    cover = jnp.maximum(jnp.maximum(0.85 * brow, 0.85 * jnp.clip(beard, 0, 1)), scalp * ~hat)
    albedo = mix(albedo, 0.8 * hair_color * (1 + 0.3 * middle)[..., None], cover)

    strands = jnp.clip(1 + 0.45 * strand + 0.25 * middle, 0.2, 2)[..., None]
    cloth = materials.to_linear(scene.palette[3]) * (1 + 0.1 * middle)[..., None]
    knit = materials.to_linear(scene.palette[2]) * (1 + 0.15 * middle)[..., None]
    centre = jnp.where(x[..., None] < 0, head.eyes[0], head.eyes[1])
    direction = (surface.rest - centre[..., :3]) / centre[..., 3:]
    is_cloth = (y < -1.55 + 0.25 * jnp.abs(x)) & (material == asset.SKIN)
    is_hair = material == asset.HAIR
    for where, color in (
        (is_cloth, cloth),
        (material == asset.EYE, materials.eyeball(person, direction, scene.gaze, fine)),
        (material == asset.MOUTH, jnp.array([0.22, 0.05, 0.05])),
        (material == asset.TEETH, jnp.array([0.95, 0.88, 0.74])),
        (material == asset.TONGUE, jnp.array([0.42, 0.15, 0.14])),
        (is_hair & ~hat, hair_color * strands),
        (is_hair & hat, knit),
    ):
        albedo = jnp.where(where[..., None], color, albedo)

    color = albedo * surface.light
    color += _shine(scene, surface, material, cover, is_cloth | (is_hair & hat))
    parts = _parts(head, surface, material, brow, scalp * ~hat, is_cloth | (is_hair & hat))
    return color, parts


def _shine(scene, surface, material, cover, matt):
    """Reflections of the lamps: broad on skin, sharp on the wet eye, along strands on hair."""
    normal = surface.normal
    normal = normal / jnp.maximum(jnp.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    # Places that hardly see the sky show no lamps either.
    openness = jnp.minimum(surface.light.mean(-1) * 2, 1)
    is_eye, is_hair = material == asset.EYE, material == asset.HAIR
    skin = 0.085 * (1 - 0.7 * cover) * ~is_eye * ~matt * (1 - 0.5 * is_hair)
    total = 0.0
    for direction, color in zip(scene.lamps, scene.lamp_colors, strict=True):
        half = direction + jnp.array([0.0, 0, 1])  # the camera looks along -z
        half = half / jnp.linalg.norm(half)
        broad = lighting.highlight(normal, half, sharpness=18.0) * skin
        sharp = lighting.highlight(normal, half, sharpness=250.0) * is_eye * 0.8
        total += ((broad + sharp) * openness)[..., None] * color
    return total


def _parts(head, surface, material, brow, scalp, cloth):
    """Part of each pixel, [H, W] int32 index into PARTS."""
    x, y, z = (surface.rest[..., k] for k in range(3))
    lip, lower, ear = (
        surface.lip[..., 0] > 0.5,
        surface.lower[..., 0] > 0.5,
        surface.ear[..., 0] > 0.5,
    )
    marks = head.marks
    wing = jnp.abs(marks[31, 0])
    widen = (marks[27, 1] - y) / (marks[27, 1] - marks[33, 1])  # 0 at the root, 1 at the base
    nose = (jnp.abs(x) < wing * (0.45 + 0.85 * jnp.clip(widen, 0, 1))) & (
        (widen > 0) & (y > marks[33, 1] - 0.03) & (z > 0.6)
    )
    parts = jnp.full(y.shape, PARTS.index("skin"))
    inside = (material == asset.MOUTH) | (material == asset.TEETH) | (material == asset.TONGUE)
    for name, where in (
        ("neck", (y < marks[8, 1] - 0.02) & (z < 0.5) | (y < marks[8, 1] - 0.08)),
        ("nose", nose), ("ear", ear), ("upper_lip", lip & ~lower), ("lower_lip", lip & lower),
        ("brow", brow > 0.4), ("hair", (scalp > 0.5) | (material == asset.HAIR)),
        ("eye", material == asset.EYE), ("cloth", cloth),
        ("mouth", inside),
    ):  # fmt: skip
        parts = jnp.where(where, PARTS.index(name), parts)
    return parts

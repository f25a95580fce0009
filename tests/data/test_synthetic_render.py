"""Labels against pixels: one batch of eight pictures of one person serves all tests."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageDraw

from jaxgen.data.synthetic import asset, body, camera, render, sample, scene
from jaxgen.data.synthetic.dice import Dice
from jaxgen.data.synthetic.expressions import UNITS, mix_units, sample_expression
from jaxgen.data.synthetic.stored import PARTS

SIZE = 96
FRONT, RIGHT, LEFT, PROFILE, UP, DIM, SHADES, HAND = range(8)


def base_scene():
    """A bald person with nothing before the face, looking ahead in even light."""
    person = sample.sample_person(jax.random.key(3))
    person = person._replace(
        style=jnp.zeros(6), tone=jnp.float32(0.2), beard=jnp.zeros(3), freckles=jnp.float32(0)
    )
    picture = sample.sample_scene(jax.random.key(4), person, wild=0.0)
    return picture._replace(
        expression=jnp.zeros(len(UNITS)), gaze=jnp.zeros(2), angles=jnp.zeros(3),
        distance=jnp.float32(15), shift=jnp.zeros(2), hat=jnp.float32(0),
        glasses=jnp.zeros(4), occluder=jnp.zeros(6), blur=jnp.float32(0.3),
        grain=jnp.float32(0), jpeg=jnp.float32(0), exposure=jnp.float32(1),
        background=jnp.zeros(6), palette=jnp.array([[0.2, 0.9, 0.2]] * 4),
    )  # fmt: skip


@pytest.fixture(scope="module")
def batch():
    head = asset.load_head()
    base = jax.jit(base_scene)()

    def turned(*angles):
        return base._replace(angles=jnp.array(angles, jnp.float32))

    scenes = [
        base,
        turned(45, 0, 0),
        turned(-45, 0, 0),
        turned(80, 0, 0),
        turned(0, 20, 10),
        base._replace(light=0.3 * base.light, lamp_colors=0 * base.lamp_colors),
        base._replace(glasses=jnp.array([1, 0.5, 0.5, 1.0])),
        base._replace(occluder=jnp.array([1, 0.5, 0.5, 0.5, 0.5, 0.9])),
    ]
    stacked = jax.tree.map(lambda *rows: jnp.stack(rows), *scenes)
    draw = jax.jit(jax.vmap(lambda h, s: render.render(h, s, size=SIZE), in_axes=(None, 0)))
    pictures = jax.tree.map(np.asarray, draw(head, stacked))
    posed = jax.jit(jax.vmap(lambda h, s: render.pose_head(h, s)[1], in_axes=(None, 0)))
    space = np.asarray(posed(head, stacked))  # [8, 68, 3] camera space
    return SimpleNamespace(head=head, scenes=scenes, space=space, **pictures._asdict())


def part_near(parts, point, names, radius):
    """Whether a pixel of the named parts lies within `radius` of a point."""
    wanted = np.isin(parts, [PARTS.index(name) for name in names])
    y, x = np.nonzero(wanted)
    return bool(len(x)) and np.hypot(x - point[0], y - point[1]).min() <= radius


@pytest.mark.parametrize("view", [FRONT, RIGHT, LEFT, UP, DIM])
@pytest.mark.parametrize(
    ("numbers", "names"),
    [
        (range(37, 49), ["eye"]),
        (range(18, 28), ["brow"]),
        ((29, 30, 31), ["nose"]),
        ((49, 50, 51, 52, 53, 54, 55), ["upper_lip"]),
        ((56, 57, 58, 59, 60), ["lower_lip"]),
        ((9,), ["skin", "neck"]),
    ],
)
def test_points_lie_on_the_parts_that_they_name(batch, view, numbers, names):
    for number in numbers:
        if batch.visible[view, number - 1]:
            point = batch.points[view, number - 1]
            # The tear duct lies between the inner corner and the eyeball; brows fade at the end.
            radius = {40: 2.6, 43: 2.6, 18: 3.0, 27: 3.0}.get(number, 1.7)
            assert part_near(batch.parts[view], point, names, radius), (number, point)


def test_points_of_lids_and_lips_lie_on_the_edge(batch):
    # One and a half pixels outside the upper lid or lip there is skin, no longer eye or lip.
    for number, away in ((38, -1), (45, -1), (42, 1), (47, 1), (52, -1), (58, 1)):
        x, y = np.round(batch.points[FRONT, number - 1] + [0, 2.2 * away]).astype(int)
        assert PARTS[batch.parts[FRONT, y, x]] in ("skin", "neck"), number


def test_the_face_has_no_holes(batch):
    for view in (FRONT, RIGHT, LEFT, UP, DIM):
        outline = np.concatenate([batch.points[view, :17], batch.points[view, 26:16:-1]])
        outline = 0.93 * outline + 0.07 * outline.mean(0)
        image = Image.new("1", (SIZE, SIZE))
        ImageDraw.Draw(image).polygon([tuple(map(float, p)) for p in outline], fill=1)
        inside = np.asarray(image)
        assert inside.sum() > 500
        assert (batch.parts[view][inside] != 0).all(), view
        assert (batch.depth[view][inside] > 0).all(), view


def test_eyes_are_not_black(batch):
    eyes = batch.parts[FRONT] == PARTS.index("eye")
    assert eyes.sum() > 20
    bright = batch.image[FRONT][eyes].mean(-1)
    assert np.quantile(bright, 0.8) > 0.35  # the white of the eye
    assert bright.min() < 0.35  # the pupil


def test_the_nose_points_where_yaw_says(batch):
    middle = (batch.points[:, 36, 0] + batch.points[:, 45, 0]) / 2
    offset = batch.points[:, 30, 0] - middle
    assert offset[RIGHT] > 5 > 1 > abs(offset[FRONT])
    assert offset[LEFT] < -5
    assert batch.points[UP, 30, 1] < batch.points[FRONT, 30, 1]


def test_what_the_head_hides_is_not_visible(batch):
    assert batch.visible[FRONT].all()
    # Outer points of the far and of the near eye of a head turned to the image's right.
    assert not batch.visible[PROFILE, 44:48].any()
    assert batch.visible[PROFILE, [36, 37, 40, 41]].all()


def test_the_far_jaw_is_the_outline_of_the_face(batch):
    for view, numbers, away in ((RIGHT, (14, 15, 16), 1), (LEFT, (2, 3, 4), -1)):
        for number in numbers:
            x, y = batch.points[view, number - 1]
            row = batch.parts[view, int(np.round(y))]
            outside, inside = int(np.round(x + 2.5 * away)), int(np.round(x - 2.5 * away))
            assert row[outside] == 0, (view, number)
            assert PARTS[row[inside]] == "skin", (view, number)


def test_jaw_points_are_evenly_spaced_on_the_front_view(batch):
    steps = np.linalg.norm(np.diff(batch.points[FRONT, :17], axis=0), axis=1)
    assert steps.max() < 2.2 * steps.min()


def test_dark_glasses_hide_the_eyes_and_a_hand_the_mouth_side(batch):
    assert not batch.visible[SHADES, 37:39].any()
    assert batch.visible[SHADES, 48:60].all()
    assert not batch.visible[HAND].all()
    hidden = batch.points[HAND][~batch.visible[HAND]]
    x, y = np.round(hidden).astype(int).T
    assert (batch.parts[HAND][y, x] == 0).mean() > 0.7
    # Nothing drawn over the head moves its points.
    np.testing.assert_allclose(batch.points[HAND], batch.points[FRONT], atol=1e-3)
    np.testing.assert_allclose(batch.points[SHADES], batch.points[FRONT], atol=1e-3)


def test_boxes_are_those_of_the_points_and_faces_reach_above_the_brows(batch):
    tight = np.concatenate([batch.points.min(1), batch.points.max(1)], 1)
    np.testing.assert_allclose(batch.box, tight, atol=1e-4)
    centre = (batch.box[:, :2] + batch.box[:, 2:]) / 2
    np.testing.assert_allclose(centre, (SIZE - 1) / 2, atol=0.1)
    assert (batch.face_box[:, 1] < batch.box[:, 1]).all()
    assert (np.abs(batch.face_box[FRONT, 3] - batch.box[FRONT, 3]) < 4).all()


def test_light_changes_the_image_and_no_label(batch):
    assert batch.image[DIM].mean() < 0.9 * batch.image[FRONT].mean()
    np.testing.assert_array_equal(batch.parts[DIM], batch.parts[FRONT])
    np.testing.assert_allclose(batch.points[DIM], batch.points[FRONT], atol=1e-4)


def test_turning_the_head_back_gives_the_same_person(batch):
    head, base = batch.head, batch.scenes[FRONT]
    rest = body.shape(head, base.person.shape, base.expression)
    for view in (RIGHT, PROFILE, UP):
        angles = batch.scenes[view].angles
        posed = body.pose(head.mean, rest, angles, base.follow)
        back = posed @ camera.rotation_matrix(angles)
        face = np.asarray(head.face)
        np.testing.assert_allclose(back[face], rest[face], atol=1e-3)


def test_pose_is_read_back_from_the_points(batch):
    # Fit a rotation between the rest and the posed landmarks in space.
    for view in (RIGHT, LEFT, UP):
        first, second = (batch.space[v, 17:] * [1, -1, -1] for v in (FRONT, view))
        first, second = first - first.mean(0), second - second.mean(0)
        u, _, vt = np.linalg.svd(second.T @ first)
        found = camera.angles_from_rotation(jnp.asarray(u @ vt))
        np.testing.assert_allclose(found, batch.scenes[view].angles, atol=0.5)


def test_depth_at_the_nose_is_the_distance_of_the_nose(batch):
    for view in (FRONT, RIGHT, UP):
        nose = batch.space[view, 30]
        x, y = np.round(batch.points[view, 30]).astype(int)
        assert batch.depth[view, y, x] == pytest.approx(nose[2], abs=0.03)


def test_expressions_are_within_range_and_open_mouths_show_their_inside():
    draw = jax.jit(jax.vmap(lambda key: sample_expression(Dice(key, 200))[0]))
    found = draw(jax.random.split(jax.random.key(0), 200))
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found[:, UNITS.index("jawOpen")] > 0.3).mean() > 0.03
    with pytest.raises(ValueError):
        mix_units(noSuchUnit=1.0)


def test_a_scene_is_a_tree_of_small_arrays():
    leaves = jax.tree.leaves(jax.jit(base_scene)())
    assert sum(leaf.size for leaf in leaves) < 400
    assert scene.Scene._fields[0] == "person"

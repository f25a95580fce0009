"""The tiny-face GAN's step: its losses, who learns from what, and what stays apart."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.collectives import traffic
from experiments.configs.tiny_faces import gan_sections
from jaxgen.models.face_discriminator import Judgement
from jaxgen.models.super_resolution import SuperResolved
from jaxgen.tasks import tiny_faces, tiny_faces_players, tiny_faces_warm_start
from jaxgen.tasks.tiny_faces_gan_schema import GAN_SCHEMA, check_gan
from jaxgen.training import mesh
from jaxgen.training.config import check
from jaxgen.training.errors import CheckpointMismatch, ConfigError
from jaxgen.training.state import run_key

HALF = 8  # faces, and backgrounds, of a batch: one for each device


def tiny(**changes):
    config = gan_sections.gan_sections()
    gan_sections.shrink_gan(config)
    config.generator.update(width=1 / 32, blocks=0)
    config.discriminator.stages = 1
    config.gan.weights.box = 0.01
    config.update_from_flattened_dict(changes)
    check(config, GAN_SCHEMA)
    check_gan(config)
    return config


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)

    def part(shift):
        return {
            "image": rng.integers(0, 256, (HALF, 16, 16, 3), np.uint8),
            "low": rng.integers(0, 256, (HALF, 4, 4, 3), np.uint8),
            "paired": np.arange(HALF) % 3 < 2,
            "box": np.tile(np.array([0, 0, 10, 20], np.float32), (HALF, 1)),
            "face_box": np.tile(np.array([shift, 0, 10 + shift, 20], np.float32), (HALF, 1)),
        }

    return {"face": part(1.0), "background": part(0.0)}


@pytest.fixture(scope="module")
def state():
    return jax.jit(partial(tiny_faces.init_state, tiny()))(run_key(0))


@pytest.fixture(scope="module")
def stepped(state, batch):
    """(state after one step, metrics) with every term."""
    return jax.jit(partial(tiny_faces.train_step, tiny()))(state, batch)


def changed(before, after):
    """Whether any leaf of two trees differs."""
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return any(not np.array_equal(a, b) for a, b in pairs)


def test_proposals_that_show_the_same_square_have_the_same_target():
    """A crop depends on the centre and the longer side of its box alone."""
    rng = np.random.default_rng(0)
    wide = np.tile(np.array([10, 20, 30, 30], np.float32), (HALF, 1))
    tall = np.tile(np.array([15, 15, 25, 35], np.float32), (HALF, 1))

    def targets(box):
        part = {
            "image": rng.integers(0, 256, (HALF, 16, 16, 3), np.uint8),
            "low": rng.integers(0, 256, (HALF, 4, 4, 3), np.uint8),
            "paired": np.ones(HALF, bool),
            "box": box,
            "face_box": np.tile(np.array([12, 18, 26, 34], np.float32), (HALF, 1)),
        }
        crops = tiny_faces.arrange(tiny(), run_key(0), {"face": part, "background": part})
        return np.abs(crops.offsets)

    np.testing.assert_allclose(targets(wide), targets(tall), atol=1e-6)


# --------------------------------------------------------------------------------- losses


def test_pixel_loss_is_the_mean_over_pixels_of_both_images():
    high = jnp.zeros((2, 8, 8, 3))
    images = SuperResolved(high + 0.5, high.at[1].add(1.0))
    np.testing.assert_allclose(tiny_faces.pixel_loss(images, high), [0.25, 0.25 + 1.0])
    np.testing.assert_allclose(
        tiny_faces.pixel_loss(SuperResolved(high + 0.5, None), high), [0.25, 0.25]
    )


def test_both_forms_of_the_adversarial_loss_want_the_same():
    logits = jnp.array([-3.0, 0.0, 3.0])
    probability = jax.nn.sigmoid(logits)
    saturating = tiny_faces.adversarial_loss(tiny(**{"gan.loss": "saturating"}), logits)
    np.testing.assert_allclose(saturating, np.log(1 - probability), rtol=1e-5)
    usual = tiny_faces.adversarial_loss(tiny(), logits)
    np.testing.assert_allclose(usual, -np.log(probability), rtol=1e-5)
    assert (np.diff(usual) < 0).all() and (np.diff(saturating) < 0).all()


def test_class_and_box_losses_by_hand():
    found = tiny_faces.class_loss(jnp.array([0.0, 2.0, 2.0]), jnp.array([True, True, False]))
    np.testing.assert_allclose(found, [np.log(2), np.log1p(np.exp(-2)), np.log1p(np.exp(2))], 1e-6)
    # Squared below 1, straight above.
    offsets, wanted = jnp.array([[0.5, 3.0, 0, 0]]), jnp.zeros((1, 4))
    np.testing.assert_allclose(tiny_faces.box_loss(offsets, wanted), [0.125 + 2.5])


def test_four_groups_of_the_discriminator(monkeypatch):
    """(real, face) is (1, 1), (1, 0), (0, 1), (0, 0): any flipped answer costs."""
    is_face = jnp.array([True, False])
    paired = jnp.array([True, True])
    crops = tiny_faces.Crops(None, jnp.zeros((2, 4, 4, 3)), is_face, paired, jnp.zeros((2, 4)))
    config = tiny(**{"gan.weights.box": 0.0})

    def loss(real_logits, face_logits, config=config, crops=crops):
        said = {
            "real": Judgement(real_logits[0], face_logits[0], None),
            "super_resolved": Judgement(real_logits[1], face_logits[1], None),
        }
        monkeypatch.setattr(tiny_faces, "judge", lambda c, p, v, images, kind, *_: (said[kind], {}))
        return tiny_faces.discriminator_loss(config, None, None, crops, None, (None, None))[0]

    real = jnp.array([[9.0, 9.0], [-9.0, -9.0]])  # real crops, super-resolved crops
    face = jnp.array([[9.0, -9.0], [9.0, -9.0]])
    best = loss(real, face)
    assert best < 1e-3
    for group in range(2):
        for row in range(2):
            # Each of the four groups weighs the same: half of half the batch.
            np.testing.assert_allclose(loss(real.at[group, row].mul(-1), face) - best, 9 / 4, 1e-2)
            np.testing.assert_allclose(loss(real, face.at[group, row].mul(-1)) - best, 9 / 4, 1e-2)
    # The game may weigh less than faces do.
    light = tiny(**{"gan.weights.box": 0.0, "gan.discriminator_adversarial": 0.1})
    np.testing.assert_allclose(loss(-real, face, light) - best, 0.1 * 9, 1e-2)
    np.testing.assert_allclose(loss(real, -face, light) - best, 9, 1e-2)
    # An enlarged crop is no real image: what is said of its "real" side costs nothing.
    unpaired = crops._replace(paired=jnp.array([True, False]))
    wrong = real.at[0, 1].mul(-1), face.at[0, 1].mul(-1)
    np.testing.assert_allclose(loss(*wrong, crops=unpaired), loss(real, face, crops=unpaired))


def test_a_background_has_no_box(monkeypatch):
    crops = tiny_faces.Crops(
        None, None, jnp.array([True, False]), jnp.array([True, True]), jnp.zeros((2, 4))
    )
    config = tiny(**{"gan.weights.box": 0.01})

    def box_term(offsets):
        said = Judgement(jnp.zeros(2), jnp.zeros(2), jnp.asarray(offsets))
        monkeypatch.setattr(tiny_faces, "judge", lambda *_: (said, {}))
        found = tiny_faces.discriminator_loss(config, None, None, crops, None, (None, None))
        return found[1][0]["box"]

    assert box_term([[0.0] * 4, [5.0] * 4]) == 0
    np.testing.assert_allclose(box_term([[3.0] * 4, [5.0] * 4]), 4 * 2.5)


# ------------------------------------------------------------------------------- batches


def test_arrange_mirrors_images_and_offsets_together(batch):
    config = tiny(**{"crops.flip": 1.0})
    crops = tiny_faces.arrange(config, run_key(0), batch)
    plain = tiny_faces.arrange(tiny(**{"crops.flip": 0.0}), run_key(0), batch)
    np.testing.assert_array_equal(plain.is_face, [True] * HALF + [False] * HALF)
    np.testing.assert_array_equal(crops.high, plain.high[:, :, ::-1])
    np.testing.assert_array_equal(crops.low, plain.low[:, :, ::-1])
    np.testing.assert_allclose(plain.offsets[:HALF], [[0.05, 0, -np.log(2), 0]] * HALF, atol=1e-6)
    np.testing.assert_allclose(crops.offsets[:HALF], [[-0.05, 0, -np.log(2), 0]] * HALF, atol=1e-6)
    assert float(crops.low.min()) >= -1 and float(crops.low.max()) <= 1


# --------------------------------------------------------------------------------- steps


def test_enlarged_crops_leave_no_trace_in_the_statistics_of_real_images(state, batch):
    def statistics(change, **changes):
        parts = {}
        for name, part in batch.items():
            other = np.where(part["paired"][:, None, None, None], part["image"], change)
            parts[name] = part | {"image": other.astype(np.uint8)} | changes
        return jax.jit(partial(tiny_faces.train_step, tiny()))(state, parts)[
            0
        ].discriminator.batch_stats

    black, white = statistics(0), statistics(255)
    jax.tree.map(np.testing.assert_array_equal, black["real"], white["real"])
    before = state.discriminator.batch_stats
    assert changed(before["real"], black["real"])
    nothing = statistics(0, paired=np.zeros(HALF, bool))
    jax.tree.map(np.testing.assert_array_equal, nothing["real"], before["real"])
    assert changed(before["super_resolved"], nothing["super_resolved"])


def test_step_moves_both_players_and_logs_each_term(state, stepped):
    after, metrics = stepped
    assert int(after.step) == 1 and all(np.isfinite(value) for value in metrics.values())
    assert changed(state.generator.params, after.generator.params)
    assert changed(state.discriminator.params, after.discriminator.params)
    weights = tiny().gan.weights
    assert weights.adversarial == 0.001 and weights.classification == 0.01
    total = sum(weights[name] * metrics[name] for name in weights)
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)


def test_eight_devices_match_one(stepped, batch):
    one, metrics = stepped
    config, devices = tiny(), mesh.data_mesh()
    init = mesh.compile_init(devices, partial(tiny_faces.init_state, config), shard_above=100)
    many = init(run_key(0))
    step = mesh.compile_step(devices, partial(tiny_faces.train_step, config), many)
    batch = mesh.put_batch(devices, batch)
    # Without the compiler's slowest passes: it runs once.
    quick = {"xla_backend_optimization_level": 0}
    step = step.lower(many, batch).compile(quick)
    # What is gathered is parameters and a few labels and crops, no activations.
    params = one.generator.params, one.discriminator.params
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    assert traffic(step.as_text(), 8)["all-gather"].payload < 1.1 * size
    many, found = step(many, batch)
    chex.assert_trees_all_close(jax.device_get(found), jax.device_get(metrics), rtol=1e-3)
    stats = [each.discriminator.batch_stats for each in (many, one)]
    chex.assert_trees_all_close(*stats, rtol=1e-3, atol=1e-5)


def test_statistics_of_real_and_super_resolved_images_stay_apart(state, stepped):
    before, after = state.discriminator.batch_stats, stepped[0].discriminator.batch_stats
    for kind in (tiny_faces_players.REAL, tiny_faces_players.SUPER_RESOLVED):
        assert changed(before[kind], after[kind])
    assert changed(after[tiny_faces_players.REAL], after[tiny_faces_players.SUPER_RESOLVED])


def test_class_gradient_reaches_the_generator(batch):
    """With every other weight 0, the classifier alone moves the generator."""
    weights = {f"gan.weights.{name}": 0.0 for name in ("pixel", "adversarial", "box")}
    config = tiny(**weights, **{"gan.weights.classification": 1.0})
    before = jax.jit(partial(tiny_faces.init_state, config))(run_key(0))
    after, metrics = jax.jit(partial(tiny_faces.train_step, config))(before, batch)
    assert metrics["gradient_norm"] > 0
    assert changed(before.generator.params["upsampler"], after.generator.params["upsampler"])
    assert changed(before.generator.params["refiner"], after.generator.params["refiner"])
    # Terms without weight are left out, on the other side too.
    assert "adversarial" not in metrics and "box" not in metrics
    assert "discriminator/adversarial" not in metrics
    assert metrics["discriminator/classification"] > 0


def test_unpaired_crops_have_no_pixel_loss(state, batch):
    other = {
        name: part | {"image": np.where(part["paired"][:, None, None, None], part["image"], 0)}
        for name, part in batch.items()
    }
    step = jax.jit(partial(tiny_faces.train_step, tiny()))
    one, two = (step(state, each) for each in (batch, other))
    chex.assert_trees_all_equal(one[0].generator.params, two[0].generator.params)
    chex.assert_trees_all_close(one[1]["pixel"], two[1]["pixel"])


def test_generator_may_learn_from_faces_alone(state, batch):
    config = tiny(**{"gan.generator_batch": "faces"})
    step = jax.jit(partial(tiny_faces.train_step, config))
    darker = batch["background"] | {"image": batch["background"]["image"] // 2}
    one, two = (step(state, batch | {"background": each}) for each in (batch["background"], darker))
    chex.assert_trees_all_equal(one[0].generator.params, two[0].generator.params)
    assert changed(one[0].discriminator.params, two[0].discriminator.params)


# ---------------------------------------------------------------------------- warm starts


@pytest.fixture(scope="module")
def warm(batch):
    """(generator, discriminator) states after one step each, and the metrics of the second."""
    config = tiny()
    generator = jax.jit(partial(tiny_faces_warm_start.init_generator, config))(run_key(1))
    step = jax.jit(partial(tiny_faces_warm_start.generator_step, config))
    generator, first = step(generator, batch)
    discriminator = jax.jit(partial(tiny_faces_warm_start.init_discriminator, config))(run_key(1))
    step = jax.jit(partial(tiny_faces_warm_start.discriminator_step, config))
    discriminator, second = step(discriminator, batch)
    return generator, discriminator, first, second


def test_warm_starts_train_one_player_each(warm):
    generator, discriminator, first, second = warm
    assert generator.discriminator is None and discriminator.generator is None
    assert int(generator.step) == int(discriminator.step) == 1
    assert np.isfinite(first["loss"]) and "adversarial" not in second
    np.testing.assert_allclose(second["loss"], second["classification"] + second["box"], 1e-6)


def test_both_together_start_from_the_warm_starts(state, warm):
    found = tiny_faces_players.Variables(warm[0].generator.ema, warm[1].discriminator.ema)
    started = tiny_faces_players.start_from(state, found)
    chex.assert_trees_all_equal(started.generator.params, found.generator["params"])
    chex.assert_trees_all_equal(tiny_faces_players.averaged(started), found)
    wider = jax.eval_shape(
        partial(tiny_faces.init_state, tiny(**{"generator.width": 1 / 16})), run_key(0)
    )
    with pytest.raises(CheckpointMismatch, match=r"config\.generator"):
        tiny_faces_players.start_from(wider, found)


def test_trained_trunk_is_taken(state):
    trunk = jax.tree.map(lambda x: x + 1, state.discriminator.params["trunk"])
    init = jax.jit(partial(tiny_faces_warm_start.init_discriminator, tiny()))
    found = init(run_key(0), trunk)
    chex.assert_trees_all_equal(found.discriminator.params["trunk"], trunk)
    found = jax.jit(partial(tiny_faces.init_state, tiny()))(run_key(0), trunk=trunk)
    chex.assert_trees_all_equal(found.discriminator.params["trunk"], trunk)
    chex.assert_trees_all_equal(found.discriminator.ema["params"]["trunk"], trunk)


# ----------------------------------------------------------------------------- evaluation


def test_rescore_and_eval_agree(stepped, batch):
    # After a step: statistics of real and super-resolved images differ.
    config, variables = tiny(), tiny_faces_players.averaged(stepped[0])
    low, high = batch["face"]["low"], batch["face"]["image"]
    found = jax.jit(partial(tiny_faces.rescore, config))(variables, low)
    chex.assert_shape(found.super_resolved, (HALF, 16, 16, 3))
    chex.assert_type(found.super_resolved, jnp.uint8)
    chex.assert_shape(found.offsets, (HALF, 4))
    measured = jax.jit(partial(tiny_faces.eval_step, config))(
        variables, {"low": low, "image": high}
    )
    np.testing.assert_allclose(
        found.face_probability, jax.nn.sigmoid(measured["face_super_resolved"]), rtol=1e-5
    )
    np.testing.assert_allclose(
        measured["psnr_final"], tiny_faces.psnr(found.super_resolved, high), rtol=1e-5
    )


def test_without_a_generator_crops_are_enlarged_bicubically(state, batch):
    variables = tiny_faces_players.averaged(state)._replace(generator=None)
    low = batch["face"]["low"]
    found = tiny_faces.rescore(tiny(), variables, low)
    expected = tiny_faces_players.super_resolve(tiny(), variables, low)
    assert expected.refined is None
    np.testing.assert_array_equal(found.super_resolved, tiny_faces.unscale(expected.coarse))


def test_psnr_by_hand():
    truth = jnp.full((2, 4, 4, 3), 100, jnp.uint8)
    images = truth.at[1].add(10)
    np.testing.assert_allclose(tiny_faces.psnr(images, truth), [100, 20 * np.log10(25.5)], 1e-5)


# --------------------------------------------------------------------------------- config


@pytest.mark.parametrize("sections", [gan_sections.gan_sections, gan_sections.paper_sections])
def test_sections_are_complete(sections):
    config = sections()
    check(config, GAN_SCHEMA)
    check_gan(config)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"crops.high": 36}, "multiple of 16"),
        ({"discriminator.pretrained": "vgg19.safetensors"}, "vgg19"),
        ({"gan.fusion.move_boxes": True}, "box head"),
        ({"generator.coarse_image": "normed"}, "global_skip"),
    ],
)
def test_sections_that_do_not_fit_together(change, word):
    config = gan_sections.gan_sections()
    config.update_from_flattened_dict(change)
    with pytest.raises(ConfigError, match=word):
        check_gan(config)

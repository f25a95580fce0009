"""DR-GAN's step: what is drawn, what moves and when, warm starts."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs.dr_gan import default, paper
from jaxgen.models.dr_gan import Verdict
from jaxgen.tasks import dr_gan, dr_gan_classifiers, dr_gan_poses, dr_gan_warm_start
from jaxgen.tasks.dr_gan_schema import WEIGHTS, check_config
from jaxgen.training import mesh
from jaxgen.training.errors import CheckpointMismatch, ConfigError
from jaxgen.training.state import run_key

from .dr_gan_case import PEOPLE, changed, faces, init, tiny


@pytest.fixture(scope="module")
def sets():
    """A config, its compiled step and a state, for sets of two images."""
    config = tiny(
        **{
            "gan.optimiser.learning_rate": 2e-3,
            "gan.discriminator_optimiser.learning_rate": 5e-3,
        }
    )
    step = jax.jit(partial(dr_gan.train_step, config))  # once: it compiles for long
    return config, step, init(config)


@pytest.fixture(scope="module")
def trained(sets):
    """The state after 60 steps on one batch, and the metrics of the last."""
    config, step, state = sets
    batch = {"faces": faces(config)}
    for _ in range(60):
        state, metrics = step(state, batch)
    return state, metrics


# ------------------------------------------------------------------------- what is drawn


def test_without_pixel_loss_poses_are_random_and_nothing_is_paired():
    config = tiny(**{"gan.weights.pixel": 0.0})
    found = dr_gan_poses.wanted_images(config, jax.random.key(0), faces(config, people=200))
    assert found.identity.shape == (600,) and not found.paired.any()
    assert np.bincount(found.poses.label).min() > 150


@pytest.mark.parametrize("form", ["classes", "yaw"])
def test_pairs_show_the_same_person_in_the_wanted_pose(form):
    config = tiny(**{"pose.form": form, "gan.images": 3})
    batch = faces(config, people=6)
    batch["mask"][0] = [True, True, False]  # its second image would be paired with a filler
    batch["pose"][1, 1], batch["yaw"][1, 1] = -1, np.nan  # nobody knows: not for the first image
    found = dr_gan_poses.wanted_images(config, jax.random.key(0), batch)
    of_images, of_sets = np.arange(18), np.arange(18, 24)
    np.testing.assert_array_equal(found.identity[of_images], batch["identity"].repeat(3))
    np.testing.assert_array_equal(found.identity[of_sets], batch["identity"])
    np.testing.assert_array_equal(found.like // 3, np.r_[np.arange(6).repeat(3), np.arange(6)])
    assert (found.like[of_images] != of_images).all()
    paired = np.asarray(found.paired)
    np.testing.assert_array_equal(
        np.flatnonzero(~paired), [1, 2, 3, 19]
    )  # of_sets[1] is as image 3
    real = dr_gan_poses.real_poses(config, batch)
    for code_or_label, of_real in zip(found.poses, real, strict=True):
        np.testing.assert_array_equal(code_or_label[paired], of_real[found.like][paired])
    # Where there is no pair a random pose is wanted, with which the losses can go on.
    assert np.isfinite(found.poses.code).all() and np.isfinite(found.poses.label).all()


def test_a_set_is_not_fused_from_the_picture_it_should_draw(monkeypatch):
    config = tiny(**{"gan.images": 3, "gan.drop_images": 0.0})
    batch = faces(config, people=4)
    batch["mask"][1] = [True, False, False]  # its target is a filler: no pair
    batch["mask"][2] = [False, True, False]  # nothing but the picture that it would draw
    wanted = dr_gan_poses.wanted_images(config, jax.random.key(0), batch)
    wanted = wanted._replace(paired=wanted.paired.at[12 + 2].set(True))
    fused = []
    real = dr_gan.fuse
    monkeypatch.setattr(dr_gan, "fuse", lambda *args: fused.append(args[2]) or real(*args))
    state = init(config)
    images = jnp.asarray(batch["image"], jnp.float32).reshape(12, *batch["image"].shape[2:]) / 255
    player = state.generator

    def kept(images):
        dr_gan.synthesise(
            *(config, jax.random.key(1), player.params, player.batch_stats, images),
            *(jnp.asarray(batch["mask"]), wanted),
        )
        return fused[-1]  # nothing else is compiled

    np.testing.assert_array_equal(
        jax.jit(kept)(images),
        [[True, False, True], [True, False, False], [False, True, False], [True, False, True]],
    )
    # Without a target, the papers' form, nothing is left out.
    random = wanted._replace(paired=jnp.zeros_like(wanted.paired))
    np.testing.assert_array_equal(
        dr_gan_poses.without_targets(jnp.asarray(batch["mask"]), random), batch["mask"]
    )


def test_single_image_form_draws_from_no_set():
    config = tiny(**{"gan.fuse": False})
    found = dr_gan_poses.wanted_images(config, jax.random.key(0), faces(config, people=3))
    assert found.identity.shape == (6,)


# --------------------------------------------------------------------------------- step


def test_step_moves_both_players_and_keeps_statistics_apart(sets):
    config, step, before = sets
    after, metrics = step(before, {"faces": faces(config)})
    assert all(np.isfinite(value) for value in metrics.values())
    assert changed(before.generator.params["encoder"], after.generator.params["encoder"])
    assert changed(before.generator.params["decoder"], after.generator.params["decoder"])
    assert changed(before.discriminator.params, after.discriminator.params)
    real, fake = (after.discriminator.batch_stats[kind] for kind in ("real", "fake"))
    assert changed(real, fake)
    weights = config.gan.weights
    total = sum(weights[name] * metrics[name] for name in WEIGHTS if weights[name])
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)


def test_features_that_name_their_person_teach_encoder_confidence_and_head(recogniser):
    silent = dict.fromkeys((f"gan.weights.{name}" for name in WEIGHTS), 0.0)
    silent |= {"gan.weights.feature_identity": 1.0, "gan.optimiser.name": "sgd"}
    silent |= {"recogniser.head": "additive_margin", "gan.images": 3, "gan.drop_images": 0.0}
    config = tiny(**silent)
    state = init(config)
    people = np.random.default_rng(0).normal(size=(config.model.features, PEOPLE))
    trained = jax.tree.map(
        lambda x: jnp.asarray(people if x.ndim == 2 else np.zeros(PEOPLE), jnp.float32),
        state.generator.params["identity"],
    )
    warm = {
        "params": {"trunk": recogniser["params"]["trunk"], "identity": trained},
        "batch_stats": recogniser["batch_stats"],
    }
    state = dr_gan_warm_start.start_from(config, state, recogniser=warm)
    for params in (state.generator.params, state.generator.ema["params"]):
        chex.assert_trees_all_equal(params["identity"], trained)
    after, metrics = jax.jit(partial(dr_gan.train_step, config))(state, {"faces": faces(config)})
    assert metrics["loss"] == metrics["feature_identity"] > 0
    before, now = (each.generator.params for each in (state, after))
    assert changed(before["identity"], now["identity"])
    scale = [part["encoder"]["trunk"]["BatchNorm_4"]["scale"] for part in (before, now)]
    moved = np.asarray(scale[0] != scale[1])
    assert moved[:-1].any() and moved[-1]  # feature; and confidence, by way of the fused ones
    assert not changed(before["decoder"], now["decoder"])


def test_without_that_weight_the_state_is_what_it_was():
    off, on = (tiny(**{"gan.weights.feature_identity": weight}) for weight in (0.0, 1.0))
    off, on = (init(config).generator for config in (off, on))
    assert set(off.params) == {"encoder", "decoder"} and set(on.params) - set(off.params) == {
        "identity"
    }
    for name in off.params:
        chex.assert_trees_all_equal(off.params[name], on.params[name])


def test_eight_devices_match_one(sets):
    config, step, state = sets
    batch = {"faces": faces(config)}
    one, metrics = step(state, batch)
    devices = mesh.data_mesh()

    def init(key):
        return dr_gan.init_state(config, key, PEOPLE)

    many = mesh.compile_init(devices, init, shard_above=100)(run_key(0))
    compiled = mesh.compile_step(devices, partial(dr_gan.train_step, config), many)
    batch = mesh.put_batch(devices, batch)
    # Without the compiler's slowest passes: it runs once.
    quick = {"xla_backend_optimization_level": 0}
    many, found = compiled.lower(many, batch).compile(quick)(many, batch)
    chex.assert_trees_all_close(jax.device_get(found), jax.device_get(metrics), rtol=1e-3)
    for name in ("generator", "discriminator"):
        # Statistics of the whole batch, whatever device its images are on.
        stats = [getattr(each, name).batch_stats for each in (many, one)]
        chex.assert_trees_all_close(*stats, rtol=1e-3, atol=1e-5)


def test_a_set_without_any_image_does_no_harm(sets):
    config, step, state = sets
    batch = faces(config)
    batch["mask"][0] = False
    after, metrics = step(state, {"faces": batch})
    assert all(np.isfinite(value) for value in metrics.values())
    for leaf in jax.tree.leaves((after.generator.params, after.discriminator.params)):
        assert np.isfinite(leaf).all()


def test_gradient_penalty_of_a_linear_discriminator_is_its_squared_length():
    config = tiny()
    rng = np.random.default_rng(0)
    images, weights = (
        jnp.asarray(rng.normal(size=(count, 4, 4, 3)), jnp.float32) for count in (5, 1)
    )

    def criticise(params, x, kind):
        assert kind == "real"
        return Verdict(None, (x * params).sum((1, 2, 3)), None), None

    found = dr_gan._real_gradient(config, criticise, weights, images)
    np.testing.assert_allclose(found, jnp.square(weights).sum(), rtol=1e-5)


def test_strong_discriminator_rests(sets):
    config, step, state = sets
    batch = {"faces": faces(config)}
    state, _ = step(state, batch)
    strong = {name: jnp.ones(()) for name in state.judged}
    # Above the threshold it moves at every fourth step only: 1, 2, 3 rest, 4 moves.
    moved = []
    state = state.replace(judged=strong)
    for _ in range(4):
        after, metrics = step(state, batch)
        moved.append(changed(state.discriminator.params, after.discriminator.params))
        assert changed(state.generator.params, after.generator.params)
        state = after
    assert moved == [False, False, False, True]
    # What the log shows meanwhile is the last measurement.
    assert metrics["discriminator/accuracy_real"] <= 1


def test_absent_image_of_a_set_changes_nothing_but_batch_statistics(sets):
    """The masked slot's label and pose have no effect."""
    config, step, state = sets
    one, two = faces(config), faces(config)
    for each in (one, two):
        each["mask"][0, 1] = False
    two["pose"][0, 1] = (two["pose"][0, 1] + 1) % 3
    results = [step(state, {"faces": each}) for each in (one, two)]
    chex.assert_trees_all_equal(results[0][0].discriminator, results[1][0].discriminator)


@pytest.mark.parametrize(
    "changes",
    [
        {
            **{"gan.images": 1, "gan.weights.pixel": 0.0, "gan.warm_start": "none"},
            **{"stages": "gan", "gan.warm_decoder": False, "pose.form": "yaw", "gan.r1": 1.0},
        },
        {"gan.fuse": False, "pose.form": "yaw"},
        {"gan.form": "fake_class", "gan.spectral": True},
        {"gan.head": "additive_margin", "gan.degraded": 0.5},
        {"data.channels": 1, "gan.degraded": 0.5},
    ],
)
def test_every_form_of_the_step_is_sound(changes):
    """Shapes only: the state that comes out is the one that went in."""
    config = tiny(**changes)
    key = run_key(0)
    state = jax.eval_shape(lambda key: dr_gan.init_state(config, key, PEOPLE), key)
    after, metrics = jax.eval_shape(
        partial(dr_gan.train_step, config), state, {"faces": faces(config)}
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert "loss" in metrics


@pytest.fixture(scope="module")
def recogniser():
    """Variables of an untrained recogniser."""
    config = tiny()
    start = jax.jit(lambda key: dr_gan_classifiers.init_state(config, "recogniser", key, PEOPLE))
    return start(run_key(3)).network.ema


def test_decoder_learns_other_pictures_and_leaves_the_recogniser(recogniser):
    config = tiny(**{"decoder.optimiser.learning_rate": 0.01, "decoder.train.steps": 100})
    batch = {"faces": faces(config, people=4)}
    # Each person has a colour.
    colours = np.linspace(30, 220, 4).astype(np.uint8)
    batch["faces"]["image"][:] = colours[:, None, None, None, None]
    state = jax.jit(partial(dr_gan_warm_start.init_decoder, config))(run_key(0), recogniser)
    step = jax.jit(partial(dr_gan_warm_start.decoder_step, config))
    losses = []
    for _ in range(30):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-3:]) < 0.7 * losses[0]
    chex.assert_trees_all_equal(state.recogniser, recogniser)
    # No pair, no loss.
    batch["faces"]["mask"][:, 1:] = False
    assert float(step(state, batch)[1]["loss"]) == 0


def test_warm_start_takes_the_decoder_as_it_is(recogniser):
    config = tiny()
    fresh = init(config)
    decoder = jax.tree.map(
        lambda x: x + 1, {k: v["decoder"] for k, v in fresh.generator.ema.items()}
    )
    state = dr_gan_warm_start.start_from(config, fresh, decoder=decoder)
    for kind in ("params", "batch_stats"):
        chex.assert_trees_all_equal(getattr(state.generator, kind)["decoder"], decoder[kind])
    chex.assert_trees_all_equal(
        state.generator.params["encoder"], fresh.generator.params["encoder"]
    )


def test_warm_start_copies_the_trunk_and_leaves_the_confidence(recogniser):
    config = tiny(**{"gan.warm_start": "both"})
    fresh = init(config)
    state = dr_gan_warm_start.start_from(config, fresh, recogniser=recogniser)
    features = config.model.features
    for kind in ("params", "batch_stats"):
        trunk = getattr(state.generator, kind)["encoder"]["trunk"]
        first = jax.tree.map(lambda x: x[..., :features], trunk)
        wanted = recogniser[kind]["trunk"]
        chex.assert_trees_all_equal(first, jax.tree.map(lambda x: x[..., :features], wanted))
    chex.assert_trees_all_equal(state.discriminator.params["trunk"], recogniser["params"]["trunk"])
    last = "SameConv_4"
    chex.assert_trees_all_equal(
        state.generator.params["encoder"]["trunk"][last]["kernel"][..., -1],
        fresh.generator.params["encoder"]["trunk"][last]["kernel"][..., -1],
    )
    # Same feature as the recogniser's, before any step.
    images = faces(config)["image"][:, 0]
    encoders = dr_gan.encode, dr_gan_classifiers.encode
    found, wanted = (
        jax.jit(partial(encode, config))(variables, images).feature
        for encode, variables in zip(encoders, (state.generator.ema, recogniser), strict=True)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    wide = jax.tree.map(lambda x: np.repeat(x, 2, -1), recogniser)
    with pytest.raises(CheckpointMismatch, match=r"config\.model"):
        dr_gan_warm_start.start_from(config, fresh, recogniser=wide)


def test_after_a_warm_start_all_pictures_are_trusted_alike_and_that_can_change(recogniser):
    config = tiny()
    state = dr_gan_warm_start.start_from(config, init(config), recogniser=recogniser)
    images = faces(config)["image"][:, 0]
    encode = jax.jit(partial(dr_gan.encode, config))
    np.testing.assert_array_equal(encode(state.generator.ema, images).confidence, 0.5)
    part = {kind: getattr(state.generator, kind)["encoder"] for kind in ("params", "batch_stats")}

    def first_minus_second(params):
        variables = {"params": params, "batch_stats": part["batch_stats"]}
        scaled = jnp.asarray(images, jnp.float32) / 127.5 - 1
        (_, found), _ = dr_gan.encoder_net(config).apply(
            variables, scaled, train=True, mutable=["batch_stats"]
        )
        return found[0] - found[1]

    gradient = jax.jit(jax.grad(first_minus_second))(part["params"])
    slopes = {
        path[-2].key: leaf[-1]
        for path, leaf in jax.tree.leaves_with_path(gradient)
        if path[-1].key == "scale"
    }
    assert np.abs(slopes["BatchNorm_4"]) > 1e-4


def test_discriminator_learns_people_and_poses_by_heart(trained):
    _, metrics = trained
    assert metrics["discriminator/accuracy_identity"] > 0.9
    assert metrics["discriminator/accuracy_pose"] > 0.9


# ---------------------------------------------------------------------------------- use


def test_encoding_forgets_mirroring_and_drawing_follows_the_pose(sets, trained):
    (config, _, _), (state, _) = sets, trained
    images = faces(config, people=3)["image"][:, 0]
    variables = state.generator.ema
    encode = jax.jit(partial(dr_gan.encode, config))
    found = encode(variables, images)
    chex.assert_trees_all_close(found, encode(variables, images[:, :, ::-1]), atol=1e-5)
    confidence = jax.jit(partial(dr_gan.confidence, config))(variables, images)
    chex.assert_shape(confidence, (3,))
    assert ((confidence > 0) & (confidence < 1)).all()
    np.testing.assert_allclose(confidence, found.confidence, atol=1e-6)
    rotate = jax.jit(partial(dr_gan.rotate, config))
    drawn = rotate(variables, found.feature, jnp.array([-45.0, 0.0, 45.0]))
    chex.assert_shape(drawn, images.shape)
    chex.assert_type(drawn, jnp.uint8)
    same = rotate(variables, found.feature, jnp.zeros(3))
    assert (drawn[0] != same[0]).any() and (drawn[1] == same[1]).all()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data.size": 47}, "multiple of 2"),
        ({"pose.classes": (0.0, -45.0)}, "rising angles"),
        ({"pose.classes": (-45.0, 0.0)}, "mirror images"),
        ({"gan.form": "fake_class", "gan.head": "additive_margin"}, "no vector"),
        ({"gan.images": 1}, "another picture"),
        ({"gan.warm_start": "both", "gan.spectral": True}, "spectral"),
        ({"gan.warm_start": "both", "gan.head": "additive_margin"}, "the same value"),
        ({"stages": "gan,nonsense"}, "nonsense"),
        ({"stages": ""}, "empty"),
    ],
)
def test_config_that_cannot_work_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**changes)


@pytest.mark.parametrize("variant", ["", "single", "cvpr"])
def test_the_paper_has_none_of_what_came_later(variant):
    config = paper.get_config(variant)
    check_config(config)
    gan = config.gan
    assert not gan.spectral and not gan.warm_decoder
    assert gan.r1 == gan.train.ema_decay == gan.degraded == config.recogniser.degraded == 0
    assert gan.weights.pixel == gan.weights.feature_identity == 0
    assert (gan.head, gan.warm_start, config.model.pose_gain) == ("softmax", "none", 1)


def test_the_recogniser_of_the_paper_config_learns_as_dr_gan_does():
    config = paper.get_config()
    assert config.recogniser.optimiser == config.gan.optimiser
    for key in ("steps", "ema_decay", "validate_every"):
        assert config.recogniser.train[key] == config.gan.train[key], key


def test_what_the_default_config_shows_can_be_run():
    shown = re.findall(r"--config\.(\S+)=(\S+)", default.__doc__)
    assert shown == [("gan.fuse", "False")]
    tiny(**{key: value == "True" for key, value in shown})

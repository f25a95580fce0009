"""The LaplaceKL task on tiny shapes: losses, step, masks, devices."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from experiments.configs.laplace import default
from jaxgen.kernels import heatmap as hm
from jaxgen.tasks import laplace
from jaxgen.tasks.laplace_schema import SUPERVISED_LOSSES, check_config
from jaxgen.training.errors import ConfigError
from jaxgen.training.mesh import compile_init, compile_step, data_mesh, put_batch
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import new_player, run_key

SIZE, POINTS = 16, 3


def tiny_config(**overrides):
    config = default.get_config()
    config.data.crop_size = SIZE
    config.model.update(num_points=POINTS, width=1 / 16, depth=2)
    config.adversarial.update(width=1 / 16, depth=1, pool=2, weight=0.01)
    config.train.update(steps=60, batch_size=8, unlabelled_batch_size=16)
    config.optimiser.warmup_steps = 0
    config.evaluate.normalizer = "box_size"
    config.update_from_flattened_dict(overrides)
    check_config(config)
    return config


def blobs(seed=0, count=8):
    """Faces of three coloured blobs, whose centres are the landmarks."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(3, SIZE - 4, (count, POINTS, 2)).astype(np.float32)
    grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1)
    square = np.square(grid[None, None] - points[:, :, None, None]).sum(-1)
    image = np.moveaxis(255 * np.exp(-square / 4), 1, -1).astype(np.uint8)
    return {"image": image, "points": points, "mask": np.ones((count, POINTS), bool)}


def batch():
    return {"labelled": blobs(), "unlabelled": {"image": blobs(1, 16)["image"]}}


def run(config, batch, steps, devices=None):
    mesh = data_mesh(devices)
    above = config.train.shard_parameters_above
    state = compile_init(mesh, partial(laplace.init_state, config), shard_above=above)(run_key(0))
    step = compile_step(mesh, partial(laplace.train_step, config), state)
    history = []
    for _ in range(steps):
        state, metrics = step(state, put_batch(mesh, batch))
        history.append(jax.device_get(metrics))
    return state, history


@pytest.mark.parametrize("name", SUPERVISED_LOSSES)
def test_every_loss_learns_one_batch(name):
    weights = {"adversarial.weight": 0.0, "loss.name": name}
    config = tiny_config(**weights)
    state, history = run(config, {"labelled": blobs()}, 60, jax.devices()[:1])
    variables = {"params": state.generator.params, "batch_stats": state.generator.batch_stats}
    predict = jax.jit(partial(laplace.predict, config))
    found = predict(variables, blobs()["image"])
    untrained = jax.jit(partial(laplace.init_state, config))(run_key(0)).generator
    before = predict(untrained.ema, blobs()["image"])
    error, error_before = (
        np.linalg.norm(x.points - blobs()["points"], axis=-1).mean() for x in (found, before)
    )
    assert error < 0.6 * error_before
    assert history[-1]["loss"] < history[0]["loss"]


def test_adversarial_step_moves_both_players_and_counts_steps():
    config = tiny_config()
    before = jax.jit(partial(laplace.init_state, config))(run_key(0))
    after, history = run(config, batch(), 2)
    assert int(after.step) == 2
    for player in ("generator", "discriminator"):
        old, new = (getattr(state, player).params for state in (before, after))
        assert max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), old, new))) > 0
    assert 0 <= history[0]["discriminator/accuracy"] <= 1
    assert np.isclose(
        history[0]["loss"], history[0]["supervised"] + 0.01 * history[0]["adversarial"]
    )


def test_adversarial_gradient_comes_from_unlabelled_faces_only(monkeypatch):
    config = tiny_config(**{"optimiser.weight_decay": 0.0})
    unlabelled = batch()
    unlabelled["labelled"]["mask"][:] = False
    # Where nobody labels a point, nothing is known of real maps either.
    _, history = run(config, unlabelled, 1)
    assert history[0]["supervised"] == 0
    assert history[0]["gradient_norm"] == 0
    # Without the supervised term, what moves the network is the critic.
    monkeypatch.setattr(laplace, "supervised_loss", lambda *_: jnp.zeros(()))
    _, history = run(config, batch(), 1)
    assert history[0]["gradient_norm"] > 0


def test_missing_labels_may_be_nan():
    config = tiny_config()
    data, poisoned = batch(), batch()
    for item in (data, poisoned):
        item["labelled"]["mask"][2:, 1] = False
    poisoned["labelled"]["points"][2:, 1] = np.nan
    states = [run(config, item, 2)[0] for item in (data, poisoned)]
    chex.assert_trees_all_equal(states[0].generator.params, states[1].generator.params)
    chex.assert_trees_all_equal(states[0].discriminator.params, states[1].discriminator.params)


def test_eight_devices_match_one():
    config = tiny_config(**{"equivariance.weight": 0.1, "adversarial.noise": 0.2})
    one, history_one = run(config, batch(), 2, jax.devices()[:1])
    config.train.shard_parameters_above = 100
    many, history_many = run(config, batch(), 2)
    kernel = many.generator.params["ConvBlock_4"]["kernel"]
    assert len(kernel.addressable_shards[0].data.ravel()) == kernel.size // 8
    chex.assert_trees_all_close(history_many[0], history_one[0], rtol=1e-3)
    chex.assert_trees_all_close(
        many.generator.batch_stats, one.generator.batch_stats, rtol=1e-3, atol=1e-5
    )


def test_real_and_fake_maps_live_in_one_space():
    config = tiny_config()
    points = jnp.array([[[4.0, 5.0], [7.5, 8.25], [0.0, 0.0]]])
    mask = jnp.array([[True, True, False]])
    real = laplace.real_heatmaps(config, points, mask, SIZE)
    # A heatmap whose distribution is the drawn Laplace gives the same map.
    drawn = hm.batched(partial(hm.render_laplace, shape=(SIZE, SIZE)))(
        hm.Moments(points, jnp.ones_like(points))
    )
    fake = laplace.fake_heatmaps(config, jnp.log(drawn) + 3)
    np.testing.assert_allclose(real[..., :2], fake[..., :2], atol=1e-5)
    assert real[0, ..., 2].max() == 0
    assert real[0, 5, 4, 0] == 1
    # Nor may an empty map say that labels are real: fakes have the same gaps.
    masks = jnp.array([[True, True, False], [True, False, True]])
    kept = laplace.leave_out_unlabelled(jnp.repeat(fake, 3, axis=0), masks)
    for row, filled in enumerate((masks[0], masks[1], masks[0])):
        np.testing.assert_array_equal(kept[row], jnp.where(filled, fake[0], 0))


class ScalingNet:
    """A network of one weight: heatmaps are images, a score is the mean of heatmaps, scaled."""

    def apply(self, variables, images, heatmaps=None, **options):
        weight = variables["params"]["weight"]
        if heatmaps is None:
            return weight * images, {"batch_stats": {}}
        return weight * heatmaps.mean((1, 2, 3)), {"batch_stats": {}}


def test_adversarial_step_by_hand(monkeypatch):
    for name in ("landmark_net", "discriminator_net"):
        monkeypatch.setattr(laplace, name, lambda config: ScalingNet())
    config = tiny_config(**{"adversarial.loss": "least_squares", "adversarial.pool": 1})

    def player(section, weight):
        optimiser = make_optimiser(section, config.train.steps)
        return new_player({"params": {"weight": jnp.float32(weight)}}, optimiser, ema=False)

    players = player(config.optimiser, 1), player(config.adversarial.optimiser, 0.25)
    state = laplace.State(jnp.zeros((), jnp.int32), run_key(0), *players)
    data = batch()
    data["unlabelled"]["image"][:] = 90  # flat heatmaps, peak 1 everywhere
    data["labelled"]["mask"][:, 0] = False  # nobody labels the first point
    _, metrics = jax.jit(partial(laplace.train_step, config))(state, data)
    points, mask = data["labelled"]["points"], data["labelled"]["mask"]
    real = 0.25 * laplace.real_heatmaps(config, points, mask, SIZE).mean((1, 2, 3))
    assert real.max() < 0.25  # bumps
    fake = 0.25 * (POINTS - 1) / POINTS
    expected = (np.square(real - 1).mean() + fake**2) / 2
    np.testing.assert_allclose(metrics["discriminator/loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["adversarial"], (1 - fake) ** 2, rtol=1e-5)
    assert metrics["discriminator/accuracy"] == 0.5  # all are taken for fakes


def test_the_reverse_divergence_exchanges_label_and_prediction():
    logits = jnp.asarray(blobs()["image"], jnp.float32) / 20
    points, mask = jnp.asarray(blobs()["points"]) + 1, jnp.ones((8, POINTS), bool)
    found = {
        name: laplace.supervised_loss(tiny_config(**{"loss.name": name}), logits, points, mask)
        for name in ("laplace_kl", "laplace_kl_reverse")
    }
    pred = laplace.moments_of(tiny_config(), logits)

    def divergence(p, q):  # of two Laplace distributions, per coordinate
        gap = jnp.abs(p.mean - q.mean)
        spread = p.scale * jnp.exp(-gap / p.scale) + gap
        return (jnp.log(q.scale / p.scale) + spread / q.scale - 1).sum(-1).mean()

    label = hm.Moments(points, jnp.full_like(points, tiny_config().loss.target_scale))
    np.testing.assert_allclose(found["laplace_kl"], divergence(pred, label), rtol=1e-4)
    np.testing.assert_allclose(found["laplace_kl_reverse"], divergence(label, pred), rtol=1e-4)
    assert abs(found["laplace_kl"] - found["laplace_kl_reverse"]) > 0.01


def test_equivariance_is_zero_for_an_equivariant_predictor():
    config = tiny_config(**{"equivariance.weight": 1.0})
    images = jnp.asarray(blobs()["image"], jnp.float32) / 255

    def bright(images):  # one bright blob per channel: log brightness is an equivariant heatmap
        return 40 * images, {}

    mean = laplace.moments_of(config, bright(images)[0]).mean
    key = jax.random.key(3)
    equivariant = laplace.equivariance_loss(config, key, images, mean, bright)
    fixed = laplace.equivariance_loss(
        config, key, images, mean, lambda warped: (40 * images[: len(warped)], {})
    )
    assert equivariant < 0.2 * fixed
    outside = laplace.equivariance_loss(config, key, images, jnp.full_like(mean, -8.0), bright)
    assert outside == 0  # what has left the picture cannot be asked for


class StandardiseTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_grey_level_and_contrast_do_not_matter(self):
        rng = np.random.default_rng(0)
        image = rng.integers(60, 120, (2, 8, 8, 3), dtype=np.uint8)
        changed = (image.astype(int) * 2 - 60).astype(np.uint8)
        standardise = self.variant(laplace.standardise)
        np.testing.assert_allclose(standardise(image), standardise(changed), atol=0.02)
        np.testing.assert_allclose(standardise(image).mean((1, 2)), 0, atol=1e-5)


class ConfigTest(parameterized.TestCase):
    @parameterized.parameters(
        ({"data.crop_size": 90}, "config.data.crop_size=90 must be a multiple"),
        ({"unlabelled.name": ""}, "config.unlabelled.name is empty"),
        ({"adversarial.depth": 2}, "leaves the discriminator 2 pixels a side.*24 pixels or more"),
        ({"data.crop_size": 36, "adversarial.depth": 2}, "from config.adversarial.depth and pool"),
        ({"evaluate.normalizer": "inter_ocular"}, "not defined for config.model.num_points=3"),
        ({"evaluate.normalizer": "inter_pupil"}, "not defined for config.model.num_points=3"),
        ({"model.num_points": 1}, "one point has none"),
        ({"model.width": 0.3}, "config.model.width=0.3"),
        ({"loss.name": "l3"}, "config.loss.name='l3'"),
        ({"optimiser.learning_rate": float("nan")}, "config.optimiser.learning_rate"),
    )
    def test_bad_value_names_its_key(self, override, message):
        with pytest.raises(ConfigError, match=message):
            tiny_config(**override)

    def test_the_discriminator_asks_for_nothing_where_there_is_none(self):
        tiny_config(**{"data.crop_size": 36, "adversarial.depth": 3, "adversarial.weight": 0.0})

    def test_the_smallest_crop_that_passes_gives_the_discriminator_a_logit(self):
        config = tiny_config(**{"adversarial.depth": 2, "data.crop_size": 24})
        image, maps = jnp.zeros((1, 24, 24, 3)), jnp.zeros((1, 24, 24, POINTS))
        critic, inputs = (
            laplace.discriminator_net(config),
            laplace.critic_inputs(config, image, maps),
        )
        logits, _ = jax.eval_shape(
            lambda key: critic.init_with_output(key, *inputs, train=False), jax.random.key(0)
        )
        assert logits.shape == (1, 1, 1, 1)

    def test_unknown_and_missing_keys_are_named(self):
        config = tiny_config()
        config.model.widht = 1
        with pytest.raises(ConfigError, match=r"config.model.widht.*config.model.width"):
            check_config(config)
        config = tiny_config()
        del config.train["steps"]
        with pytest.raises(ConfigError, match=r"missing key config.train.steps"):
            check_config(config)

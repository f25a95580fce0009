"""CyCADA's three kinds of step: what moves, what stays, and which loss does what."""

from functools import partial
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs.cycada import camvid, default, road_scenes
from jaxgen import losses
from jaxgen.kernels.pixels import scale
from jaxgen.tasks import cycada, cycada_alignment, cycada_evaluation, cycada_translation
from jaxgen.tasks.cycada_schema import check_config
from jaxgen.training import mesh
from jaxgen.training.errors import ConfigError
from jaxgen.training.optimiser import make_optimiser
from jaxgen.training.state import new_player, run_key

DOMAINS = ("source", "target")
ROADS = ("gta5_drn26", "gta5_fcn8s")
BATCH = 16  # two parts for each of eight devices


def tiny(**changes):
    config = default.get_config("smoke")
    config.data.update(size=28, channels=1)
    config.translation.generator.blocks = 0
    config.alignment.hidden = 16
    config.update_from_flattened_dict(changes)
    check_config(config)
    return config


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, BATCH, 28, 28, 1), np.uint8)
    return {
        "source": {"image": images[0], "label": np.arange(BATCH, dtype=np.int32) % 10},
        "target": {"image": images[1]},
    }


def run_on_devices(config, init, train_step, batch, steps=1):
    """State and metrics of every step, on all devices with large parameters split over them."""
    devices = mesh.data_mesh()
    state = mesh.compile_init(devices, init, shard_above=200)(run_key(0))
    step, batch = partial(train_step, config), mesh.put_batch(devices, batch)
    # Without the compiler's slowest passes: it runs a few times only.
    quick = {"xla_backend_optimization_level": 0}
    step = mesh.compile_step(devices, step, state).lower(state, batch).compile(quick)
    trace = []
    for _ in range(steps):
        state, metrics = step(state, batch)
        trace.append(jax.device_get(metrics))
    return state, trace


@pytest.fixture(scope="module")
def judge():
    return jax.jit(partial(cycada.init_task, tiny()))(run_key(7)).network.ema


def changed(before, after):
    """Whether any leaf of two trees differs."""
    return any(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    )


def test_task_network_learns_its_batch(batch):
    config = tiny(**{"task.optimiser.learning_rate": 3e-3, "task.train.steps": 80})
    step = jax.jit(partial(cycada.task_step, config))
    state = jax.jit(partial(cycada.init_task, config))(run_key(0))
    for _ in range(80):
        state, metrics = step(state, {"source": batch["source"]})
    assert metrics["loss"] < 0.5 and int(state.step) == 80
    predict = jax.jit(partial(cycada.predict, config))
    logits = predict(state.network.ema, batch["source"]["image"])
    np.testing.assert_array_equal(logits.argmax(-1), batch["source"]["label"])


def test_image_of_class_255_counts(batch):
    """255 is no label of a pixel, but a class like any other of an image."""
    config = tiny(**{"model.num_classes": 300, "translation.semantic.labels": "truth"})
    labels = np.full(BATCH, 255, np.int32)

    def losses_of(batch):
        state = cycada.init_task(config, run_key(0))
        _, metrics = cycada.task_step(config, state, batch)
        images = {name: scale(batch[name]["image"]) for name in ("source", "target")}
        judged = SimpleNamespace(judge=state.network.ema)
        terms = cycada_translation._semantic_terms(config, judged, None, images, images, labels)
        return metrics["loss"], terms["semantic_target"], state.network.ema

    batch = {**batch, "source": {**batch["source"], "label": labels}}
    task_loss, semantic_loss, variables = jax.jit(losses_of)(batch)
    assert task_loss > 4 and semantic_loss > 4  # log 300 = 5.7; 0 where the label is ignored
    evaluate = cycada_evaluation.compile_evaluate(config, mesh.data_mesh())
    opened = SimpleNamespace(image=batch["source"]["image"], label=labels)
    assert evaluate(variables, opened).confusion[255].sum() == BATCH
    logits = jnp.zeros((BATCH, 300)).at[:, 255].set(5.0)
    assert cycada.accuracy_of(logits, labels, ignore=cycada.ignored(config)) == 1
    assert cycada.ignored(camvid.get_config()) == 255


def test_pixels_without_label_are_neither_right_nor_wrong():
    logits = jax.nn.one_hot(jnp.array([0, 1, 2, 255 % 3]), 3)
    labels = jnp.array([0, 1, 1, 255])
    np.testing.assert_allclose(cycada.accuracy_of(logits, labels, ignore=255), 2 / 3)


def test_label_maps_know_255_classes():
    config = camvid.get_config()
    config.model.num_classes = 255
    check_config(config)
    config.model.num_classes = 256
    with pytest.raises(ConfigError, match=r"num_classes=256: label maps know at most 255"):
        check_config(config)


def translate_once(config, judge, batch):
    """(state before, state after, metrics, the compiled step)."""
    before = jax.jit(partial(cycada_translation.init_state, config))(run_key(0), judge)
    step = jax.jit(partial(cycada_translation.train_step, config))
    return before, *step(before, batch), step


@pytest.fixture(scope="module")
def translated(batch, judge):
    """One step with the frozen classifier."""
    return translate_once(tiny(), judge, batch)


def test_translation_step_moves_both_games(judge, translated):
    before, after, metrics, _ = translated
    check_both_games(before, after, metrics)
    chex.assert_trees_all_equal(after.judge, judge)


def check_both_games(before, after, metrics):
    assert all(np.isfinite(value) for value in metrics.values())
    for name in ("generators", "discriminators"):
        assert changed(getattr(before, name).params, getattr(after, name).params)
    assert "semantic_target" in metrics and "identity_target" not in metrics
    # The loop watches the networks of both sides for NaN.
    assert {"parameter_norm", "discriminator/parameter_norm"} <= metrics.keys()
    # While it fills, a pool holds exactly the translations of the batch.
    assert int(after.pools["target"].count) == BATCH


def test_joint_classifier_is_asked_once_it_is_good(batch, judge):
    # 32 pixels are the least that the released classifier takes.
    config = tiny(**{"translation.semantic.mode": "joint", "data.size": 32})
    pad = ((0, 0), (2, 2), (2, 2), (0, 0))
    batch = jax.tree.map(lambda x: np.pad(x, pad) if x.ndim == 4 else x, batch)
    before, after, metrics, step = translate_once(config, judge, batch)
    check_both_games(before, after, metrics)
    assert changed(before.classifier.params, after.classifier.params)
    assert "classifier/parameter_norm" in metrics
    # Nobody has measured the classifier before the first step: it is not asked.
    assert metrics["semantic_target"] == 0
    asked, later = step(after.replace(classifier_loss=jnp.array(0.5)), batch)
    assert later["semantic_target"] > 0
    np.testing.assert_allclose(asked.classifier_loss, later["classifier/loss"])


def test_translation_on_eight_devices_in_parts_is_the_whole_batch_on_one(batch, judge, translated):
    """No network here has batch statistics: parts of a batch give its gradient."""
    _, one, metrics, _ = translated
    config = tiny(**{"translation.train.micro_batches": 2})
    init = partial(cycada_translation.init_state, config, judge=judge)
    many, trace = run_on_devices(config, init, cycada_translation.train_step, batch)
    chex.assert_trees_all_close(trace[0], jax.device_get(metrics), rtol=1e-3)
    for name in ("generators", "discriminators"):
        moments = [getattr(state, name).opt_state[1].mu for state in (many, one)]
        chex.assert_trees_all_close(*moments, rtol=1e-2, atol=1e-4)
    chex.assert_trees_all_close(many.pools["target"], one.pools["target"], atol=1e-4)


def test_terms_without_weight_are_left_out(batch):
    config = tiny(
        **{
            "translation.weights.cycle_source": 0.0,
            "translation.weights.identity_target": 2.0,
            "translation.semantic.mode": "none",
        }
    )
    state = jax.jit(partial(cycada_translation.init_state, config))(run_key(0))
    after, metrics = jax.jit(partial(cycada_translation.train_step, config))(state, batch)
    assert "cycle_source" not in metrics and "cycle_target" in metrics
    assert not [name for name in metrics if name.startswith("semantic")]
    weights = config.translation.weights
    terms = [name for name in metrics if name in weights]
    np.testing.assert_allclose(
        metrics["loss"], sum(weights[name] * metrics[name] for name in terms), rtol=1e-5
    )
    translate = jax.jit(partial(cycada_translation.translate, config))
    images = translate(after.generators.params["target"], batch["source"]["image"])
    chex.assert_shape(images, (BATCH, 28, 28, 1))
    chex.assert_type(images, jnp.uint8)


@pytest.mark.parametrize("labels", ["argmax", "truth"])
def test_semantic_loss_asks_the_judge_about_the_same_image(batch, judge, labels):
    """A translation is held to what the judge says of its own original, or to its label."""
    config = tiny(**{"translation.semantic.labels": labels})
    state = jax.jit(partial(cycada_translation.init_state, config))(run_key(0), judge)
    _, metrics = jax.jit(partial(cycada_translation.train_step, config))(state, batch)
    real = {name: scale(batch[name]["image"]) for name in ("source", "target")}

    judged = jax.jit(partial(cycada.task_net(config).apply, judge, train=False))
    apply = jax.jit(partial(cycada_translation.generator_net(config).apply, train=False))
    for name, other in (("target", "source"), ("source", "target")):
        fake = apply({"params": state.generators.params[name]}, real[other])
        believed = judged(real[other]).argmax(-1)
        if labels == "truth" and other == "source":
            believed = batch["source"]["label"]
        expected = losses.cross_entropy(judged(fake), believed).mean()
        np.testing.assert_allclose(metrics[f"semantic_{name}"], expected, rtol=1e-4)


class Scaling:
    """A network with one weight, which it multiplies images by."""

    def __init__(self, config):
        del config

    def apply(self, variables, images, **options):
        return images * variables["params"]["weight"]


@pytest.fixture
def scaling(monkeypatch):
    """Generators that scale, and a discriminator that says the mean of an image."""
    monkeypatch.setattr(cycada_translation, "generator_net", Scaling)
    monkeypatch.setattr(cycada_translation, "_criticise", lambda c, p, x: p + x.mean((1, 2, 3)))


def test_terms_of_the_generators_by_hand(scaling):
    weights = {f"{term}_{name}": 1.0 for term in ("cycle", "identity") for name in DOMAINS}
    config = tiny(**{"translation.semantic.mode": "none", "translation.loss": "least_squares"})
    config.translation.weights.update(weights)
    real = {"source": jnp.full((2, 4, 4, 1), 0.4), "target": jnp.full((2, 4, 4, 1), -0.2)}
    critics = SimpleNamespace(params={"target": 0.0, "source": 0.1})
    state = SimpleNamespace(discriminators=critics)

    def terms_of(target, source):
        params = {"target": {"weight": target}, "source": {"weight": source}}
        return cycada_translation._generator_terms(config, state, run_key(0), params, real, None)[0]

    found = terms_of(0.5, 3.0)
    # 0.4 becomes 0.2 and comes back as 0.6; -0.2 becomes -0.6 and comes back as -0.3.
    expected = {
        "adversarial_target": 0.64, "adversarial_source": 1.5**2,
        "cycle_source": 0.2, "cycle_target": 0.1,
        "identity_source": 0.8, "identity_target": 0.1,
    }  # fmt: skip
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)
    # The discriminator's opinion moves the generator: d (0.4 w - 1)^2 / dw at 0.5.
    gradient = jax.grad(lambda w: terms_of(w, 3.0)["adversarial_target"])(0.5)
    np.testing.assert_allclose(gradient, -0.64, rtol=1e-5)


def test_pixels_without_label_ask_for_no_meaning(monkeypatch):
    class Judge(Scaling):
        def apply(self, variables, images, **options):
            return jnp.stack([images[..., 0], -images[..., 0]], -1)

    monkeypatch.setattr(cycada_translation, "task_net", Judge)
    config = tiny()
    assert config.translation.semantic.labels == "argmax"
    images = {name: jnp.full((2, 4, 4, 1), 0.5) for name in ("source", "target")}
    state = SimpleNamespace(judge=None)
    for labels, is_asked in ((jnp.full((2, 4, 4), 3), True), (jnp.full((2, 4, 4), -1), False)):
        found = cycada_translation._semantic_terms(config, state, None, images, images, labels)
        assert (found["semantic_target"] > 0) == is_asked
        assert found["semantic_source"] > 0


def test_discriminators_see_real_images_of_their_own_domain(batch, judge, translated):
    """Least squares: (D(real) - 1)^2 and D(translation)^2, half of each, over both domains."""
    before, _, metrics, _ = translated
    config, real = tiny(), {name: scale(batch[name]["image"]) for name in ("source", "target")}
    total = 0.0
    generate = jax.jit(partial(cycada_translation.generator_net(config).apply, train=False))
    judge_images = jax.jit(partial(cycada_translation.discriminator_net(config).apply, train=True))
    for name, other in (("target", "source"), ("source", "target")):
        fake = generate({"params": before.generators.params[name]}, real[other])
        params = {"params": before.discriminators.params[name]}
        on_real, on_fake = (judge_images(params, x) for x in (real[name], fake))
        total += (jnp.square(on_real - 1).mean() + jnp.square(on_fake).mean()) / 2
        generator = jnp.square(on_fake - 1).mean()
        np.testing.assert_allclose(metrics[f"adversarial_{name}"], generator, rtol=1e-4)
    np.testing.assert_allclose(metrics["discriminator/loss"], total, rtol=1e-4)


def align_init(judge, config=None):
    return jax.jit(partial(cycada_alignment.init_state, config or tiny()))(run_key(0), judge)


def align(config, judge, batch, steps=1):
    state = align_init(judge, config)
    step = jax.jit(partial(cycada_alignment.train_step, config))
    trace = []
    for _ in range(steps):
        state, metrics = step(state, batch)
        trace.append(metrics)
    return state, trace


def test_network_stays_while_the_gate_is_shut(batch, judge):
    state, trace = align(tiny(**{"alignment.gate": 1.0}), judge, batch, steps=3)
    chex.assert_trees_all_equal(state.network.params, judge["params"])
    assert changed(state.discriminator.params, align_init(judge).discriminator.params)
    assert [float(metrics["gate"]) for metrics in trace] == [0, 0, 0]


def test_alignment_step_by_hand(monkeypatch):
    """Features are one number, 2 of the source and -1 of the target; the discriminator scales."""

    def features(config, variables, images):
        return jnp.full((len(images), 1), variables["params"]["number"])

    def train_features(config, player, params, images, key):
        return features(config, {"params": params}, images), player.batch_stats

    def discriminate(config, params, features, key):
        towards_source = features * params["weight"]
        return jnp.concatenate([-towards_source, towards_source], -1)

    for function in (features, train_features, discriminate):
        monkeypatch.setattr(cycada_alignment, f"_{function.__name__}", function)
    config = tiny(**{"alignment.discriminator_optimiser.learning_rate": 0.1})

    def player(section, **params):
        variables = {"params": jax.tree.map(jnp.float32, params)}
        return new_player(variables, make_optimiser(section, 10), ema=False)

    sections = config.alignment
    state = cycada_alignment.State(
        step=jnp.array(0),
        key=run_key(0),
        reference={"params": {"number": jnp.array(2.0)}},
        network=player(sections.optimiser, number=-1.0),
        discriminator=player(sections.discriminator_optimiser, weight=0.5),
        accuracies=jnp.zeros(1),
    )
    images = jnp.zeros((4, 28, 28, 1), jnp.uint8)
    batch = {"source": {"image": images, "label": jnp.zeros(4, int)}, "target": {"image": images}}
    after, metrics = jax.jit(partial(cycada_alignment.train_step, config))(state, batch)
    assert cycada_alignment.SOURCE == 1 and metrics["discriminator/accuracy"] == 1
    # Logits of +-1 for the source, of +-0.5 for the target.
    expected = np.mean(np.log1p(np.exp([-2.0, -1.0])))
    np.testing.assert_allclose(metrics["discriminator/loss"], expected, rtol=1e-6)
    # The network meets the discriminator of this step, whose weight Adam has moved by its rate.
    np.testing.assert_allclose(after.discriminator.params["weight"], 0.6, rtol=1e-5)
    np.testing.assert_allclose(metrics["adversarial"], np.log1p(np.exp(1.2)), rtol=1e-5)
    # The loop watches these for NaN; the network rests.
    norms = {name: float(value) for name, value in metrics.items() if "parameter_norm" in name}
    assert norms == pytest.approx(
        {"parameter_norm": 1.0, "discriminator/parameter_norm": 0.6}, rel=1e-5
    )
    assert metrics["gate"] == metrics["update_norm"] == 0


def test_gate_looks_at_the_mean_of_its_window_after_the_warm_up(batch, judge):
    config = tiny(**{"alignment.gate": 0.2, "alignment.window": 4, "alignment.warmup_steps": 3})
    state, trace = align(config, judge, batch, steps=5)
    accuracies = [float(metrics["discriminator/accuracy"]) for metrics in trace]
    np.testing.assert_allclose(state.accuracies, accuracies[1:])
    means = [sum(accuracies[max(0, n - 3) : n + 1]) / 4 for n in range(5)]
    expected = [float(mean > 0.2 and n >= 3) for n, mean in enumerate(means)]
    assert [float(metrics["gate"]) for metrics in trace] == expected and expected[-1] == 1
    assert changed(state.network.params, judge["params"])
    chex.assert_trees_all_equal(state.reference, judge)
    # Eight devices go the same way, gate and all.
    init = partial(cycada_alignment.init_state, config, variables=judge)
    many, trace_many = run_on_devices(config, init, cycada_alignment.train_step, batch, steps=5)
    chex.assert_trees_all_close(trace_many, jax.device_get(trace), rtol=1e-3, atol=1e-5)
    chex.assert_trees_all_close(many.discriminator.params, state.discriminator.params, atol=1e-4)


def test_alignment_fools_a_discriminator(judge, batch):
    """Target images are the source's negatives: once the network moves, the two look alike."""
    config = tiny(
        **{
            "alignment.gate": 0.5,
            "alignment.hidden": 64,
            "alignment.warmup_steps": 60,
            "alignment.train.steps": 80,
            "alignment.optimiser.learning_rate": 1e-3,
            "alignment.discriminator_optimiser.learning_rate": 3e-3,
        }
    )
    few = jax.tree.map(lambda x: x[:4], batch["source"])  # a discriminator soon tells four apart
    batch = {"source": few, "target": {"image": 255 - few["image"]}}
    _, trace = align(config, judge, batch, steps=80)
    accuracy = [float(metrics["discriminator/accuracy"]) for metrics in trace]
    assert np.mean(accuracy[40:60]) > 0.9
    assert np.mean(accuracy[65:]) < 0.6


@pytest.mark.parametrize("config", [camvid.get_config(), *map(road_scenes.get_config, ROADS)])
def test_one_network_for_both_domains_of_scenes(config):
    """Segmentation aligns score maps with shared weights while the task goes on."""
    config.data.size = 64
    assert config.alignment.shared and config.alignment.task_weight > 0
    task = jax.eval_shape(partial(cycada.init_task, config), run_key(0))
    init = partial(cycada_alignment.init_state, config)
    state = jax.eval_shape(init, run_key(0), task.network.ema)
    assert state.reference is None
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.uint8)
    label = jax.ShapeDtypeStruct((2, 64, 64), jnp.uint8)
    batch = {"source": {"image": images, "label": label}, "target": {"image": images}}
    after, metrics = jax.eval_shape(partial(cycada_alignment.train_step, config), state, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert "task" in metrics
    after, metrics = jax.eval_shape(partial(cycada.task_step, config), task, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, task)

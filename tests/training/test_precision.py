"""bfloat16 by config, traced and not compiled: who computes in it, and who does not."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from benchmarks import training_steps
from jaxgen.models.digits import LeNet
from jaxgen.training.state import run_key

# Sections that hold each step's `micro_batches`.
SECTIONS = {
    "laplace": "train",
    "cycada_translation": "translation.train",
    "cycada_alignment": "alignment.train",
    "cycada_task": "task.train",
    "dr_gan": "gan.train",
    "dr_gan_recogniser": "recogniser.train",
    "tiny_faces_gan": "gan.train",
    "tiny_faces_detector": "detector.train",
    "tiny_faces_generator": "generator.train",
    "tiny_faces_discriminator": "discriminator.train",
}


def equations(jaxpr):
    """All equations, those of inner functions, loops and branches too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


@pytest.mark.parametrize("name", training_steps.NAMES)
def test_networks_compute_in_bfloat16_and_all_that_is_kept_is_float32(name):
    """Every system's step, its batch in two parts, at the sizes of a smoke run."""
    changes = {"model.dtype": "bfloat16", f"{SECTIONS[name]}.micro_batches": 2}
    made = training_steps.build(name, "smoke", **changes)
    state = jax.eval_shape(made.init, run_key(0))
    traced, (after, metrics) = jax.make_jaxpr(made.step, return_shape=True)(state, made.batch)
    # Parameters, statistics, moments and averages come out as they went in.
    for got, had in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert got.shape == had.shape and got.dtype == had.dtype
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(metrics))
    kept = [x.dtype for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert set(kept) == {jnp.dtype("float32")}
    convolutions = [e for e in equations(traced.jaxpr) if "conv_general" in e.primitive.name]
    kinds = {str(variable.aval.dtype) for e in convolutions for variable in e.invars}
    assert kinds == {"bfloat16"}


def test_bfloat16_says_nearly_the_same():
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 1)), jnp.float32)
    full = LeNet(dropout=0.0)
    variables = jax.jit(lambda key: full.init(key, images, train=False))(jax.random.key(0))
    logits, coarse = (
        jax.jit(lambda v, x, net=net: net.apply(v, x, train=False))(variables, images)
        for net in (full, LeNet(dropout=0.0, dtype=jnp.bfloat16))
    )
    chex.assert_type(coarse, jnp.float32)
    assert (logits != coarse).any()
    np.testing.assert_allclose(coarse, logits, atol=0.02 * float(jnp.abs(logits).max()))

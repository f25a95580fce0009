"""Generative models that make discriminative vision better, in JAX."""

from jaxgen import xla_cpu

xla_cpu.protect()

__version__ = "0.1.0"

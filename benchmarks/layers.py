"""Single layers with their gradients on CPU: batch normalisation and 3 x 3 convolutions.

    python -m benchmarks.layers
    python -m benchmarks.layers --batch=16 --record
    python -m benchmarks.layers --parts --batch=16

Batch normalisation with ELU against Flax's and PyTorch's, at the maps of DR-GAN's encoder; its
convolutions, each with the gradients to input and kernel, against PyTorch's and the form that XLA
has. PyTorch runs channels-last. --parts times the convolution and both gradients apart from each
other, at the maps of the tiny-face generator instead. Needs the extra "bench".
"""

import argparse

import numpy as np

from benchmarks import timing

# (side of the map, channels in, channels out, stride): DR-GAN's encoder at 48 px and width 1/4.
CONVOLUTIONS = ((48, 3, 8, 1), (48, 8, 16, 1), (48, 16, 16, 2), (24, 16, 32, 1), (12, 24, 48, 1))
# (side of the map, channels in, channels out): the tiny-face generator's largest maps.
GENERATOR_CONVOLUTIONS = ((64, 16, 16), (64, 16, 64), (64, 64, 64))
PARTS = ("forward", "to_input", "to_kernel")
NORMS = ((48, 8), (48, 16), (24, 32), (12, 48))  # (side, channels)


def random(*shape):
    """Normal float32 values."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def jax_gradient(function, *inputs):
    """A function that computes the output and the gradients to all inputs in JAX."""
    import jax
    import jax.numpy as jnp

    inputs = [jnp.asarray(each) for each in inputs]
    towards = jnp.asarray(random(*jax.eval_shape(function, *inputs).shape))

    @jax.jit
    def both(towards, *inputs):
        output, pull = jax.vjp(function, *inputs)
        return output, pull(towards)

    return lambda: jax.block_until_ready(both(towards, *inputs))


def torch_gradient(function, image, *parameters):
    """The same in PyTorch; images [B, H, W, C] become channels-last tensors."""
    import torch

    tensors = [torch.from_numpy(image).permute(0, 3, 1, 2)]
    tensors += [torch.from_numpy(each) for each in parameters]
    for tensor in tensors:
        tensor.requires_grad_()
    towards = None

    def run():
        nonlocal towards
        output = function(*tensors)
        if towards is None:
            towards = torch.ones_like(output)
        torch.autograd.grad(output, tensors, towards)

    return run


def norm_run(*, library, batch, side, channels):
    """Batch normalisation of training and ELU."""
    from jaxgen import host_memory

    host_memory.keep_freed()
    inputs = random(batch, side, side, channels), np.ones(channels, np.float32)
    inputs = *inputs, np.zeros(channels, np.float32)
    if library == "pytorch":
        import torch.nn.functional as F

        return torch_gradient(
            lambda x, scale, bias: F.elu(F.batch_norm(x, None, None, scale, bias, True)), *inputs
        )
    import flax.linen as nn

    from jaxgen.models.batch_norm import BatchNorm

    net = {"jaxgen": BatchNorm, "flax": nn.BatchNorm}[library](use_running_average=False)

    def apply(x, scale, bias):
        kept = {"mean": bias, "var": scale}
        variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": kept}
        return nn.elu(net.apply(variables, x, mutable=["batch_stats"])[0])

    return jax_gradient(apply, *inputs)


def convolution_run(*, library, batch, side, before, after, stride):
    """A 3 x 3 convolution that keeps or halves the size."""
    from jaxgen import host_memory

    host_memory.keep_freed()
    image, kernel = random(batch, side, side, before), random(3, 3, before, after)
    if library == "pytorch":
        import torch
        import torch.nn.functional as F

        kernel = kernel.transpose(3, 2, 0, 1)
        layout = torch.channels_last
        return torch_gradient(
            lambda x, k: F.conv2d(x, k.contiguous(memory_format=layout), stride=stride, padding=1),
            image,
            np.ascontiguousarray(kernel),
        )
    from jaxgen.models import conv_forms, convolution

    form = {"jaxgen": convolution.convolve, "xla": conv_forms.library}[library]
    return jax_gradient(lambda x, k: form(x, k, stride, 1), image, kernel)


def convolution_part_run(*, library, part, batch, side, before, after):
    """A 3 x 3 convolution that keeps the size, or one of its gradients."""
    from jaxgen import host_memory

    host_memory.keep_freed()
    image, kernel = random(batch, side, side, before), random(3, 3, before, after)
    towards = random(batch, side, side, after)
    if library == "pytorch":
        import torch
        import torch.nn.functional as F

        image, towards = (torch.from_numpy(a).permute(0, 3, 1, 2) for a in (image, towards))
        kernel = torch.from_numpy(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
        if part == "forward":
            return lambda: F.conv2d(image, kernel, padding=1)
        wanted = (part == "to_input", part == "to_kernel", False)
        ones = (1, 1)
        return lambda: torch.ops.aten.convolution_backward(
            towards, image, kernel, None, ones, ones, ones, False, (0, 0), 1, wanted
        )
    import jax

    from jaxgen.models import convolution

    def compute(image, kernel, towards):
        if part == "forward":
            return convolution.convolve(image, kernel, 1, 1)
        _, pull = jax.vjp(lambda x, k: convolution.convolve(x, k, 1, 1), image, kernel)
        return pull(towards)[PARTS.index(part) - 1]

    inputs, compiled = jax.device_put((image, kernel, towards)), jax.jit(compute)
    return lambda: jax.block_until_ready(compiled(*inputs))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--parts", action="store_true", help="forward and gradients, one by one")
    parser.add_argument("--record", action="store_true", help="append to docs/results/speed.jsonl")
    args = parser.parse_args()

    def compare(name, variant, factory, libraries, **options):
        options["batch"] = args.batch
        seconds = timing.interleaved(
            {library: (factory, dict(library=library, **options)) for library in libraries},
            rounds=args.rounds,
        )
        timing.report(f"{name} {variant}", seconds, ours="jaxgen", items=args.batch)
        if args.record:
            facts = dict(ours="jaxgen", items=args.batch)
            timing.append(timing.records("layers", name, variant, seconds, **facts))

    if args.parts:
        for side, before, after in GENERATOR_CONVOLUTIONS:
            for part in PARTS:
                variant = f"side={side},channels={before}-{after},part={part},batch={args.batch}"
                layer = dict(side=side, before=before, after=after, part=part)
                libraries = ("jaxgen", "pytorch")
                compare("convolution_part", variant, convolution_part_run, libraries, **layer)
        return
    for side, channels in NORMS:
        variant = f"side={side},channels={channels},batch={args.batch}"
        libraries = ("jaxgen", "flax", "pytorch")
        compare("batch_norm_elu", variant, norm_run, libraries, side=side, channels=channels)
    for side, before, after, stride in CONVOLUTIONS:
        variant = f"side={side},channels={before}-{after},stride={stride},batch={args.batch}"
        layer = dict(side=side, before=before, after=after, stride=stride)
        compare("convolution_3x3", variant, convolution_run, ("jaxgen", "xla", "pytorch"), **layer)


if __name__ == "__main__":
    main()

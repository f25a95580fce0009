"""CycleGAN's networks and training step in PyTorch: the peer of `cycada_step`.

Layer for layer the networks of jaxgen.models.cycle_gan, in PyTorch's own layers; the step is
the usual one: generators first, with the discriminators' weights frozen, then the discriminators.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn


def generator(features: int, blocks: int) -> nn.Sequential:
    """Images [B, 3, H, W] -> images."""
    few = features

    def norm_relu(channels):
        return [nn.InstanceNorm2d(channels), nn.ReLU(True)]

    layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, few, 7), *norm_relu(few)]
    for channels in (few, 2 * few):
        layers += [nn.Conv2d(channels, 2 * channels, 3, 2, 1), *norm_relu(2 * channels)]
    layers += [ResidualBlock(4 * few) for _ in range(blocks)]
    for channels in (4 * few, 2 * few):
        half = channels // 2
        layers += [nn.ConvTranspose2d(channels, half, 3, 2, 1, 1), *norm_relu(half)]
    return initialise(
        nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(few, 3, 7), nn.Tanh())
    )


class ResidualBlock(nn.Module):
    """Two convolutions added to their input."""

    def __init__(self, channels: int):
        super().__init__()

        def conv():
            return [
                nn.ReflectionPad2d(1),
                nn.Conv2d(channels, channels, 3),
                nn.InstanceNorm2d(channels),
            ]

        self.layers = nn.Sequential(*conv(), nn.ReLU(True), *conv())

    def forward(self, x):
        """[B, C, H, W] -> the same shape."""
        return x + self.layers(x)


def discriminator(features: int) -> nn.Sequential:
    """Images [B, 3, H, W] -> logits of patches [B, 1, h, w]."""
    layers = [nn.Conv2d(3, features, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for level, stride in ((1, 2), (2, 2), (3, 1)):
        before, after = features * 2 ** (level - 1), features * 2**level
        layers += [nn.Conv2d(before, after, 4, stride, 1), nn.InstanceNorm2d(after)]
        layers.append(nn.LeakyReLU(0.2, True))
    return initialise(nn.Sequential(*layers, nn.Conv2d(8 * features, 1, 4, 1, 1)))


def initialise(net: nn.Module) -> nn.Module:
    """Small normal weights, biases 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return net


class Translation:
    """Two generators, two discriminators, one Adam for each pair."""

    def __init__(self, features: int, blocks: int, memory_format: torch.memory_format):
        def pair(make):
            return [make().to(memory_format=memory_format) for _ in range(2)]

        self.to_target, self.to_source = pair(lambda: generator(features, blocks))
        self.of_target, self.of_source = pair(lambda: discriminator(features))
        both = itertools.chain(self.to_target.parameters(), self.to_source.parameters())
        self.generators = torch.optim.Adam(both, lr=2e-4, betas=(0.5, 0.999))
        self.critics = [*self.of_target.parameters(), *self.of_source.parameters()]
        self.discriminators = torch.optim.Adam(self.critics, lr=2e-4, betas=(0.5, 0.999))

    def step(self, source, target):
        """One update of all four networks. Images [B, 3, H, W] in [-1, 1]."""
        for parameter in self.critics:
            parameter.requires_grad_(False)
        fake_target, fake_source = self.to_target(source), self.to_source(target)
        loss = (
            toward(self.of_target(fake_target), 1)
            + toward(self.of_source(fake_source), 1)
            + F.l1_loss(self.to_source(fake_target), source)
            + F.l1_loss(self.to_target(fake_source), target)
        )
        self.generators.zero_grad(set_to_none=True)
        loss.backward()
        self.generators.step()

        for parameter in self.critics:
            parameter.requires_grad_(True)
        self.discriminators.zero_grad(set_to_none=True)
        for critic, real, fake in (
            (self.of_target, target, fake_target),
            (self.of_source, source, fake_source),
        ):
            ((toward(critic(real), 1) + toward(critic(fake.detach()), 0)) / 2).backward()
        self.discriminators.step()


def toward(logits, label: float):
    """Least squares."""
    return (logits - label).square().mean()

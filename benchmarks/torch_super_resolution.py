"""The tiny-face GAN's networks and steps in PyTorch: the peer of `tiny_faces_step`.

Layer for layer the networks of jaxgen.models.super_resolution and face_discriminator with batch
normalisation, in PyTorch's own layers. Modules carry the names that Flax gives, so that
`as_flax` can hand the weights over.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class ConvNorm(nn.Module):
    """Convolution that keeps the size, batch normalisation, rectifier."""

    def __init__(self, before: int, after: int, size: int, slope: float | None = 0.2):
        super().__init__()
        self.Conv_0 = nn.Conv2d(before, after, size, padding=size // 2, bias=False)
        self.BatchNorm_0 = nn.BatchNorm2d(after)
        self.slope = slope  # None for none, 0 for a plain rectifier

    def forward(self, x):
        """[B, C, H, W] -> [B, D, H, W]."""
        x = self.BatchNorm_0(self.Conv_0(x))
        return x if self.slope is None else F.leaky_relu(x, self.slope, inplace=True)


class ResidualBlock(nn.Module):
    """Two convolutions added to their input, then a rectifier."""

    def __init__(self, channels: int):
        super().__init__()
        self.ConvNorm_0 = ConvNorm(channels, channels, 3, slope=0.0)
        self.ConvNorm_1 = ConvNorm(channels, channels, 3, slope=None)

    def forward(self, x):
        """[B, C, H, W] -> the same shape."""
        return F.relu(x + self.ConvNorm_1(self.ConvNorm_0(x)))


class Doubling(nn.Module):
    """Transposed convolution, batch normalisation, leaky rectifier."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(before, after, 3, 2, 1, 1)
        self.BatchNorm_0 = nn.BatchNorm2d(after)

    def forward(self, x):
        """[B, C, H, W] -> [B, D, 2 H, 2 W]."""
        return F.leaky_relu(self.BatchNorm_0(self.deconv(x)), 0.2, inplace=True)


class Upsampler(nn.Module):
    """Low resolution to the first image."""

    def __init__(self, few: int, wide: int, blocks: int):
        super().__init__()
        self.ConvNorm_0 = ConvNorm(3, few, 3)
        self.blocks = blocks
        for index in range(blocks):
            setattr(self, f"block_{index}", ResidualBlock(few))
        self.ConvNorm_1 = ConvNorm(few, few, 3)
        self.Doubling_0 = Doubling(few, wide)
        self.Doubling_1 = Doubling(wide, wide)
        self.Conv_0 = nn.Conv2d(wide, 3, 1, bias=False)

    def forward(self, x):
        """[B, 3, h, w] -> [B, 3, 4 h, 4 w]."""
        x = self.ConvNorm_0(x)
        for index in range(self.blocks):
            x = getattr(self, f"block_{index}")(x)
        return torch.tanh(self.Conv_0(self.Doubling_1(self.Doubling_0(self.ConvNorm_1(x)))))


class Refiner(nn.Module):
    """The first image to the second."""

    def __init__(self, few: int, wide: int, blocks: int):
        super().__init__()
        self.ConvNorm_0 = ConvNorm(3, few, 3)
        self.blocks = blocks
        for index in range(blocks):
            setattr(self, f"block_{index}", ResidualBlock(few))
        self.ConvNorm_1 = ConvNorm(few, few, 3)
        self.ConvNorm_2 = ConvNorm(few, wide, 3)
        self.ConvNorm_3 = ConvNorm(wide, wide, 3)
        self.Conv_0 = nn.Conv2d(wide, 3, 3, padding=1, bias=False)

    def forward(self, x):
        """[B, 3, H, W] -> the same shape."""
        x = self.ConvNorm_0(x)
        for index in range(self.blocks):
            x = getattr(self, f"block_{index}")(x)
        return torch.tanh(self.Conv_0(self.ConvNorm_3(self.ConvNorm_2(self.ConvNorm_1(x)))))


class Generator(nn.Module):
    """Up-sampling network, then refinement network."""

    def __init__(self, width: float, blocks: int):
        super().__init__()
        few, wide = round(64 * width), round(256 * width)
        self.upsampler = Upsampler(few, wide, blocks)
        self.refiner = Refiner(few, wide, blocks)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x):
        """[B, 3, h, w] -> both images [B, 3, 4 h, 4 w]."""
        coarse = self.upsampler(x)
        return coarse, self.refiner(coarse)


class Discriminator(nn.Module):
    """A compact trunk with batch normalisation and two heads."""

    def __init__(self, features: int, stages: int, side: int):
        super().__init__()
        layers, before = [], 3
        for stage in range(stages):
            after = features * 2**stage
            for channels in (before, after):
                layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False)]
                layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2, True)]
            layers += [nn.MaxPool2d(2)]
            before = after
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.Linear(before * (side // 2**stages) ** 2, 2)

    def forward(self, x):
        """[B, 3, H, W] -> logits [B, 2]: real, face."""
        return self.heads(self.trunk(x).flatten(1))


class Gan:
    """Both networks, one Adam each."""

    def __init__(self, *, width, blocks, features, stages, side, memory_format):
        self.generator = Generator(width, blocks).to(memory_format=memory_format)
        critic = Discriminator(features, stages, side)
        self.discriminator = critic.to(memory_format=memory_format)
        self.for_generator = torch.optim.Adam(self.generator.parameters(), lr=1e-4)
        self.for_discriminator = torch.optim.Adam(self.discriminator.parameters(), lr=1e-4)

    def generator_step(self, low, high, is_face):
        """One update on pixels alone. Images in [-1, 1]."""
        del is_face
        self.for_generator.zero_grad(set_to_none=True)
        pixel_loss(self.generator(low), high).backward()
        self.for_generator.step()

    def joint_step(self, low, high, is_face):
        """One update of both networks; the generator runs once. is_face: [B] of 0 and 1."""
        for parameter in self.discriminator.parameters():
            parameter.requires_grad_(False)
        images = self.generator(low)
        said = self.discriminator(images[1])
        ones, zeros = torch.ones_like(is_face), torch.zeros_like(is_face)
        loss = pixel_loss(images, high)
        loss = loss + 1e-3 * F.binary_cross_entropy_with_logits(said[:, 0], ones)
        loss = loss + 1e-2 * F.binary_cross_entropy_with_logits(said[:, 1], is_face)
        self.for_generator.zero_grad(set_to_none=True)
        loss.backward()
        self.for_generator.step()

        for parameter in self.discriminator.parameters():
            parameter.requires_grad_(True)
        self.for_discriminator.zero_grad(set_to_none=True)
        total = 0.0
        for shown, label in ((high, ones), (images[1].detach(), zeros)):
            said = self.discriminator(shown)
            total = total + F.binary_cross_entropy_with_logits(said[:, 0], label) / 2
            total = total + F.binary_cross_entropy_with_logits(said[:, 1], is_face) / 2
        total.backward()
        self.for_discriminator.step()


def pixel_loss(images, high):
    """Mean squared difference of both images, summed."""
    return sum(F.mse_loss(image, high) for image in images)


def randomise(net: nn.Module) -> None:
    """Weights and running statistics unlike the first ones, so that each one counts."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=1 / np.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def as_flax(net: nn.Module) -> dict:
    """Variables of jaxgen's generator with the weights of this one."""
    variables = {"params": {}, "batch_stats": {}}

    def put(collection, path, array):
        place = variables[collection]
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = np.ascontiguousarray(array.detach().numpy())

    for name, module in net.named_modules():
        path = name.split(".")
        if isinstance(module, nn.ConvTranspose2d):
            # PyTorch turns the kernel by 180 degrees. Flax has it in `Doubling` itself.
            kernel = module.weight.flip(2, 3).permute(2, 3, 0, 1)
            put("params", [*path[:-1], "kernel"], kernel)
            put("params", [*path[:-1], "bias"], module.bias)
        elif isinstance(module, nn.Conv2d):
            put("params", [*path, "kernel"], module.weight.permute(2, 3, 1, 0))
        elif isinstance(module, nn.BatchNorm2d):
            put("params", [*path, "scale"], module.weight)
            put("params", [*path, "bias"], module.bias)
            put("batch_stats", [*path, "mean"], module.running_mean)
            put("batch_stats", [*path, "var"], module.running_var)
    return variables

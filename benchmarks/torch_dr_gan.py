"""DR-GAN's networks and training step in PyTorch: the peer of `dr_gan_step`.

Layer for layer the networks of jaxgen.models.dr_gan, in PyTorch's own layers: softmax head,
one-hot poses, separate real/fake output, sets of images fused by confidence.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

TRUNK = (
    ((32, 1), (64, 1)),
    ((64, 2), (64, 1), (128, 1)),
    ((128, 2), (96, 1), (192, 1)),
    ((192, 2), (128, 1), (256, 1)),
    ((256, 2), (160, 1)),
)
DECODER = (
    ((160, 1), (256, 1)),
    ((256, 2), (128, 1), (192, 1)),
    ((192, 2), (96, 1), (128, 1)),
    ((128, 2), (64, 1), (64, 1)),
    ((64, 2), (32, 1)),
)


class Down(nn.Sequential):
    """3 x 3 convolution; stride 2 pads below and on the right."""

    def __init__(self, before: int, after: int, stride: int):
        conv = nn.Conv2d(before, after, 3, stride, 1 if stride == 1 else 0, bias=False)
        super().__init__(*([] if stride == 1 else [nn.ZeroPad2d((0, 1, 0, 1))]), conv)


class Up(nn.Module):
    """Transposed 3 x 3 convolution that doubles the map; or, with stride 1, a convolution."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.stride = stride
        make = nn.ConvTranspose2d if stride == 2 else nn.Conv2d
        self.conv = make(before, after, 3, stride, 0 if stride == 2 else 1, bias=False)

    def forward(self, x):
        """[B, C, H, W] -> [B, after, stride H, stride W]."""
        out = self.conv(x)
        return out[:, :, :-1, :-1] if self.stride == 2 else out


class Trunk(nn.Module):
    """Images [B, 3, S, S] -> the feature, and the same before the last normalisation."""

    def __init__(self, features: int, width: float, halvings: int):
        super().__init__()
        layers, before = [], 3
        for channels, stride in itertools.chain(*TRUNK[:halvings], TRUNK[-1]):
            after = max(1, round(channels * width))
            layers += [Down(before, after, stride), nn.BatchNorm2d(after), nn.ELU(True)]
            before = after
        self.layers = nn.Sequential(*layers, Down(before, features, 1))
        self.norm = nn.BatchNorm2d(features)

    def forward(self, x):
        """[B, 3, S, S] -> [B, features] twice."""
        raw = self.layers(x)
        return self.norm(raw).mean((2, 3)), raw.mean((2, 3))


class Decoder(nn.Module):
    """Feature, pose and noise [B, F + P + N] -> images [B, 3, S, S]."""

    def __init__(self, inputs: int, size: int, width: float, halvings: int):
        super().__init__()
        self.side, first = size >> halvings, max(1, round(320 * width))
        self.dense = nn.Linear(inputs, self.side**2 * first)
        layers, before = [], first
        for channels, stride in itertools.chain(DECODER[0], *DECODER[-halvings:]):
            after = max(1, round(channels * width))
            layers += [Up(before, after, stride), nn.BatchNorm2d(after), nn.ELU(True)]
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 3, 3, 1, 1, bias=False), nn.Tanh())

    def forward(self, code):
        """[B, F + P + N] -> [B, 3, S, S]."""
        return self.layers(self.dense(code).view(len(code), -1, self.side, self.side))


class Discriminator(nn.Module):
    """Who, whether real, which pose."""

    def __init__(self, people: int, poses: int, features: int, width: float, halvings: int):
        super().__init__()
        self.trunk = Trunk(features, width, halvings)
        self.identity = nn.Linear(features, people)
        self.real, self.pose = nn.Linear(features, 1), nn.Linear(features, poses)

    def forward(self, x):
        """[B, 3, S, S] -> logits [B, people], [B], [B, poses]."""
        feature, raw = self.trunk(x)
        return self.identity(feature), self.real(raw)[:, 0], self.pose(feature)


class DrGan:
    """Encoder and decoder against the discriminator, one Adam for each side."""

    def __init__(self, *, people, poses, features, noise, size, width, halvings, memory_format):
        self.poses, self.noise = poses, noise
        self.encoder = Trunk(features + 1, width, halvings)
        self.decoder = Decoder(features + poses + noise, size, width, halvings)
        self.critic = Discriminator(people, poses, features, width, halvings)
        for net in (self.encoder, self.decoder, self.critic):
            for module in net.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                    nn.init.normal_(module.weight, std=0.02)
            net.to(memory_format=memory_format)
        drawing = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.generator_optimiser = torch.optim.Adam(drawing, lr=2e-4, betas=(0.5, 0.999))
        self.critic_optimiser = torch.optim.Adam(
            self.critic.parameters(), lr=2e-4, betas=(0.5, 0.999)
        )

    def step(self, images, identity, pose):
        """One update of both sides.

        Args:
            images: [P, n, 3, S, S] in [-1, 1].
            identity: [P].
            pose: [P, n] classes.
        """
        people, count = pose.shape
        flat = images.flatten(0, 1)
        feature = self.encoder(flat)[0]
        feature, confidence = feature[:, :-1], feature[:, -1].sigmoid()
        sets, weight = feature.view(people, count, -1), confidence.view(people, count, 1)
        fused = (sets * weight).sum(1) / weight.sum(1)
        each = identity.repeat_interleave(count)
        wanted = torch.randint(self.poses, (people * (count + 1),))
        noise = torch.rand(len(wanted), self.noise) * 2 - 1
        code = torch.cat([feature, fused]), F.one_hot(wanted, self.poses).float(), noise
        fake, who = self.decoder(torch.cat(code, 1)), torch.cat([each, identity])

        for parameter in self.critic.parameters():
            parameter.requires_grad_(False)
        on_identity, on_real, on_pose = self.critic(fake)
        loss = F.cross_entropy(on_identity, who) + F.cross_entropy(on_pose, wanted)
        loss = loss + F.softplus(-on_real).mean()
        self.generator_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.generator_optimiser.step()

        for parameter in self.critic.parameters():
            parameter.requires_grad_(True)
        on_identity, on_real, on_pose = self.critic(flat)
        loss = F.cross_entropy(on_identity, each) + F.cross_entropy(on_pose, pose.flatten())
        loss = loss + F.softplus(-on_real).mean()
        loss = loss + F.softplus(self.critic(fake.detach())[1]).mean()
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimiser.step()

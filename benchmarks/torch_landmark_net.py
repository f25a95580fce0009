"""The LaplaceKL network, loss and heatmap moments in PyTorch: the peer of the benchmarks.

Layer for layer the network of jaxgen.models.landmark, in PyTorch's own layers.
"""

import torch
import torch.nn.functional as F
from torch import nn


class LandmarkNet(nn.Module):
    """Images [B, 3, H, W] -> logits [B, K, H, W]; 4 halvings."""

    def __init__(self, num_points: int, width: float, norm: str, dropout: float):
        super().__init__()
        narrow, wide = int(64 * width), int(128 * width)

        def block(channels, features, size):
            conv = nn.Conv2d(channels, features, size, padding=size // 2, bias=norm == "none")
            layers = [conv, nn.LeakyReLU(0.2)]
            if norm == "batch":
                layers.insert(1, nn.BatchNorm2d(features))
            return nn.Sequential(*layers, *([nn.Dropout2d(dropout)] if dropout else []))

        def mix(channels, features):
            return nn.Sequential(nn.Conv2d(channels, features, 1), nn.LeakyReLU(0.2))

        self.encoder = nn.ModuleList(block(narrow if i else 3, narrow, 3) for i in range(5))
        self.bottom = nn.Sequential(block(narrow, narrow, 3), mix(narrow, narrow))
        self.decoder = nn.ModuleList(
            nn.Sequential(block(2 * narrow, wide, 5), mix(wide, narrow)) for _ in range(3)
        )
        self.top = block(2 * narrow, wide, 5)
        self.head = nn.Sequential(
            mix(wide, num_points),
            mix(num_points, num_points),
            nn.Conv2d(num_points, num_points, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight)

    def forward(self, x):
        """[B, 3, H, W] -> [B, K, H, W]."""
        skips = [self.encoder[0](x)]
        for block in self.encoder[1:]:
            skips.append(block(F.max_pool2d(skips[-1], 2)))
        x = self.bottom(skips.pop())
        for block in (*self.decoder, self.top):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([x, skips.pop()], 1))
        return self.head(x)


def laplace_moments(logits):
    """[B, K, H, W] -> mean and scale, each [B, K, 2]."""
    batch, points, height, width = logits.shape
    probs = torch.softmax(logits.flatten(2), -1).view(batch, points, height, width)
    means, scales = [], []
    for marginal in (probs.sum(2), probs.sum(3)):
        pixels = torch.arange(marginal.shape[-1], dtype=torch.float32)
        mean = (marginal * pixels).sum(-1)
        means.append(mean)
        scales.append((marginal * (pixels - mean[..., None]).abs()).sum(-1).clamp_min(0.05))
    return torch.stack(means, -1), torch.stack(scales, -1)


def laplace_kl(mean, scale, target):
    """Mean KL to a Laplace of scale 1 at `target`. [B, K, 2] each -> []."""
    distance = (mean - target).abs()
    kl = distance - 1 + scale * torch.exp(-distance / scale) - torch.log(scale)
    return kl.sum(-1).mean()

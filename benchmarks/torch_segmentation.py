"""FCN-8s on VGG16 and DRN-C-26 in PyTorch's own layers: the peers of `pretrained_parity`.

Modules carry the names of torchvision's `vgg16` and of the authors' `drn_c_26`, because those
are what files of pretrained weights contain.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Vgg16(nn.Module):
    """`features` and `classifier` as in torchvision, run as convolutions."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for features, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, features, 3, padding=1), nn.ReLU()]
                channels = features
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        dense = [nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout()]
        dense += [nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000)]
        self.classifier = nn.Sequential(*dense)

    def forward(self, x):
        """[B, 3, H, W] -> pool3, pool4, fc7."""
        maps = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
        fc6, fc7 = self.classifier[0], self.classifier[3]
        x = F.relu(F.conv2d(x, fc6.weight.view(4096, 512, 7, 7), fc6.bias))
        x = F.relu(F.conv2d(x, fc7.weight.view(4096, 4096, 1, 1), fc7.bias))
        return maps[2], maps[3], x


class Fcn8s(nn.Module):
    """Standardised images [B, 3, H, W] -> logits [B, K, H, W]."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.vgg = Vgg16()
        self.score_fc7 = nn.Conv2d(4096, num_classes, 1)
        self.score_pool4 = nn.Conv2d(512, num_classes, 1)
        self.score_pool3 = nn.Conv2d(256, num_classes, 1)

    def forward(self, x):
        """All of the network."""
        pool3, pool4, fc7 = self.vgg(F.pad(x, (99, 99, 99, 99)))
        scores = enlarge(self.score_fc7(fc7), 2)
        scores = enlarge(scores + crop(self.score_pool4(0.01 * pool4), 5, scores), 2)
        scores = enlarge(scores + crop(self.score_pool3(0.0001 * pool3), 9, scores), 8)
        return crop(scores, 31, x)


def enlarge(x, factor):
    """Transposed convolution of each channel with a fixed bilinear kernel."""
    pixels = torch.arange(2 * factor, dtype=x.dtype)
    line = 1 - (pixels - (factor - 0.5)).abs() / factor
    kernel = (line[:, None] * line).repeat(x.shape[1], 1, 1, 1)
    return F.conv_transpose2d(x, kernel, stride=factor, groups=x.shape[1])


def crop(x, offset, like):
    """As many pixels as `like` has, from `offset` on."""
    h, w = like.shape[2:]
    return x[:, :, offset : offset + h, offset : offset + w]


class Drn26(nn.Module):
    """Standardised images [B, 3, H, W] -> logits [B, K, H, W]; `fc` makes the scores."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 7, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        channels = 16
        table = [(1, 16, 1, 1), (1, 32, 2, 1), (2, 64, 2, 1), (2, 128, 2, 1)]
        table += [(2, 256, 1, 2), (2, 512, 1, 4), (1, 512, 1, 2), (1, 512, 1, 1)]
        for number, (blocks, features, stride, dilation) in enumerate(table, 1):
            first = Block(channels, features, stride, dilation, shortcut=number < 7)
            rest = [Block(features, features, 1, dilation) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(first, *rest))
            channels = features
        self.fc = nn.Conv2d(512, num_classes, 1)

    def forward(self, x):
        """All of the network."""
        size = x.shape[2:]
        x = F.relu(self.bn1(self.conv1(x)))
        for number in range(1, 9):
            x = getattr(self, f"layer{number}")(x)
        return F.interpolate(self.fc(x), size, mode="bilinear", align_corners=True)


class Block(nn.Module):
    """Two convolutions and, if asked for, a shortcut."""

    def __init__(self, channels, features, stride, dilation, shortcut=True):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, features, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.downsample = None
        if shortcut and (stride != 1 or channels != features):
            convolution = nn.Conv2d(channels, features, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(features))
        self.shortcut = shortcut

    def forward(self, x):
        """[B, C, H, W] -> [B, features, H / stride, W / stride]."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.shortcut:
            y = y + (x if self.downsample is None else self.downsample(x))
        return F.relu(y)

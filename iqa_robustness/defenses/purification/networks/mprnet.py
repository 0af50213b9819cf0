"""MPRNet: three-stage restoration, two U-Nets over quarters and halves of the image, then full resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Channels at full resolution, what each halving adds, and what the last stage adds.
CHANNELS = 80
GROWTH = 48
LAST_EXTRA = 32
REDUCTION = 4

Pyramid = tuple[Tensor, Tensor, Tensor]


class ChannelAttention(nn.Module):
    """Scales every channel by a gate computed from the means of all channels. (N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, channels // REDUCTION, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(channels // REDUCTION, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        gates: Tensor = self.conv_du(features.mean(dim=(2, 3), keepdim=True))
        return features * gates


class AttentionBlock(nn.Module):
    """Two convolutions and channel attention with a connection around them; all blocks share one PReLU."""

    def __init__(self, channels: int, activation: nn.PReLU) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(channels, channels), activation, _conv(channels, channels))
        self.CA = ChannelAttention(channels)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        changed: Tensor = self.CA(self.body(features))
        return features + changed


class Scaled(nn.Module):
    """Bilinear scaling by a factor, then a 1×1 convolution; which of the two names it has is the checkpoint's."""

    def __init__(self, incoming: int, outgoing: int, factor: float) -> None:
        super().__init__()
        scaling = nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)
        self.add_module("down" if factor < 1 else "up", nn.Sequential(scaling, _conv(incoming, outgoing, 1)))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', factor · H, factor · W)."""
        (layers,) = self.children()
        scaled: Tensor = layers(features)
        return scaled


class Encoder(nn.Module):
    """Three levels of two blocks, each at half the resolution of the one before.

    Args:
        activation: shared.
        fused: takes in the features of the stage before.
    """

    def __init__(self, activation: nn.PReLU, *, fused: bool) -> None:
        super().__init__()
        one, two, three = _widths()
        self.encoder_level1 = _blocks(one, 2, activation)
        self.encoder_level2 = _blocks(two, 2, activation)
        self.encoder_level3 = _blocks(three, 2, activation)
        self.down12 = Scaled(one, two, 0.5)
        self.down23 = Scaled(two, three, 0.5)
        if fused:
            self.csff_enc1, self.csff_enc2, self.csff_enc3 = (_conv(width, width, 1) for width in _widths())
            self.csff_dec1, self.csff_dec2, self.csff_dec3 = (_conv(width, width, 1) for width in _widths())

    def forward(self, features: Tensor, before: tuple[Pyramid, Pyramid] | None = None) -> Pyramid:
        """(N, C, H, W), and what the stage before encoded and decoded, to the features of the three levels."""
        one = self._fused(1, self.encoder_level1(features), before)
        two = self._fused(2, self.encoder_level2(self.down12(one)), before)
        three = self._fused(3, self.encoder_level3(self.down23(two)), before)
        return one, two, three

    def _fused(self, level: int, features: Tensor, before: tuple[Pyramid, Pyramid] | None) -> Tensor:
        if before is None:
            return features
        encoded, decoded = (part[level - 1] for part in before)
        from_encoder: Tensor = self.get_submodule(f"csff_enc{level}")(encoded)
        from_decoder: Tensor = self.get_submodule(f"csff_dec{level}")(decoded)
        return features + from_encoder + from_decoder


class Decoder(nn.Module):
    """The way back up, each level with a connection from the encoder through one more block."""

    def __init__(self, activation: nn.PReLU) -> None:
        super().__init__()
        one, two, three = _widths()
        self.decoder_level1 = _blocks(one, 2, activation)
        self.decoder_level2 = _blocks(two, 2, activation)
        self.decoder_level3 = _blocks(three, 2, activation)
        self.skip_attn1 = AttentionBlock(one, activation)
        self.skip_attn2 = AttentionBlock(two, activation)
        self.up21 = Scaled(two, one, 2)
        self.up32 = Scaled(three, two, 2)

    def forward(self, encoded: Pyramid) -> Pyramid:
        """Features of the three levels to the same shapes."""
        three = self.decoder_level3(encoded[2])
        two = self.decoder_level2(self.up32(three) + self.skip_attn2(encoded[1]))
        one = self.decoder_level1(self.up21(two) + self.skip_attn1(encoded[0]))
        return one, two, three


class SupervisedAttention(nn.Module):
    """A stage's restored image gates the features that go on to the next stage."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(CHANNELS, CHANNELS, 1)
        self.conv2 = _conv(CHANNELS, 3, 1)
        self.conv3 = _conv(3, CHANNELS, 1)

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        """(N, 80, H, W) and the stage's input (N, 3, H, W) to (N, 80, H, W)."""
        restored = self.conv2(features) + images
        gates = torch.sigmoid(self.conv3(restored))
        changed: Tensor = self.conv1(features)
        return features + changed * gates


class OriginalResolution(nn.Module):
    """The last stage: eight blocks thrice, between them the upscaled features of the U-Net before."""

    def __init__(self, activation: nn.PReLU) -> None:
        super().__init__()
        width = CHANNELS + LAST_EXTRA
        one, two, three = _widths()
        for level in (1, 2, 3):
            body = nn.Sequential(*_blocks(width, 8, activation), nn.Conv2d(width, width, 3, padding=1, bias=False))
            self.add_module(f"orb{level}", nn.ModuleDict({"body": body}))
            for side in ("enc", "dec"):
                self.add_module(f"conv_{side}{level}", _conv(one, width, 1))
        for side in ("enc", "dec"):
            self.add_module(f"up_{side}1", Scaled(two, one, 2))
            self.add_module(f"up_{side}2", nn.Sequential(Scaled(three, two, 2), Scaled(two, one, 2)))

    def forward(self, features: Tensor, encoded: Pyramid, decoded: Pyramid) -> Tensor:
        """(N, 112, H, W) and the three levels of the stage before to (N, 112, H, W)."""
        for level in (1, 2, 3):
            features = features + self.get_submodule(f"orb{level}.body")(features)
            for side, pyramid in (("enc", encoded), ("dec", decoded)):
                part = pyramid[level - 1]
                if level > 1:
                    part = self.get_submodule(f"up_{side}{level - 1}")(part)
                features = features + self.get_submodule(f"conv_{side}{level}")(part)
        return features


class MPRNet(nn.Module):
    """Multi-stage progressive restoration, the denoising model.

    Source: Zamir et al., CVPR 2021 (swz30/MPRNet), `model_denoising.pth`, 15.7 M weights, trained on photographs of
    SIDD. Its channel attention averages over whole quarters, halves and images: a tile has other averages.
    Images: (N, 3, H, W) in [0, 1], H and W multiples of 8, to the same shape, not clamped; the last stage's image.
    Cost: 1.7 T multiply-adds for 384 × 512.
    """

    stride = 8

    def __init__(self) -> None:
        super().__init__()
        activation = nn.PReLU()
        self.shallow_feat1, self.shallow_feat2, self.shallow_feat3 = (
            nn.Sequential(_conv(3, CHANNELS), AttentionBlock(CHANNELS, activation)) for _ in range(3)
        )
        self.stage1_encoder = Encoder(activation, fused=False)
        self.stage1_decoder = Decoder(activation)
        self.stage2_encoder = Encoder(activation, fused=True)
        self.stage2_decoder = Decoder(activation)
        self.stage3_orsnet = OriginalResolution(activation)
        self.sam12 = SupervisedAttention()
        self.sam23 = SupervisedAttention()
        self.concat12 = _conv(2 * CHANNELS, CHANNELS)
        self.concat23 = _conv(2 * CHANNELS, CHANNELS + LAST_EXTRA)
        self.tail = _conv(CHANNELS + LAST_EXTRA, 3)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape."""
        halves = [self._half(half) for half in images.chunk(2, dim=2)]
        encoded = _joined(halves, dim=2)
        decoded = self.stage2_decoder(encoded)
        attended = self.sam23(decoded[0], images)
        features = self.concat23(torch.cat([self.shallow_feat3(images), attended], dim=1))
        restored: Tensor = images + self.tail(self.stage3_orsnet(features, encoded, decoded))
        return restored

    def _half(self, images: Tensor) -> Pyramid:
        """What the second stage encodes of the upper or the lower half, after the first has seen its two quarters."""
        quarters = [self.stage1_encoder(self.shallow_feat1(quarter)) for quarter in images.chunk(2, dim=3)]
        encoded = _joined(quarters, dim=3)
        decoded = self.stage1_decoder(encoded)
        attended = self.sam12(decoded[0], images)
        features = self.concat12(torch.cat([self.shallow_feat2(images), attended], dim=1))
        second: Pyramid = self.stage2_encoder(features, (encoded, decoded))
        return second


def _conv(incoming: int, outgoing: int, side: int = 3) -> nn.Conv2d:
    return nn.Conv2d(incoming, outgoing, side, padding=side // 2, bias=False)


def _blocks(channels: int, count: int, activation: nn.PReLU) -> nn.Sequential:
    return nn.Sequential(*(AttentionBlock(channels, activation) for _ in range(count)))


def _widths() -> tuple[int, int, int]:
    return CHANNELS, CHANNELS + GROWTH, CHANNELS + 2 * GROWTH


def _joined(parts: Sequence[Pyramid], *, dim: int) -> Pyramid:
    one, two, three = (torch.cat(level, dim=dim) for level in zip(*parts, strict=True))
    return one, two, three

"""The network of Zhang et al. (2017) that colours a grey image after hints."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Places of the colours that the classification half tells apart: 10 × 10 squares of (a*, b*) within the gamut.
COLOURS = 529


class ColorizationNetwork(nn.Module):
    """The network, in the key layout of siggraph17-df00044c.pth, 34 M parameters.

    Source: Zhang et al., ACM TOG 36 (SIGGRAPH 2017), github.com/richzhang/colorization.
    Cost: 75 G multiply-adds for 256 × 256, in proportion to the pixels.

    Args:
        width: channels of the first block; the published network has 64.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        one, two, four, eight = width, 2 * width, 4 * width, 8 * width
        self.model1 = _block(4, one, one)
        self.model2 = _block(one, two, two)
        self.model3 = _block(two, four, four, four)
        self.model4 = _block(four, eight, eight, eight)
        self.model5 = _block(eight, eight, eight, eight, dilation=2)
        self.model6 = _block(eight, eight, eight, eight, dilation=2)
        self.model7 = _block(eight, eight, eight, eight)
        self.model8up, self.model3short8 = _doubling(eight, four), _same(four, four)
        self.model8 = nn.Sequential(nn.ReLU(), *_block(four, four, four))
        self.model9up, self.model2short9 = _doubling(four, two), _same(two, two)
        self.model9 = nn.Sequential(nn.ReLU(), *_block(two, two))
        self.model10up, self.model1short10 = _doubling(two, two), _same(one, two)
        self.model10 = nn.Sequential(nn.ReLU(), nn.Conv2d(two, two, 3, padding=1), nn.LeakyReLU(0.2))
        self.model_class = nn.Sequential(nn.Conv2d(four, COLOURS, 1))
        self.model_out = nn.Sequential(nn.Conv2d(two, 2, 1), nn.Tanh())

    def forward(self, lightness: Tensor, hints: Tensor, mask: Tensor) -> Tensor:
        """Colours (N, 2, H, W), (a*, b*) / 110, −1 to 1; H and W must be multiples of 8.

        Args:
            lightness: (N, 1, H, W), (L* − 50) / 100.
            hints: (N, 2, H, W), (a*, b*) / 110 where they are given, else 0.
            mask: (N, 1, H, W), two values of the checkpoint's own: with a hint, and without one.
        """
        first, second, eighth = self._encoded(lightness, hints, mask)
        ninth = self.model9(self.model9up(eighth) + self.model2short9(second))
        tenth = self.model10(self.model10up(ninth) + self.model1short10(first))
        colours: Tensor = self.model_out(tenth)
        return colours

    def logits(self, lightness: Tensor, hints: Tensor, mask: Tensor) -> Tensor:
        """Which colour each place may have, (N, 529, H / 4, W / 4), from the same input."""
        logits: Tensor = self.model_class(self._encoded(lightness, hints, mask)[2])
        return logits

    def _encoded(self, lightness: Tensor, hints: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.model1(torch.cat([lightness, hints, mask], dim=1))
        second = self.model2(first[..., ::2, ::2])
        third = self.model3(second[..., ::2, ::2])
        fourth = self.model4(third[..., ::2, ::2])
        seventh = self.model7(self.model6(self.model5(fourth)))
        return first, second, self.model8(self.model8up(seventh) + self.model3short8(third))


def _block(incoming: int, *outgoing: int, dilation: int = 1) -> nn.Sequential:
    """Convolutions with ReLU, and batch normalisation at the end."""
    layers: list[nn.Module] = []
    for channels in outgoing:
        layers += [nn.Conv2d(incoming, channels, 3, padding=dilation, dilation=dilation), nn.ReLU()]
        incoming = channels
    return nn.Sequential(*layers, nn.BatchNorm2d(incoming))


def _same(incoming: int, outgoing: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(incoming, outgoing, 3, padding=1))


def _doubling(incoming: int, outgoing: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(incoming, outgoing, 4, stride=2, padding=1))

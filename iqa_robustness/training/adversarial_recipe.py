"""How a metric is trained adversarially: every choice, with the published ones as defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace

from iqa_robustness.errors import ConfigurationError, UnknownNameError
from iqa_robustness.training.inner_attack import KINDS, InnerAttack
from iqa_robustness.training.label_penalty import PENALTIES

LABELS = ("mos", "own")
# raise, lower: the score. both: one or the other, drawn for each image. error: the difference to the label.
ADVERSARIES = ("both", "raise", "lower", "error")
SELECTIONS = ("mean", "attacked", "clean")


@dataclass(frozen=True, kw_only=True)
class AdversarialRecipe:
    """The defaults are the published ones but for `adversary`, `selection` and the absence of a fixed image size.

    Source: Guardians of Image Quality (arXiv 2408.01541) and its training code; benchmark section 4.5. `paper=True`
    is what that code does: the adversary increases the prediction error and not the score, the network attacks itself
    in training mode (batch statistics, and its running statistics are moved by attacked images), the epoch is chosen
    by SROCC on clean images, the range is the least and greatest score of the training images.

    penalty: of the labels of attacked images, see `LabelPenalty`.
    epsilon: radius of the attack, in units of 1.
    attack: see `inner_attack.KINDS`.
    adversary: what the attack is after.
    penalty_weight: 1 as published.
    labels: `mos`, or `own`: the scores of the metric before the training, which need no opinions and keep its scale.
    damage: views are scaled and distorted at random, which only `own` labels can follow.
    epochs, batch, views: an epoch shows so many views of every image, in batches of so many.
    size: (height, width) that images are scaled to cover and cut to; their own where None.
    side: of the random squares that are shown, in pixels; whole images of `size` where 0.
    learning_rate: Adam's for the heads, `feature_share` of it for everything before; a tenth of it, and a hundredth,
        in the second and the last third.
    selection: SROCC of the validation images that an epoch is chosen by: attacked, clean, or the mean of the two.
    heads: patterns (fnmatch) of the parameters that count as heads; those after the last convolution where empty.
    """

    penalty: str = "ssim"
    epsilon: float = 4 / 255
    attack: str = "apgd"
    adversary: str = "both"
    penalty_weight: float = 1.0
    labels: str = "mos"
    damage: bool = False
    epochs: int = 30
    batch: int = 32
    views: int = 1
    size: tuple[int, int] | None = None
    side: int = 0
    learning_rate: float = 1e-3
    feature_share: float = 0.1
    heads: tuple[str, ...] = ()
    selection: str = "mean"
    seed: int = 0
    paper: bool = False

    def __post_init__(self) -> None:
        for kind, name, choices in (
            ("label penalty", self.penalty, PENALTIES),
            ("inner attack", self.attack, KINDS),
            ("adversary", self.adversary, ADVERSARIES),
            ("kind of labels", self.labels, LABELS),
            ("selection", self.selection, SELECTIONS),
        ):
            if name not in choices:
                raise UnknownNameError(kind, name, choices)
        _ = self.inner  # refuses an impossible epsilon
        if min(self.epochs, self.views) < 1 or self.batch < 2:
            raise ConfigurationError(
                "adversarial training needs epochs >= 1, views >= 1 and, as its loss compares the images of a batch, "
                f"batch >= 2, got {self.epochs}, {self.views} and {self.batch}"
            )
        if not (self.learning_rate > 0 and self.feature_share >= 0 and self.penalty_weight >= 0):
            raise ConfigurationError(
                "adversarial training needs a positive learning rate, and a feature share and a penalty weight that "
                f"are not negative, got {self.learning_rate}, {self.feature_share} and {self.penalty_weight}"
            )
        if self.damage and self.labels != "own":
            raise ConfigurationError(
                "a distorted view has no opinion score", fix="take labels own, or leave the images undamaged"
            )

    @property
    def inner(self) -> InnerAttack:
        """The attack."""
        return KINDS[self.attack](self.epsilon)

    @property
    def published(self) -> AdversarialRecipe:
        """The same; with `paper=True` what the published code is after, and how it chooses."""
        return replace(self, adversary="error", selection="clean") if self.paper else self

"""Attacks of other libraries, each made to raise a score; see requirements.txt for how to get them.

They attack classifiers. `Logits` makes one of a metric: two classes, of which the images' own has the logit 0 and the
other the value to raise less an offset. The cross-entropy they climb is then log(1 + exp(value − offset)), which rises
with the value of each image alone, so that signs of gradients and comparisons are those of the score itself.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iqa_robustness.metrics.base import Metric

OFFSET = 2.0


class Logits(nn.Module):
    """(N, 3, H, W) to (N, 2); counts the images of forward passes and of those with a gradient."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.metric = metric
        self.factor = metric.spec.sign / metric.spec.diam
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        """Two logits an image."""
        self.forwards += len(images)
        self.backwards += len(images) * int(images.requires_grad and torch.is_grad_enabled())
        values = self.metric(images) * self.factor - OFFSET
        return torch.stack([torch.zeros_like(values), values], dim=1)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an attack is given: the radius of its ball (Euclidean for l2), and the number and length of its steps."""

    epsilon: float
    steps: int
    alpha: float


@dataclass(frozen=True, kw_only=True)
class Peer:
    """An attack of a library; it returns images in floating point. same: the attack of ours that does the same."""

    name: str
    same: str
    run: Callable[[Logits, Tensor, Work], Tensor]


def labels(images: Tensor) -> Tensor:
    return torch.zeros(len(images), dtype=torch.int64, device=images.device)


def available() -> list[Peer]:
    """The peers that are installed."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.INFO)
    found: list[Peer] = []
    for make in (_torchattacks, _foolbox, _art):
        try:
            found += make()
        except ImportError as error:
            print(f"left out: {error}")
    return found


def _torchattacks() -> list[Peer]:
    import torchattacks

    def fgsm(logits: Logits, images: Tensor, work: Work) -> Tensor:
        return torchattacks.FGSM(logits, eps=work.epsilon)(images, labels(images))

    def ifgsm(logits: Logits, images: Tensor, work: Work) -> Tensor:
        return torchattacks.BIM(logits, eps=work.epsilon, alpha=work.alpha, steps=work.steps)(images, labels(images))

    def mi_fgsm(logits: Logits, images: Tensor, work: Work) -> Tensor:
        return torchattacks.MIFGSM(logits, eps=work.epsilon, alpha=work.alpha, steps=work.steps)(images, labels(images))

    def pgd(logits: Logits, images: Tensor, work: Work) -> Tensor:
        return torchattacks.PGD(logits, eps=work.epsilon, alpha=work.alpha, steps=work.steps)(images, labels(images))

    def apgd(logits: Logits, images: Tensor, work: Work) -> Tensor:
        # AutoAttack's code. Calling it stops at misclassified images; a single run returns those of the largest loss.
        return torchattacks.APGD(logits, eps=work.epsilon, steps=work.steps).attack_single_run(images, labels(images))[
            0
        ]

    def apgd_l2(logits: Logits, images: Tensor, work: Work) -> Tensor:
        attack = torchattacks.APGD(logits, norm="L2", eps=work.epsilon, steps=work.steps)
        return attack.attack_single_run(images, labels(images))[0]

    return [
        Peer(name="torchattacks FGSM", same="fgsm", run=fgsm),
        Peer(name="torchattacks BIM", same="ifgsm", run=ifgsm),
        Peer(name="torchattacks MIFGSM", same="mi-fgsm", run=mi_fgsm),
        Peer(name="torchattacks PGD", same="pgd", run=pgd),
        Peer(name="torchattacks APGD", same="apgd", run=apgd),
        Peer(name="torchattacks APGD L2", same="apgd-l2", run=apgd_l2),
    ]


def _foolbox() -> list[Peer]:
    import foolbox

    def attack(kind: type, logits: Logits, images: Tensor, work: Work, **options: object) -> Tensor:
        model = foolbox.PyTorchModel(logits, bounds=(0, 1), device=images.device)
        criterion = foolbox.criteria.Misclassification(labels(images))
        # `run` spares it the check for success.
        return kind(**options).run(model, images, criterion, epsilon=work.epsilon)

    def fgsm(logits: Logits, images: Tensor, work: Work) -> Tensor:
        return attack(foolbox.attacks.LinfFastGradientAttack, logits, images, work)

    def pgd(logits: Logits, images: Tensor, work: Work) -> Tensor:
        return attack(foolbox.attacks.LinfPGD, logits, images, work, abs_stepsize=work.alpha, steps=work.steps)

    return [
        Peer(name="foolbox FGSM", same="fgsm", run=fgsm),
        Peer(name="foolbox LinfPGD", same="pgd", run=pgd),
    ]


def _art() -> list[Peer]:
    from art.attacks.evasion.fast_gradient import FastGradientMethod
    from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_pytorch import (
        ProjectedGradientDescentPyTorch,
    )
    from art.estimators.classification import PyTorchClassifier

    def classifier(logits: Logits, images: Tensor) -> PyTorchClassifier:
        return PyTorchClassifier(
            model=logits,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=2,
            clip_values=(0.0, 1.0),
            device_type="gpu" if images.is_cuda else "cpu",
        )

    def fgsm(logits: Logits, images: Tensor, work: Work) -> Tensor:
        attack = FastGradientMethod(classifier(logits, images), eps=work.epsilon, batch_size=len(images))
        found = attack.generate(images.cpu().numpy(), labels(images).cpu().numpy())
        return torch.from_numpy(found).to(images.device)

    def pgd(logits: Logits, images: Tensor, work: Work) -> Tensor:
        attack = ProjectedGradientDescentPyTorch(
            classifier(logits, images),
            eps=work.epsilon,
            eps_step=work.alpha,
            max_iter=work.steps,
            num_random_init=1,
            batch_size=len(images),
            verbose=False,
        )
        found = attack.generate(images.cpu().numpy(), labels(images).cpu().numpy())
        return torch.from_numpy(found).to(images.device)

    return [Peer(name="ART FGSM", same="fgsm", run=fgsm), Peer(name="ART PGD", same="pgd", run=pgd)]

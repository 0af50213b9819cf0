"""Differential evolution of many populations at once, one an image, each with random numbers of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iqa_robustness.streams import Streams


@dataclass(frozen=True, kw_only=True)
class DifferentialEvolution:
    """DE/best/1/bin with dithered scale; an individual is a vector of genes in [0, 1].

    Source: Storn and Price, J. Global Optimization 1997. With the defaults it is what
    `scipy.optimize.differential_evolution(vectorized=True, polish=False)` does, which knows one population at a time
    and one random generator for all of it.

    population: individuals of each image, at least 3.
    crossover: chance that a group of genes comes from the mutant; one always does.
    group: neighbouring genes that cross over together; divides the number of genes.
    scale: least and largest factor of the difference, drawn once a generation.
    """

    population: int
    crossover: float = 1.0
    group: int = 1
    scale: tuple[float, float] = (0.5, 1.0)

    def first(self, streams: Streams, genes: int) -> Tensor:
        """First individuals, (N, population, genes): a Latin hypercube, which spreads the values of every gene."""
        drawn = streams.uniform(2, self.population, genes)
        return (drawn[:, 0].argsort(dim=1) + drawn[:, 1]) / self.population

    def trials(self, parents: Tensor, values: Tensor, streams: Streams, *, clamped: Tensor | None = None) -> Tensor:
        """One trial for each individual: the best one plus a scaled difference of two others, crossed with the parent.

        Args:
            parents: (N, population, genes).
            values: (N, population), the highest is the best.
            streams: one an image; drawn from once.
            clamped: (genes,) bool, which genes stop at the ends of their range; others are drawn anew outside of it.
                With it, groups that the mutation left as the parent's are drawn anew too, clamped genes at an end of
                their range: small populations grow alike, and would ask about their parents again.
        """
        count, genes = parents.shape[1:]
        groups = genes // self.group
        drawn = streams.uniform(count, 4 + groups + genes)
        first, second = self._others(drawn[..., 0], drawn[..., 1])
        low, high = self.scale
        factor = low + (high - low) * drawn[:, :1, 2:3]
        best = _picked(parents, values.argmax(dim=1, keepdim=True))
        mutants = best + factor * (_picked(parents, first) - _picked(parents, second))
        outside = (mutants < 0) | (mutants > 1)
        anew = drawn[..., 4 + groups :]
        if clamped is not None:
            mutants, anew = torch.where(clamped, mutants.clamp(0, 1), mutants), torch.where(clamped, anew.round(), anew)
            alike = (mutants == parents).unflatten(2, (groups, self.group)).all(dim=3)
            outside = outside & ~clamped | alike.repeat_interleave(self.group, dim=2)
        mutants = torch.where(outside, anew, mutants)
        crossed = drawn[..., 4 : 4 + groups] < self.crossover
        always = (drawn[..., 3:4] * groups).to(torch.int64).clamp_(max=groups - 1)
        crossed = crossed.scatter(2, always, True).repeat_interleave(self.group, dim=2)
        return torch.where(crossed, mutants, parents)

    def _others(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Two uniform numbers an individual to two individuals that are neither it nor each other, (N, population)."""
        itself = torch.arange(self.population, device=first.device).expand(first.shape)
        one = (first * (self.population - 1)).to(torch.int64).clamp_(max=self.population - 2)
        one = one + (one >= itself)
        other = (second * (self.population - 2)).to(torch.int64).clamp_(max=self.population - 3)
        other = other + (other >= torch.minimum(one, itself))
        return one, other + (other >= torch.maximum(one, itself))


def survivors(parents: Tensor, values: Tensor, trials: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Individuals and values of the next generation: a trial takes its parent's place where it is at least as good."""
    better = answers >= values
    return torch.where(better[..., None], trials, parents), torch.where(better, answers, values)


def _picked(individuals: Tensor, places: Tensor) -> Tensor:
    """(N, P, genes) and (N, K) places in P to (N, K, genes)."""
    return individuals.gather(1, places[..., None].expand(-1, -1, individuals.shape[2]))

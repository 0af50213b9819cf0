"""Single entrant: who enters is each image's own matter, entrants meet apgd, and nobody else is touched."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqa_robustness import attacks
from iqa_robustness.attacks.apgd import APGD
from iqa_robustness.attacks.base import AttackResult
from iqa_robustness.attacks.objectives import LOWER, Towards
from iqa_robustness.attacks.single_entrant import SingleEntrant
from iqa_robustness.errors import ConfigurationError
from iqa_robustness.measures import rank_displacement
from iqa_robustness.streams import Streams

NAMES = [f"image-{number}" for number in range(12)]


def attacked(toys: SimpleNamespace, attack: APGD, rows: list[int] | None = None, **options: object) -> AttackResult:
    chosen = [*range(len(NAMES))] if rows is None else rows
    metric = toys.Linear(toys.gaussian(), offset=0.5)
    return attack(metric, toys.pictures(len(NAMES))[chosen], ids=[NAMES[row] for row in chosen], **options)  # type: ignore[arg-type]


def entrants_of(result: AttackResult) -> torch.Tensor:
    assert result.entrants is not None
    return result.entrants


def test_entrants_are_attacked_as_apgd_does_and_the_others_enter_as_they_are(toys: SimpleNamespace) -> None:
    result, everyone = attacked(toys, SingleEntrant(share=0.5, steps=5)), attacked(toys, APGD(steps=5))
    chosen = entrants_of(result)
    assert 0 < int(chosen.sum()) < len(NAMES)
    for field in ("images", "values", "clean_values", "forwards", "backwards", "gradient_nonzero", "responded"):
        assert torch.equal(getattr(result, field)[chosen], getattr(everyone, field)[chosen]), field
    assert torch.equal(result.images[~chosen], result.clean[~chosen])
    assert torch.equal(result.values[~chosen], result.clean_values[~chosen])
    assert result.forwards[~chosen].tolist() == [1] * int((~chosen).sum())
    assert not result.backwards[~chosen].any()


def test_passes_are_what_the_metric_saw(toys: SimpleNamespace) -> None:
    metric = toys.Linear(toys.gaussian())
    result = SingleEntrant(share=0.5, steps=4)(metric, toys.pictures(len(NAMES)), ids=NAMES)
    assert metric.rows == int(result.forwards.sum())


@pytest.mark.parametrize("rows", [[11, 3, 0, 7], [5], [1, 2, 3, 4, 6, 8]])
def test_an_image_enters_and_is_attacked_alike_in_any_company(toys: SimpleNamespace, rows: list[int]) -> None:
    attack = SingleEntrant(share=0.5, steps=4)
    whole, part = attacked(toys, attack), attacked(toys, attack, rows)
    for field in ("images", "values", "forwards", "entrants"):
        assert torch.equal(getattr(part, field), getattr(whole, field)[rows]), field


def test_the_same_images_enter_at_every_strength_and_on_every_metric(toys: SimpleNamespace) -> None:
    chosen = []
    for strength in attacks.STRENGTHS:
        attack = attacks.create("single-entrant", strength=strength, share=0.5, steps=2)
        result = attack(toys.Linear(toys.gaussian(seed=3)), toys.pictures(12), ids=NAMES, key=strength, goal=LOWER)
        chosen.append(entrants_of(result).tolist())
    assert chosen[0] == chosen[1] == chosen[2]
    assert chosen[0] != entrants_of(attacked(toys, SingleEntrant(share=0.5, steps=2), seed=1)).tolist()


@settings(max_examples=20)
@given(shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), seed=st.integers(0, 99))
def test_a_larger_share_keeps_those_of_a_smaller_one(shares: tuple[float, float], seed: int) -> None:
    few, many = (SingleEntrant(share=s).entrants(Streams(f"entrants/{seed}", NAMES)) for s in sorted(shares))
    assert bool((many | ~few).all())


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_the_share_is_met_within_its_chance(share: float) -> None:
    count = 4000
    found = SingleEntrant(share=share).entrants(Streams("key", [str(number) for number in range(count)]))
    deviation = (share * (1 - share) / count) ** 0.5
    assert abs(float(found.float().mean()) - share) < 4 * deviation


def test_on_every_image_it_is_apgd(toys: SimpleNamespace) -> None:
    everyone = attacked(toys, SingleEntrant(steps=4).on_every_image())
    assert entrants_of(everyone).all()
    assert torch.equal(everyone.images, attacked(toys, APGD(steps=4)).images)
    assert APGD().on_every_image() == APGD()
    assert APGD().entrants(Streams("key", NAMES)) is None


def test_without_any_entrant_everything_stays_and_nothing_is_searched(toys: SimpleNamespace) -> None:
    rows = (~entrants_of(attacked(toys, SingleEntrant(share=0.5, steps=2)))).nonzero().flatten().tolist()
    result = attacked(toys, SingleEntrant(share=0.5, steps=2), rows)
    assert not entrants_of(result).any()
    assert torch.equal(result.images, result.clean)
    assert result.trace == ()


def test_a_limit_and_a_target_hold_for_entrants(toys: SimpleNamespace) -> None:
    limited = attacked(toys, SingleEntrant(share=0.5, steps=20), max_forwards=7)
    assert int(limited.forwards.max()) <= 7
    goal = Towards(score=float(limited.clean_values.mean()) + 0.05)
    aimed = attacked(toys, SingleEntrant(share=0.5, steps=20), goal=goal)
    chosen = entrants_of(aimed)
    assert (aimed.values[chosen] >= aimed.clean_values[chosen]).all()
    assert torch.equal(aimed.values[~chosen], aimed.clean_values[~chosen])


def test_with_paper_the_last_iterate_is_returned_of_entrants_only(toys: SimpleNamespace) -> None:
    result = attacked(toys, SingleEntrant(share=0.5, steps=4, paper=True))
    chosen = entrants_of(result)
    assert torch.equal(result.images[chosen], attacked(toys, APGD(steps=4, paper=True)).images[chosen])
    assert torch.equal(result.images[~chosen], result.clean[~chosen])


def test_one_that_enters_climbs_over_all_the_rest(toys: SimpleNamespace) -> None:
    result = attacked(toys, SingleEntrant(share=0.5, epsilon=20 / 255, steps=5))
    climbed = rank_displacement(result.clean_values, result.values, entrants=entrants_of(result))
    assert climbed > 20
    assert rank_displacement(result.clean_values, result.values, entrants=~entrants_of(result)) == 0


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_an_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigurationError, match="share above 0 and at most 1"):
        SingleEntrant(share=share)

"""Profiles: the architecture's table, and that what they name exists."""

from __future__ import annotations

import pytest

from iqa_robustness import attacks, defenses, metrics
from iqa_robustness.axes import SCENARIOS
from iqa_robustness.bench import profiles
from iqa_robustness.errors import ConfigurationError, UnknownNameError

# images white-box / query / certified, size, queries, n0 / n, EOT draws.
TABLE = {
    "smoke": ((None, 12, 6), (192, 256), 200, (20, 200), 2),
    "standard": ((200, 50, 20), (384, 512), 2_000, (100, 1_000), 8),
    "paper": ((1_000, 50, 10), (384, 512), 10_000, (100, 1_000), 8),
}


@pytest.mark.parametrize("name", TABLE)
def test_profiles_are_those_of_the_architecture(name: str) -> None:
    found = profiles.profile(name)
    (white_box, query, certified), size, queries, samples, draws = TABLE[name]
    assert (found.white_box_images, found.query_images, found.certified_images) == (white_box, query, certified)
    assert (found.size, found.queries, (found.n0, found.n), found.draws) == (size, queries, samples, draws)


def test_the_purification_study_is_on_200_square_images() -> None:
    found = profiles.profile("purification-study")
    assert (found.white_box_images, found.size) == (200, (299, 299))


def test_every_profile_is_listed_under_its_own_name() -> None:
    assert profiles.names() == ["smoke", "standard", "paper", "purification-study"]
    assert [profiles.profile(name).name for name in profiles.names()] == profiles.names()


@pytest.mark.parametrize("name", ["standard", "paper"])
def test_a_large_profile_has_every_certified_defense_there_is(name: str) -> None:
    certified = {entry.name for entry in defenses.list() if entry.kind == "certified"}
    assert certified == {"ddrs", "densepure", "dms", "drs", "ms", "rs"}
    assert certified <= set(profiles.profile(name).defenses)


def test_a_profile_restricts_defenses_that_it_has_to_scenarios_there_are() -> None:
    for name in profiles.names():
        found = profiles.profile(name)
        assert {*found.scenarios} <= {*found.defenses}
        assert {scenario for scenarios in found.scenarios.values() for scenario in scenarios} <= {*SCENARIOS}
        assert found.soundness_images > 0


@pytest.mark.parametrize(
    ("access", "certified", "images"),
    [("white-box", False, 200), ("black-box", False, 50), ("white-box", True, 20), ("black-box", True, 20)],
)
def test_certified_cells_are_the_dearest_then_queries(access: str, certified: bool, images: int) -> None:
    assert profiles.profile("standard").images(access=access, certified=certified) == images


def test_an_unknown_profile_is_answered_with_close_ones() -> None:
    with pytest.raises(UnknownNameError, match="unknown profile 'smok'") as caught:
        profiles.profile("smok")
    assert caught.value.fix == "did you mean smoke?"
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize("name", ["smoke", "standard", "paper", "purification-study"])
def test_a_profile_names_only_what_is_registered(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Libraries of the extras may be missing where this runs; weights that no extra brings may not.
    monkeypatch.setattr(defenses, "find_spec", lambda library: library)
    found = profiles.profile(name)
    assert found.metrics
    assert set(found.metrics) <= set(metrics.registry.names())
    assert set(found.attacks) <= {name for name in attacks.registry.names() if attacks.available(name)}
    assert [name for name in found.defenses if not defenses.available(name)] == []  # also of compositions
    assert len(set(found.attacks)) == len(found.attacks) > 0
    assert len(set(found.defenses)) == len(found.defenses) > 0
    for axis in ("attacks", "defenses") if found.transfers else ():
        # Then the attacked images are those that the other suites have made.
        assert set(getattr(found.transfers, axis)) <= set(getattr(found, axis))
    for metric, limit in found.limits.items():
        assert metric in found.metrics
        assert limit.images > 0
        assert set(limit.attacks) <= set(attacks.registry.names())
        assert set(limit.defenses) <= set(defenses.registry.names())
        assert set(limit.strengths) <= set(attacks.STRENGTHS)

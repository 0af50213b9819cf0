"""Registries: names, lazy targets, entry points, and errors that help."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqa_robustness import attacks, datasets, defenses, metrics, registry
from iqa_robustness.errors import ConfigurationError, DuplicateNameError, UnknownNameError
from iqa_robustness.registry import Entry, Family, Registry


@dataclass(frozen=True, kw_only=True)
class Tool(Entry):
    colour: str = "grey"


def tools(*names: str) -> Registry[Tool]:
    made = Registry("tool", Tool, "no.such.group")
    for name in names:
        made.register(Tool(name=name, target="math:tau", colour="red"))
    return made


def offered(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    """Pretend that another distribution offers these entry points."""
    found = EntryPoints(EntryPoint(name=name, value=value, group="g") for name, value in points.items())
    monkeypatch.setattr(registry, "entry_points", lambda **_: found)


# --- names ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.from_regex(r"[a-z0-9]{1,4}(-[a-z0-9]{1,3}){0,2}", fullmatch=True), unique=True, max_size=6))
def test_names_are_listed_sorted_and_contained(names: list[str]) -> None:
    made = tools(*names)
    assert made.names() == sorted(names)
    assert [entry.name for entry in made] == sorted(names)
    assert all(name in made for name in names)


@pytest.mark.parametrize("name", ["", "JPEG", "two words", "-x", "x-", "a--b", "a_b", "a:b", "é"])
def test_a_name_is_lower_case_words_joined_by_hyphens(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no valid tool name") as caught:
        tools(name)
    assert "lower-case words" in caught.value.fix


def test_a_taken_name_is_refused_and_both_targets_are_named() -> None:
    made = tools("saw")
    with pytest.raises(DuplicateNameError, match=r"'saw'.*math:tau.*other:thing"):
        made.register(Tool(name="saw", target="other:thing"))
    assert made.resolve("saw").target == "math:tau"


# --- resolving and loading ------------------------------------------------------------------------------------------


def test_a_registered_name_resolves_to_its_own_entry() -> None:
    assert tools("saw").resolve("saw") == Tool(name="saw", target="math:tau", colour="red")


def test_a_reference_resolves_to_an_entry_with_defaults_and_is_not_contained() -> None:
    made = tools("saw")
    assert made.resolve("math:pi") == Tool(name="math:pi", target="math:pi", colour="grey")
    assert "math:pi" not in made


@pytest.mark.parametrize("name", ["swa", "a.b", "a:", ":b", "1a:b", "a:b:c", "a:b.c", ""])
def test_what_is_neither_name_nor_reference_is_unknown(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown tool"):
        tools("saw").resolve(name)


def test_loading_imports_the_target() -> None:
    import math

    assert tools("saw").load("saw") is math.tau
    assert tools().load("math:pi") is math.pi


def test_nothing_is_imported_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lazy_tool_module.py").write_text("thing = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = tools()
    made.register(Tool(name="lazy", target="lazy_tool_module:thing"))
    assert made.resolve("lazy") in [*made]
    assert "lazy_tool_module" not in sys.modules
    assert made.load("lazy") == 3
    monkeypatch.delitem(sys.modules, "lazy_tool_module")


def test_a_module_that_is_not_there_is_a_configuration_error_with_advice() -> None:
    with pytest.raises(ConfigurationError, match=r"tool 'no_such_package\.x:Y' cannot be imported") as caught:
        tools().load("no_such_package.x:Y")
    assert "no_such_package" in str(caught.value)
    assert "PYTHONPATH" in caught.value.fix
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize(
    ("source", "kind"), [("def broken(:\n", "SyntaxError"), ("raise RuntimeError('no licence')\n", "RuntimeError")]
)
def test_a_module_that_fails_on_import_is_named_with_its_failure(
    source: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_tool_module.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=rf"cannot be imported from broken_tool_module:X: {kind}"):
        tools().load("broken_tool_module:X")


def test_a_missing_attribute_is_answered_with_close_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*tau") as caught:
        tools().load("math:tuu")
    assert "module math" in str(caught.value)


# --- entry points ---------------------------------------------------------------------------------------------------


def test_entry_points_add_names_with_the_entry_classes_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, drill="math:pi")
    made = tools("saw")
    assert made.names() == ["drill", "saw"]
    assert made.resolve("drill") == Tool(name="drill", target="math:pi")


@pytest.mark.parametrize("point", ["saw", "Not Valid"])
def test_a_bad_entry_point_is_an_error_every_time(point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, **{"drill": "math:pi", point: "math:e"})
    made = tools("saw")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=point):
            made.names()
    # Once the other distribution is mended, nothing is left over from before.
    offered(monkeypatch, drill="math:pi")
    assert made.names() == ["drill", "saw"]


# --- the package's own ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [metrics, attacks, defenses, datasets], ids=lambda package: package.__name__)
def test_each_package_lists_its_registry_with_summaries(package: object) -> None:
    entries = package.list()  # type: ignore[attr-defined]
    assert [entry.name for entry in entries] == package.registry.names()  # type: ignore[attr-defined]
    assert entries
    assert all(entry.summary for entry in entries if entry.target.startswith("iqa_robustness."))


# --- families -------------------------------------------------------------------------------------------------------


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch) -> Registry[Tool]:
    """`saw`, `sander`, and the family `shop` with the members Saw+1 and plane."""
    catalogue = ModuleType("shop_catalogue")

    def check(name: str) -> None:
        if name not in ("Saw+1", "plane"):
            raise UnknownNameError("tool of the shop", name, ["Saw+1", "plane"])

    vars(catalogue).update(check=check, names=lambda: ["Saw+1", "plane"], make=lambda name, **options: (name, options))
    monkeypatch.setitem(sys.modules, "shop_catalogue", catalogue)
    made = tools("saw", "sander")
    family = Tool(name="shop", target="shop_catalogue:make", colour="blue")
    made.register_family(Family(entry=family, catalogue="shop_catalogue"))
    return made


def test_a_member_resolves_to_the_familys_entry_under_its_own_name(workshop: Registry[Tool]) -> None:
    assert workshop.resolve("shop:Saw+1") == Tool(name="shop:Saw+1", target="shop_catalogue:make", colour="blue")
    family = workshop.family("shop:anything")
    assert family is not None
    assert family.entry.colour == "blue"
    assert workshop.family("shop") is workshop.family("other:Saw") is workshop.family("math:pi") is None


def test_blanks_around_a_member_are_dropped(workshop: Registry[Tool]) -> None:
    assert workshop.resolve("shop: plane ") == workshop.resolve("shop:plane")
    assert workshop.load("shop: plane ")() == workshop.load("shop:plane")()


def test_a_members_target_gets_its_name_first(workshop: Registry[Tool]) -> None:
    assert workshop.load("shop:Saw+1")(size=3) == ("Saw+1", {"size": 3})


def test_what_the_catalogue_refuses_is_refused(workshop: Registry[Tool]) -> None:
    for ask in (workshop.resolve, workshop.load):
        with pytest.raises(UnknownNameError, match="tool of the shop"):
            ask("shop:plain")


def test_members_are_matched_only_by_patterns_with_their_prefix(workshop: Registry[Tool]) -> None:
    assert workshop.matching("s*") == ["sander", "saw"]
    assert workshop.matching("shop:*") == ["shop:Saw+1", "shop:plane"]
    assert workshop.matching("shop:S*") == ["shop:Saw+1"]
    assert workshop.matching("shop:plane") == []  # no pattern: `resolve` has the better answer
    assert workshop.names() == ["sander", "saw"]


def test_a_prefix_is_a_name_and_taken_once(workshop: Registry[Tool]) -> None:
    for name, error in (("shop", DuplicateNameError), ("Shop", ConfigurationError)):
        with pytest.raises(error):
            workshop.register_family(Family(entry=Tool(name=name, target="a:b"), catalogue="shop_catalogue"))


def test_without_a_catalogue_a_member_is_anything_after_the_colon() -> None:
    made = tools("saw")
    made.register_family(Family(entry=Tool(name="exec", target="builtins:print", colour="red")))
    command = "cut --deep a:b"
    assert made.resolve(f"exec:{command}") == Tool(name=f"exec:{command}", target="builtins:print", colour="red")
    assert made.load(f"exec: {command} ").args == (command,)
    assert made.names() == made.matching("*") == ["saw"]
    assert made.matching("exec:*") == []  # a pattern selects none of them; `resolve` takes it for a command


def test_families_are_listed_sorted_by_prefix(workshop: Registry[Tool]) -> None:
    workshop.register_family(Family(entry=Tool(name="exec", target="builtins:print")))
    assert [family.entry.name for family in workshop.families()] == ["exec", "shop"]
    assert [family.names() for family in workshop.families()] == [[], ["shop:Saw+1", "shop:plane"]]


# --- compositions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bench() -> Registry[Tool]:
    """`saw` and `sander`, which compose if they are of one colour."""

    def compose(parts: Sequence[Tool]) -> Tool:
        if len({part.colour for part in parts}) > 1:
            raise ConfigurationError("colours clash")
        return Tool(name="+".join(part.name for part in parts), target="math:tau", colour=parts[0].colour)

    made = Registry("tool", Tool, "no.such.group", compose=compose)
    for name in ("saw", "sander"):
        made.register(Tool(name=name, target="math:e", colour="red"))
    return made


@given(st.lists(st.sampled_from(["saw", "sander", " saw ", "math:e"]), min_size=2, max_size=4))
def test_joined_names_resolve_to_what_is_made_of_their_entries(names: list[str]) -> None:
    seen: list[Tool] = []
    made = Registry("tool", Tool, "no.such.group", compose=lambda parts: seen.extend(parts) or parts[0])
    for name in ("saw", "sander"):
        made.register(Tool(name=name, target="math:e", colour="red"))
    assert made.resolve("+".join(names)) == made.resolve(names[0].strip())
    assert seen == [made.resolve(name.strip()) for name in names]


def test_a_composition_is_loaded_and_not_listed(bench: Registry[Tool]) -> None:
    import math

    assert bench.resolve("saw + sander") == Tool(name="saw+sander", target="math:tau", colour="red")
    assert bench.load("saw+sander") is math.tau
    assert bench.names() == bench.matching("*") == ["sander", "saw"]
    assert "saw+sander" not in bench


@pytest.mark.parametrize(
    ("name", "part"), [("saw+sandr", "sandr"), ("swa+saw", "swa"), ("saw+", ""), ("saw+a:b:c", "a:b:c")]
)
def test_a_part_that_is_unknown_is_the_one_that_is_named(bench: Registry[Tool], name: str, part: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        bench.resolve(name)
    assert caught.value.name == part
    assert bool(part and ":" not in part) is bool(caught.value.suggestions)


def test_parts_that_do_not_compose_are_refused(bench: Registry[Tool]) -> None:
    with pytest.raises(ConfigurationError, match="colours clash"):
        bench.resolve("saw+math:e")


def test_without_composition_a_joined_name_is_unknown(workshop: Registry[Tool]) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown tool 'saw\+sander'"):
        workshop.resolve("saw+sander")
    assert workshop.resolve("shop:Saw+1").name == "shop:Saw+1"  # the plus is the member's own

"""Names to things, lazily: a registry line names a target that is imported only when it is used."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from iqa_robustness.errors import ConfigurationError, DuplicateNameError, UnknownNameError

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_WILD = frozenset("*?[")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One registered name.

    name: lower case, words joined by hyphens.
    target: `package.module:attribute`, imported on first use.
    summary: one line for listings.
    """

    name: str
    target: str
    summary: str = ""


EntryT = TypeVar("EntryT", bound=Entry)


@dataclass(frozen=True, kw_only=True)
class Family(Generic[EntryT]):
    """Names written `prefix:member`; they are not listed among the registered ones.

    entry: what every member's entry says; its name is the prefix, its target is called with the member first.
    catalogue: of somebody else's collection, a module with `names() -> Sequence[str]` and `check(name) -> None`, which
        raises for what is no member. It is imported when a name with the prefix is asked for. Without one, anything
        may follow the colon (a command, a path), and patterns match nothing.
    """

    entry: EntryT
    catalogue: str = ""

    def names(self) -> list[str]:
        """All of its names, prefix included. Raises what the collection raises that cannot say them."""
        if not self.catalogue:
            return []
        return [f"{self.entry.name}:{member}" for member in importlib.import_module(self.catalogue).names()]

    def check(self, member: str) -> None:
        """Raise what the catalogue raises for what is no member."""
        if self.catalogue:
            importlib.import_module(self.catalogue).check(member)


class Registry(Generic[EntryT]):
    """The names of one kind of thing (metric, attack, defense, data set).

    Args:
        kind: the word used in messages.
        entry: the entry class; entry points are turned into it with its defaults.
        group: entry point group through which other distributions add names.
        compose: makes the entry of `a+b` out of those of its parts; without it, such names are unknown.
    """

    def __init__(
        self,
        kind: str,
        entry: type[EntryT],
        group: str,
        *,
        compose: Callable[[Sequence[EntryT]], EntryT] | None = None,
    ) -> None:
        self.kind = kind
        self.group = group
        self._compose = compose
        self._entry_class = entry
        self._entries: dict[str, EntryT] = {}
        self._families: dict[str, Family[EntryT]] = {}
        self._plugins_loaded = False

    def register(self, entry: EntryT) -> None:
        """Add a name. Raises DuplicateNameError when it is taken, ConfigurationError when it is not a name."""
        if not _NAME.fullmatch(entry.name):
            raise ConfigurationError(
                f"{entry.name!r} is no valid {self.kind} name", fix="use lower-case words joined by hyphens"
            )
        if entry.name in self._entries:
            raise DuplicateNameError(
                f"{self.kind} {entry.name!r} is registered twice: "
                f"{self._entries[entry.name].target} and {entry.target}",
                fix="rename one of the two",
            )
        self._entries[entry.name] = entry

    def register_family(self, family: Family[EntryT]) -> None:
        """Add a prefix. Raises DuplicateNameError when it is taken, ConfigurationError when it is not a name."""
        prefix = family.entry.name
        if not _NAME.fullmatch(prefix):
            raise ConfigurationError(
                f"{prefix!r} is no valid prefix of {self.kind} names", fix="use lower-case words joined by hyphens"
            )
        if prefix in self._families:
            raise DuplicateNameError(
                f"the prefix {prefix!r} of {self.kind} names is registered twice", fix="rename one of the two"
            )
        self._families[prefix] = family

    def family(self, name: str) -> Family[EntryT] | None:
        """The family of `prefix:member`, which need not have that member; None for other names."""
        return self._parted(name)[0]

    def families(self) -> list[Family[EntryT]]:
        """All families, sorted by prefix."""
        return [self._families[prefix] for prefix in sorted(self._families)]

    def matching(self, pattern: str) -> list[str]:
        """Names that an fnmatch pattern matches, sorted; a family's names only when it spells out their prefix.

        Raises what the family's collection raises that cannot say its names.
        """
        names, family = self.names(), self.family(pattern)
        if family is not None and _WILD & set(pattern):
            names += family.names()
        return sorted(name for name in names if fnmatchcase(name, pattern))

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load_plugins()
        return sorted(self._entries)

    def __iter__(self) -> Iterator[EntryT]:
        """All entries, sorted by name."""
        return (self._entries[name] for name in self.names())

    def __contains__(self, name: object) -> bool:
        """Whether `name` is registered (`package.module:attribute` is not, though `resolve` takes it)."""
        self._load_plugins()
        return name in self._entries

    def resolve(self, name: str) -> EntryT:
        """The entry of a name, or one made for `prefix:member` of a family, `a+b`, or `package.module:attribute`.

        Raises:
            UnknownNameError: none of these, or a part of `a+b` is none.
            ConfigurationError: what a collection says of a name that it has and that cannot be used; or parts that do
                not compose.
        """
        self._load_plugins()
        if name in self._entries:
            return self._entries[name]
        family, member = self._parted(name)
        if family is not None:
            family.check(member)
            return replace(family.entry, name=f"{family.entry.name}:{member}")
        if self._compose is not None and "+" in name:
            return self._compose([self.resolve(part.strip()) for part in name.split("+")])
        if _TARGET.fullmatch(name):
            return self._entry_class(name=name, target=name)
        raise UnknownNameError(self.kind, name, self._entries)

    def load(self, name: str) -> Any:
        """Import the target of a name. Raises UnknownNameError, or ConfigurationError when the import fails."""
        target = self.resolve(name).target
        module_name, _, attribute = target.partition(":")
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # a user's module may fail with anything
            raise ConfigurationError(
                f"{self.kind} {name!r} cannot be imported from {target}: {type(error).__name__}: {error}",
                fix="install what is missing, or check the module's name and PYTHONPATH",
            ) from error
        try:
            loaded: Callable[..., Any] = getattr(module, attribute)
        except AttributeError:
            raise UnknownNameError(
                f"{self.kind} class in module {module_name}", attribute, [n for n in vars(module) if n[0] != "_"]
            ) from None
        family, member = self._parted(name)
        return loaded if family is None else partial(loaded, member)

    def _parted(self, name: str) -> tuple[Family[EntryT] | None, str]:
        """The family of `prefix:member` and the member; None and an empty text for other names."""
        prefix, colon, member = name.partition(":")
        family = self._families.get(prefix) if colon else None
        return family, member.strip() if family is not None else ""

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        own = dict(self._entries)
        try:
            for point in sorted(entry_points(group=self.group), key=lambda p: p.name):
                self.register(self._entry_class(name=point.name, target=point.value))
        except ConfigurationError:
            self._entries = own  # half of the names would hide the error from whoever asks next
            raise
        self._plugins_loaded = True

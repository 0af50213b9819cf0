"""Names to things, lazily: a registry line names a target that is imported only when it is used."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
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
    """The names of somebody else's collection, written `prefix:name`; they are not listed among the registered ones.

    entry: what every member's entry says; its name is the prefix, its target is called with the member's name first.
    catalogue: a module with `names() -> Sequence[str]` and `check(name) -> None`, which raises for what is no member.
        It is imported when a name with the prefix is asked for.
    """

    entry: EntryT
    catalogue: str


class Registry(Generic[EntryT]):
    """The names of one kind of thing (metric, attack, defense, data set).

    Args:
        kind: the word used in messages.
        entry: the entry class; entry points are turned into it with its defaults.
        group: entry point group through which other distributions add names.
    """

    def __init__(self, kind: str, entry: type[EntryT], group: str) -> None:
        self.kind = kind
        self.group = group
        self._entry_class = entry
        self._entries: dict[str, EntryT] = {}
        self._families: dict[str, Family[EntryT]] = {}
        self._schemes: dict[str, EntryT] = {}
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

    def in_family(self, name: str) -> bool:
        """Whether a name has a registered prefix, which need not mean that the collection has it."""
        prefix, colon, _ = name.partition(":")
        return bool(colon) and prefix in self._families

    def matching(self, pattern: str) -> list[str]:
        """Names that an fnmatch pattern matches, sorted; a collection's names only when it spells out their prefix.

        Raises what the collection raises that cannot say its names.
        """
        found = [name for name in self.names() if fnmatchcase(name, pattern)]
        if self.in_family(pattern) and _WILD & set(pattern):
            prefix = pattern.partition(":")[0]
            members = self._catalogue(prefix).names()
            found += [name for name in (f"{prefix}:{member}" for member in members) if fnmatchcase(name, pattern)]
        return sorted(found)

    def register_scheme(self, entry: EntryT) -> None:
        """Take references `<entry.name>:<anything>`; the target is made of what follows the colon."""
        self._schemes[entry.name] = entry

    def schemes(self) -> list[EntryT]:
        """The entries of all schemes, sorted by name."""
        return [self._schemes[name] for name in sorted(self._schemes)]

    def scheme_of(self, name: str) -> tuple[str, str]:
        """Scheme and rest of a reference (`exec:./score` to `exec` and `./score`); two empty texts for other names."""
        scheme, colon, rest = name.partition(":")
        return (scheme, rest.strip()) if colon and scheme in self._schemes else ("", "")

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
        """The entry of a name, or one made for `prefix:name` of a collection, a scheme's reference or
        `package.module:attribute`.

        Raises:
            UnknownNameError: none of these.
            ConfigurationError: what a collection says of a name that it has and that cannot be used.
        """
        self._load_plugins()
        if name in self._entries:
            return self._entries[name]
        if self.in_family(name):
            prefix, _, member = name.partition(":")
            self._catalogue(prefix).check(member)
            return replace(self._families[prefix].entry, name=name)
        scheme, _ = self.scheme_of(name)
        if scheme:
            return replace(self._schemes[scheme], name=name)
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
        return partial(loaded, name.partition(":")[2]) if self.in_family(name) else loaded

    def _catalogue(self, prefix: str) -> Any:
        return importlib.import_module(self._families[prefix].catalogue)

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

"""YAML in which every key and list item knows its line, for errors that name it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from iqa_robustness.errors import ThresholdsFileError, Where

Lines = dict[tuple[str | int, ...], int]
"""From the path of keys and numbers to a node, its first line, from 1 on."""


def parsed(text: str, path: Path) -> tuple[Any, Lines]:
    """The document, and the line of each of its nodes. Raises ThresholdsFileError; `path` is what it names."""
    fix = "see docs/thresholds.md for an example"
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise ThresholdsFileError("the thresholds file is empty", where=Where(file=str(path)), fix=fix)
        lines = dict(_nodes(node, (), path))
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ThresholdsFileError(
            f"the thresholds file is no valid YAML: {error.problem}", where=Where(file=str(path), line=line), fix=fix
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no text, an impossible date, an alias of itself
        raise ThresholdsFileError(
            f"the thresholds file is no valid YAML: {error}", where=Where(file=str(path)), fix=fix
        ) from None


def _nodes(node: yaml.Node, at: tuple[str | int, ...], path: Path) -> Iterator[tuple[tuple[str | int, ...], int]]:
    yield at, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ThresholdsFileError(
                    "a key is a list or a mapping", where=Where(file=str(path), line=line), fix="write a plain word"
                )
            if key.value in seen:
                raise ThresholdsFileError(
                    f"the key {key.value!r} is given twice", where=Where(file=str(path), line=line), fix="keep one"
                )
            seen.add(key.value)
            yield from _nodes(value, (*at, key.value), path)
            yield (*at, key.value), line
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _nodes(value, (*at, number), path)

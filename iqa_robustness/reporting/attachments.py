"""What is attached to a report, within a number of bytes: the most telling first, and what is left out is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iqa_robustness.reporting.figures import Panel, contact_sheet


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """One file of a report.

    name: as a reader sees it.      kind: a name of allure's attachment types.
    wanted: what it would hold with more space, empty when it holds all.
    """

    name: str
    body: bytes
    kind: str
    wanted: str = ""


def share(megabytes: float, items: int) -> int | None:
    """Bytes that each of a run's items may attach, equal for all, so that no worker has to know of others.

    Args:
        megabytes: of the run, 10⁶ bytes each; 0 for no limit, which is None here.
        items: of the run.
    """
    return int(megabytes * 1_000_000 / max(items, 1)) if megabytes else None


def fitted(candidates: Sequence[Attachment], limit: int | None) -> tuple[list[Attachment], list[str]]:
    """Those that fit into `limit` bytes together, in their order, and the names of what does not.

    A large one does not keep a smaller one that follows from its place.
    """
    kept, left_out, spent = [], [], 0
    for candidate in candidates:
        if limit is not None and spent + len(candidate.body) > limit:
            left_out.append(
                f"{candidate.wanted or candidate.name} ({_kilobytes(candidate.body)}, beyond the size budget)"
            )
            continue
        spent += len(candidate.body)
        kept.append(candidate)
        if candidate.wanted:
            left_out.append(f"{candidate.wanted} (only {candidate.name}, for the size budget)")
    return kept, left_out


def largest_sheet(rows: Sequence[Sequence[Panel]], limit: int | None) -> Attachment:
    """The worst images as one JPEG: as many rows as fit into `limit` bytes, at least one."""
    for count in range(len(rows), 0, -1):
        body = contact_sheet(rows[:count])
        if limit is None or len(body) <= limit or count == 1:
            break
    wanted = "" if count == len(rows) else f"worst images ({len(rows)})"
    return Attachment(name=f"worst images ({count})", body=body, kind="JPG", wanted=wanted)


def _kilobytes(body: bytes) -> str:
    return f"{max(1, round(len(body) / 1000))} kB"

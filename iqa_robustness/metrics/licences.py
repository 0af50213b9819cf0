"""Which metrics a run may use under a licence policy. A reading of the licences' names, not legal advice."""

from __future__ import annotations

POLICIES = ("any", "commercial")

_COMMERCIAL = frozenset({
    "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc0-1.0", "isc", "mit", "mpl-2.0", "unlicense",
    # The notice in LIVE's software releases: any purpose, with the notice kept and the release acknowledged.
    "live",
})  # fmt: skip


def permits_commercial_use(licence: str) -> bool:
    """Whether a licence is known to permit it; what is unknown or unstated does not count as permission."""
    return licence.strip().lower() in _COMMERCIAL


def refusal(licence: str, policy: str) -> str:
    """Why a policy leaves a metric out, empty when it does not.

    Args:
        licence: as the registry carries it; empty for a user's own metric, which is the user's to judge.
        policy: one of `POLICIES`.
    """
    if policy == "any" or not licence or permits_commercial_use(licence):
        return ""
    return f"its licence ({licence}) is not known to permit commercial use (--iqa-licence-policy={policy})"

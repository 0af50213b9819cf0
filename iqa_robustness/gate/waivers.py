"""Waivers: a weakness that somebody answers for, for a while."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import Field

from iqa_robustness.gate.strict_model import StrictModel

# Days before the end from which `thresholds lint` says that a waiver is about to expire.
SOON = 30


class Waiver(StrictModel):
    """A weakness that is accepted until a day; from the next day on its cells fail.

    reason: why it is accepted.      owner: who answers for it.
    issue: where the work on it is followed, a link.      expires: the last day it holds, `YYYY-MM-DD`.
    """

    reason: Annotated[str, Field(min_length=10)]
    owner: Annotated[str, Field(min_length=1)]
    issue: Annotated[str, Field(pattern=r"^https?://\S+$")]
    expires: datetime.date

    def expired(self, today: datetime.date) -> bool:
        """Whether its last day is over."""
        return today > self.expires

    def expires_soon(self, today: datetime.date) -> bool:
        """Whether it still holds, but not for `SOON` days more."""
        return not self.expired(today) and self.expires - today < datetime.timedelta(days=SOON)

    def __str__(self) -> str:
        """As reports say it: reason, until when, who, where."""
        return f"{self.reason} (waived until {self.expires:%Y-%m-%d} by {self.owner}, {self.issue})"

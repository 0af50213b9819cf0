"""What every part of a file written by hand has in common: nothing unknown, nothing converted, nothing changed."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Base of the parts: an unknown key or another type is an error, and an instance is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

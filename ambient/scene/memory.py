"""What of a running scene is worth keeping across a restart, as it is written to a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

__all__ = ["Memory", "ParamMemory"]

Finite = Annotated[float, Field(allow_inf_nan=False)]
Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ParamMemory(_Kept):
    """A parameter that was set: by hand, by an event, or both."""

    value: Finite | None = None
    """Set by hand; None: not."""
    override: Finite | None = None
    """Set by an event, above the other; None: not."""
    left_seconds: Length | None = None
    """How much longer the event holds it; None: until it is set again."""


class Memory(_Kept):
    """A scene's place: enough to go on in it."""

    state: str
    stayed_seconds: Length
    """Since the state was entered."""
    visits: Annotated[int, Field(ge=0)]
    """States entered so far, which the next random choices follow from."""
    time: AwareDatetime
    """Scene time, which goes on from here where the scene has a clock of its own."""
    params: Mapping[str, ParamMemory] = {}

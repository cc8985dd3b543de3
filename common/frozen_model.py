"""Base class of records that are written once and read back."""

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Immutable; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

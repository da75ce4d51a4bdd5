"""The base of everything that a record holds: typed, complete, never changed."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Data that cannot be changed and knows all of its fields; JSON has no infinity, so it is written as text."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

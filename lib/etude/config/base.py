"""Define the base class of all settings sections."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Hold a frozen group of settings; unknown keys are refused, and the text under a field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

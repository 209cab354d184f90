"""Define the base class of all settings sections."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """Hold a frozen group of settings; unknown keys are refused, and the text under a field is its documentation.

    Refused in every section: an empty text, which is mostly a shell variable that isn't set; true or false for a
    number; and numbers that are not finite.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )
    may_be_empty: ClassVar[tuple[str, ...]] = ()
    """Fields for which an empty text means something."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_mistakes(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if value == "" and name not in cls.may_be_empty:
            raise ValueError("the value is empty; expected one (is a shell variable unset?)")
        if _holds_bool(value) and not _takes_bool(cls.model_fields[name].annotation):
            raise ValueError("expected a number or a text, not true or false")
        return value


def _holds_bool(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_holds_bool, value)))


def _takes_bool(annotation: Any) -> bool:
    return annotation is bool or any(map(_takes_bool, get_args(annotation)))

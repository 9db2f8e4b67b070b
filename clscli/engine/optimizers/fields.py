"""Types of parameters that many optimizers share."""

from typing import Annotated, Any

from pydantic import Field

ParameterGroups = list[dict[str, Any]]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Betas = tuple[Fraction, Fraction]

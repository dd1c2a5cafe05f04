"""The hyper-parameters: what a recipe may choose about the model and its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

Pooling: TypeAlias = Literal["max", "average"]
POOLINGS: Final[tuple[str, ...]] = get_args(Pooling)


class HyperParameters(BaseModel):
    """One recipe. Frozen; `model_dump_json` and `model_validate_json` carry it across containers.

    The defaults are the reference recipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """Sets the initial weights, the order of the images and the dropout."""

    train_images: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    """How many images of the train split to use, chosen by the seed."""

    epochs: Annotated[int, Field(ge=1)] = 5
    """How many times each of these images is shown."""

    batch_size: Annotated[int, Field(ge=1)] = 32

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Adam's learning rate; with "one_cycle", its peak."""

    schedule: Literal["constant", "one_cycle"] = "constant"
    """"one_cycle" warms up over the first 30 % of the steps and then anneals to zero."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """The share of units dropped after each of the two hidden dense layers."""

    pooling: Pooling = "max"

    def changed(self, changes: Mapping[str, object]) -> HyperParameters:
        """This recipe with some of its values changed.

        Raises:
          pydantic.ValidationError: there is no such value, or it cannot be that.
        """
        return HyperParameters.model_validate({**self.model_dump(), **changes})

"""The hyper-parameters of a training: the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision: TypeAlias = Literal["float32", "bfloat16", "auto"]
Pooling: TypeAlias = Literal["max", "average"]
POOLINGS: Final[tuple[str, ...]] = get_args(Pooling)


class HyperParameters(BaseModel):
    """One recipe, frozen. `model_dump_json` and `model_validate_json` pass it between processes.

    The defaults are the reference recipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """Seed of the initial weights, of the order of the images, and of dropout."""

    train_images: Annotated[int, Field(ge=1)] | Literal["all"] = "all"
    """The number of training images to use, chosen by the seed; "all", or more than there are, for
    the whole split."""

    epochs: Annotated[int, Field(ge=1)] = 5
    """The number of passes over these images."""

    batch_size: Annotated[int, Field(ge=1)] = 32

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Adam's learning rate; with "one_cycle", the peak."""

    schedule: Literal["constant", "one_cycle"] = "constant"
    """"one_cycle" warms up over the first 30 % of the steps, then anneals to zero."""

    kernel_initializer: Literal["glorot_uniform", "he_normal"] = "glorot_uniform"
    """Keras' name of the distribution of the initial weights, for all layers but the last."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """The fraction of units dropped after each of the two hidden dense layers."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of a label that is spread over all classes. It raises the accuracy, and lowers the
    confidence: a probability is at most about 1 minus this share."""

    max_shift_px: Annotated[float, Field(ge=0, le=14)] = 0.0
    """The maximum distance, in each direction, that a training image is moved by at random."""

    pooling: Pooling = "max"

    precision: Precision = "float32"
    """The type in which the layers compute. The weights, the loss and the exported model are
    float32 in any case. "auto" is bfloat16 on Intel processors with AMX and AMD processors with
    AVX512_BF16, which train faster in it. It is float32 on other processors, on GPUs and without
    oneDNN, where bfloat16 can be many times slower."""

    distribution: Literal["none", "mirrored", "multi_worker"] = "none"
    """"mirrored" trains on all GPUs of the machine, "multi_worker" in several processes, which use
    no GPUs if they share a machine. Each batch is divided equally among them; an incomplete last
    batch is left out."""

    workers: Annotated[int, Field(ge=2)] = 2
    """The number of processes; used by "multi_worker" only."""

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        if self.distribution == "multi_worker" and self.batch_size % self.workers:
            raise ValueError(
                f"batch_size is {self.batch_size}; it must be a multiple of workers, {self.workers}"
            )
        return self

    def changed(self, changes: Mapping[str, object]) -> HyperParameters:
        """A copy of this recipe with some values replaced.

        Raises:
          pydantic.ValidationError: a name is unknown, or a value is invalid.
        """
        return HyperParameters.model_validate({**self.model_dump(), **changes})

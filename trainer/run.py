"""`run_fn`, the entry point of the Trainer component; the only module with TFX's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer import distribution, training, workers
from trainer.hparams import HyperParameters
from trainer.training import Job

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

HPARAMS = "hparams"  # the key of the recipe, as JSON, in the component's custom_config


def run_fn(fn_args: FnArgs) -> None:
    """Trains the network and exports it, on the devices that the recipe's `distribution` names.

    Raises:
      ValueError: a split is empty, the devices cannot share a batch, or a mirrored training finds
        fewer than two GPUs.
      WorkerError: a process that trained ended early.
    """
    hparams = HyperParameters.model_validate_json(fn_args.custom_config[HPARAMS])
    job = Job(
        hparams=hparams,
        train_files=tuple(fn_args.train_files),
        eval_files=tuple(fn_args.eval_files),
        transform_output=fn_args.transform_output,
        serving_model_dir=fn_args.serving_model_dir,
        model_run_dir=fn_args.model_run_dir,
    )
    match hparams.distribution:
        case "none":
            training.train(job)
        case "mirrored":
            training.train(job, distribution.mirrored())
        case "multi_worker":
            workers.train(job)

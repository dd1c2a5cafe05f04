"""`run_fn`, the entry point of the Trainer component; the only module with TFX's arguments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trainer import distribution, precision, training
from trainer.hparams import HyperParameters
from trainer.training import Job
from trainer.workers import pod_manifests, processes

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

HPARAMS = "hparams"  # the key of the recipe, as JSON, in the component's custom_config


def run_fn(fn_args: FnArgs) -> None:
    """Trains the network and exports it, on the devices that the recipe's `distribution` names.

    Raises:
      ValueError: a split is empty, the devices cannot share a batch, or a mirrored training finds
        fewer than two GPUs.
      WorkerError: a process that trained ended early, or its pod did not start.
    """
    hparams = HyperParameters.model_validate_json(fn_args.custom_config[HPARAMS])
    # Here, so that all processes of a training compute in the same type.
    hparams = hparams.changed({"precision": precision.resolve(hparams.precision)})
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
            _train_in_several(job)


def _train_in_several(job: Job) -> None:
    """On this machine, or in several pods if TRAINER_POD_NAME is set."""
    if pod_manifests.POD_NAME in os.environ:
        from trainer.workers import pods  # imports Kubernetes' client

        pods.train(job)
    else:
        processes.train(job)

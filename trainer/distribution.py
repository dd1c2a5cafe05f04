"""Training on several devices or in several processes, with TensorFlow's strategies.

Each training batch is divided equally among the devices. Two processes with one device each give
the same weights as one process with two devices.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from trainer import curves, dataset
from trainer.dataset import Split
from trainer.hparams import HyperParameters


def is_first(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes the results."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_id


def mirrored() -> tf.distribute.Strategy:
    """The strategy for all GPUs of this machine.

    Raises:
      ValueError: there are fewer than two.
    """
    count = len(tf.config.list_logical_devices("GPU"))
    if count < 2:
        raise ValueError(
            'trainer.distribution is "mirrored", which needs at least 2 GPUs; '
            f'TensorFlow finds {count}. Set it to "none".'
        )
    return tf.distribute.MirroredStrategy()


def check(strategy: tf.distribute.Strategy, batch_size: int, images: int) -> None:
    """Checks that there is a batch, and that it can be divided among the devices.

    Raises:
      ValueError: the number of devices does not divide the batch size, or there are fewer images
        than one batch has.
    """
    devices = strategy.num_replicas_in_sync
    if batch_size % devices:
        raise ValueError(
            f"batch_size is {batch_size}; it must be a multiple of the number of devices, {devices}"
        )
    if images < batch_size:
        raise ValueError(
            f"there are {images} training images; a distributed training needs a whole batch of "
            f"{batch_size}"
        )


def fit(
    strategy: tf.distribute.Strategy,
    network: keras.Model,
    split: Split,
    held_out: Split | None,
    hparams: HyperParameters,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Trains as Keras' own `fit` does, which cannot train in several processes (Keras 3.15).

    Args:
      strategy: the devices and processes; every process calls this function.
      network: compiled in the scope of the strategy.
      split: all training images. Each process holds them, and uses its part of each batch.
      held_out: the images that the first process evaluates after each epoch; None in others.
      hparams: the recipe.
      callbacks: what is called in this process. The metrics that they get are up to
        `curves.interval` steps old, because all processes have to add them up.
    """
    _create_variables(strategy, network, split)
    calls = keras.callbacks.CallbackList(list(callbacks), model=network)
    batches = strategy.distribute_datasets_from_function(
        lambda context: _own_parts(context, split, hparams)
    )

    @tf.function
    def train_on_next(iterator: tf.distribute.DistributedIterator) -> None:
        strategy.run(network.train_step, args=(next(iterator),))

    steps_per_epoch = len(split.images) // hparams.batch_size
    interval = curves.interval(steps_per_epoch * hparams.epochs)
    logs: dict[str, float] = {}
    step = 0
    calls.on_train_begin()
    for epoch in range(hparams.epochs):
        network.reset_metrics()
        calls.on_epoch_begin(epoch)
        iterator = iter(batches)
        for number in range(steps_per_epoch):
            calls.on_train_batch_begin(number)
            train_on_next(iterator)
            step += 1
            if step % interval == 0 or number in (0, steps_per_epoch - 1):
                logs = {name: float(v) for name, v in network.get_metrics_result().items()}
            calls.on_train_batch_end(number, logs)
        if held_out:
            found = curves.evaluate(network, held_out)
            logs |= {f"val_{name}": value for name, value in found.items()}
        calls.on_epoch_end(epoch, logs)
    calls.on_train_end(logs)


def _create_variables(strategy: tf.distribute.Strategy, network: keras.Model, split: Split) -> None:
    """Creates the variables of the optimizer and the metrics, which the first step cannot."""
    with strategy.scope():
        network.optimizer.build(network.trainable_variables)
        images, labels = split.images[:1], split.labels[:1]
        network.compute_metrics(images, labels, network(images))
    network.reset_metrics()


def _own_parts(
    context: tf.distribute.InputContext, split: Split, hparams: HyperParameters
) -> tf.data.Dataset:
    """For each batch the parts of this process, one for each of its devices."""
    devices = context.num_replicas_in_sync
    own = devices // context.num_input_pipelines
    first = own * context.input_pipeline_id

    def divide(values: tf.Tensor) -> tf.Tensor:
        parts = tf.reshape(values, [devices, hparams.batch_size // devices, *values.shape[1:]])
        return parts[first : first + own]

    return (
        dataset.training_batches(
            split, hparams.batch_size, hparams.seed, hparams.max_shift_px, drop_remainder=True
        )
        .map(lambda images, labels: (divide(images), divide(labels)))
        .unbatch()
        .prefetch(2)
    )

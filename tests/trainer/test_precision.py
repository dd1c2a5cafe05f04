"""The type in which the layers compute: what "auto" chooses, and what stays float32."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import model, precision
from trainer.hparams import HyperParameters


@pytest.mark.parametrize(
    ("vendor", "flags", "gpus", "onednn", "expected"),
    [
        ("GenuineIntel", "fma avx512f amx_bf16 amx_tile", [], "1", "bfloat16"),
        ("GenuineIntel", "fma avx512f amx_bf16 amx_tile", [], "0", "float32"),
        ("GenuineIntel", "fma avx512f amx_bf16 amx_tile", ["GPU:0"], "1", "float32"),
        ("GenuineIntel", "fma avx512f avx512_bf16", [], "1", "float32"),
        ("AuthenticAMD", "fma avx512f avx512_bf16", [], "1", "bfloat16"),
        ("AuthenticAMD", "fma avx512f", [], "1", "float32"),
    ],
)
def test_auto_is_bfloat16_on_processors_that_train_faster_in_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    vendor: str,
    flags: str,
    gpus: list[str],
    onednn: str,
    expected: str,
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n")
    monkeypatch.setattr(precision, "CPU_INFO", info)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: gpus)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    assert precision.dtype_policy("auto").compute_dtype == expected
    assert precision.resolve("auto") == expected


def test_auto_is_float32_where_the_processor_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "missing")
    assert precision.resolve("auto") == "float32"


def test_weights_and_probabilities_are_float32_in_any_case() -> None:
    keras.utils.set_random_seed(1)
    network = model.build_model(HyperParameters(precision="bfloat16"), steps=1)
    *hidden, last = network.layers
    assert {layer.compute_dtype for layer in hidden} == {"bfloat16"}
    assert last.compute_dtype == "float32"
    assert {weight.dtype for weight in network.weights} == {"float32"}
    same = model.build_model(HyperParameters(), steps=1)
    same.set_weights(network.get_weights())
    images = np.random.default_rng(1).random((4, 28, 28, 1), np.float32)
    found = network(images)
    assert found.dtype == "float32"
    difference = np.abs(np.subtract(found, same(images)))
    assert 0 < difference.max() < 0.01

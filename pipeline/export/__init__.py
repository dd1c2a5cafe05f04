"""Exports a pushed model for other runtimes: LiteRT, ONNX, Keras."""

"""Runtimes: the same three stages of the model in torch, ONNX Runtime, OpenVINO and TensorRT."""

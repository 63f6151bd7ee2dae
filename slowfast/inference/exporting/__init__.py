"""Trained models as files for programs that know nothing of this package: ONNX, torch.export, safetensors."""

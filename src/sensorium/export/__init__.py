"""Trained models for other machines and other programs: Hugging Face folders; `export.gguf`: for llama.cpp."""

from sensorium.export.huggingface import Dtype, Form, export_huggingface

__all__ = ["Dtype", "Form", "export_huggingface"]

"""Dequantize a llama-architecture GGUF file into a `transformers` folder, tokenizer and chat template included.

transformers can read GGUF itself, but its tokenizer conversion drops the pre-tokenizer of the SmolLM family (single
digits), which silently changes every number; so the folder is written here, once, and read like any other model.
Norms stay float32, matrices become float16: the quantised values (scale × integer + minimum, scales in float16) lose
less than 0.05 % of their size, far less than quantisation took.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from sensorium.errors import SensoriumError
from sensorium.progress import ProgressCallback

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL = 3  # gguf's token type of special tokens


def convert_gguf(source: Path, folder: Path, progress: ProgressCallback | None = None) -> None:
    """Write config.json, model.safetensors, tokenizer.json and tokenizer_config.json for a GGUF file.

    Raises SensoriumError for another architecture than llama or another tokenizer than SmolLM's byte-level BPE.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(source)
    except ValueError as error:
        raise SensoriumError(source.name, f"is not a GGUF file ({error}), so it is no language model.",
                             "Check that `vision` and `language` are not exchanged.") from error
    fields: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
    if fields["general.architecture"] != "llama" or fields.get("tokenizer.ggml.pre") != "smollm":
        kind = f"{fields['general.architecture']} / {fields.get('tokenizer.ggml.pre')}"
        raise SensoriumError(source.name, f"is {kind}; only llama with SmolLM's tokenizer is read from GGUF.",
                             "Use the model's Hugging Face folder instead.")
    config = _config(fields)
    weights = _weights(reader, config, progress or (lambda what, done, total: None))
    config["tie_word_embeddings"] = "lm_head.weight" not in weights
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    _write_tokenizer(fields, folder)


def _config(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": fields["llama.rope.freq_base"],
        "vocab_size": fields["llama.vocab_size"],
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "dtype": "float32",
    }


def _weights(reader: Any, config: dict[str, Any], tell: ProgressCallback) -> dict[str, Tensor]:
    from gguf import dequantize

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = {}
    for index, tensor in enumerate(reader.tensors):
        tell("dequantizing the language model", index + 1, len(reader.tensors))
        match = re.fullmatch(r"(?:blk\.(?P<block>\d+)\.)?(?P<kind>\w+)\.weight", tensor.name)
        if match is None or match["kind"] not in _NAMES:
            if tensor.name == "rope_freqs.weight":
                continue
            raise SensoriumError("GGUF file", f"has an unknown tensor {tensor.name}.")
        values = torch.from_numpy(np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))
        if match["kind"] in heads:
            values = _to_half_split(values, heads[match["kind"]])
        prefix = f"model.layers.{match['block']}." if match["block"] else ""
        weights[f"{prefix}{_NAMES[match['kind']]}.weight"] = values if values.dim() == 1 else values.half()
    return weights


def _to_half_split(weight: Tensor, n_heads: int) -> Tensor:
    """Undo GGUF's row order for rotary positions: pairs lie side by side there, in two halves in transformers."""
    rows, width = weight.shape
    return weight.view(n_heads, rows // n_heads // 2, 2, width).transpose(1, 2).reshape(rows, width).contiguous()


def _write_tokenizer(fields: dict[str, Any], folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = fields["tokenizer.ggml.token_type"]
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": fields["tokenizer.chat_template"],
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[fields["tokenizer.ggml.padding_token_id"]],
        "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
        "model_max_length": fields["llama.context_length"],
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))

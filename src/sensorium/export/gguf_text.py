"""The language model as a GGUF file that llama.cpp reads: adapters merged, our added tokens as the table's last rows.

llama.cpp keeps the rows of queries and keys in another order than transformers (pairs that turn together lie side by
side), and knows a tokenizer by the *name* of its way of splitting words, so only splits whose name is known can be
written. The slot's row of the output is zero: its score, which `MultimodalModel.head` rules out, is 0 in programs that
do not, far below the others'.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium.export.gguf_weights import Quantization, Weights
from sensorium.model.gguf_folder import NotInLlamaCpp
from sensorium.model.multimodal import MultimodalModel

_LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
# How a tokenizer splits words before its merges -> llama.cpp's name of it.
_DIGITS = {"type": "Digits", "individual_digits": True}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
_SPLITS = (("smollm", [_DIGITS, _BYTES]), ("gpt-2", [_BYTES]))


def require_llama(model: MultimodalModel) -> None:
    """Raises NotInLlamaCpp when llama.cpp's `llama` graph is not what the language model computes."""
    language: Any = model.language
    config = language.config
    if config.model_type != "llama":
        raise _unlike(f"is `{config.model_type}`; only the architecture `llama` is written")
    odd = {
        "hidden_act": config.hidden_act != "silu",
        "attention_bias": getattr(config, "attention_bias", False),
        "mlp_bias": getattr(config, "mlp_bias", False),
        "rope_parameters": _rope(config).get("rope_type", "default") != "default",
    }
    if found := [name for name, is_odd in odd.items() if is_odd]:
        raise _unlike(f"has {found[0]}: {getattr(config, found[0])}, which is not written")
    _split(model.tokenizer)


def write_text(model: MultimodalModel, path: Path, quantization: Quantization, name: str) -> None:
    """The file of a model that `require_llama` lets pass. Raises OSError when the disk is full."""
    from gguf import GGUFWriter

    language: Any = model.language
    config = language.config
    writer = GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(_head_width(config))
    writer.add_key_length(_head_width(config))
    writer.add_value_length(_head_width(config))
    writer.add_rope_freq_base(float(_rope(config)["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(model.vocabulary_size + len(model.added_tokens))
    _add_tokenizer(writer, model)
    weights = Weights(writer, quantization)
    added = model.added_embeddings.detach().float()
    table = torch.cat([language.get_input_embeddings().weight.detach().float(), added])
    head = torch.cat([language.get_output_embeddings().weight.detach().float(), added])
    table[model.slot_id] = head[model.slot_id] = 0
    # Quantised to 4 bits, the table that both reads words and names them costs most of what 4 bits cost at all.
    weights.add_matrix("token_embd.weight", table, at_least_8_bits=True)
    if not torch.equal(table, head):
        weights.add_matrix("output.weight", head, at_least_8_bits=True)
    weights.add_exact("output_norm.weight", model.decoder.norm.weight)  # type: ignore[union-attr, arg-type]
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for number, layer in enumerate(model.decoder.layers):  # type: ignore[arg-type, union-attr]
        for ours, theirs in _LAYER.items():
            weight: Tensor = layer.get_submodule(ours).weight  # type: ignore[assignment]
            title = f"blk.{number}.{theirs}.weight"
            if weight.dim() == 1:
                weights.add_exact(title, weight)
            else:
                weights.add_matrix(title, _to_pairs(weight, heads[theirs]) if theirs in heads else weight)
    weights.finish()


def _add_tokenizer(writer: Any, model: MultimodalModel) -> None:
    tokenizer = model.tokenizer
    size = model.vocabulary_size + len(model.added_tokens)
    tokens = tokenizer.convert_ids_to_tokens(list(range(size)))
    kinds = np.full(size, _NORMAL)
    for number, token in tokenizer.added_tokens_decoder.items():
        if number >= size:
            continue
        # Control tokens are not shown in replies; marks of boxes are part of what a model says.
        shown = token.content in (*model.added_tokens[3:],) or not token.special
        kinds[number] = _USER_DEFINED if shown else _UNUSED if token.content.startswith("<unused-") else _CONTROL
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_split(tokenizer))
    writer.add_token_list(tokens)
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    for add, number in ((writer.add_bos_token_id, tokenizer.bos_token_id),
                        (writer.add_eos_token_id, tokenizer.eos_token_id),
                        (writer.add_pad_token_id, tokenizer.pad_token_id)):
        if number is not None:
            add(number)
    writer.add_add_bos_token(False)  # the chat template writes what there is to write
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _split(tokenizer: Any) -> str:
    """llama.cpp's name of how the tokenizer splits words. Raises NotInLlamaCpp when it has none that is known here."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    split = backend["pre_tokenizer"] or {}
    steps = split.get("pretokenizers", [split])
    steps = [{key: step[key] for key in step if key != "trim_offsets"} for step in steps]
    if backend["model"]["type"] == "BPE" and backend["normalizer"] is None:
        for name, known in _SPLITS:
            if steps == known:
                return name
    raise _unlike("splits words in a way whose name in llama.cpp is not known here")


def _to_pairs(weight: Tensor, n_heads: int) -> Tensor:
    """Rows from transformers' two halves of a head to GGUF's pairs side by side."""
    rows, width = weight.shape
    return weight.view(n_heads, 2, rows // n_heads // 2, width).transpose(1, 2).reshape(rows, width)


def _head_width(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _rope(config: Any) -> dict[str, Any]:
    return config.rope_parameters


def _unlike(what: str) -> NotInLlamaCpp:
    remedy = "Export it with `sensorium export hf`, and convert that folder with llama.cpp's own script."
    return NotInLlamaCpp("language.part", f"{what}.", remedy)

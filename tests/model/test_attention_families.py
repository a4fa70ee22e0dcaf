"""Whatever the language model: a conversation is in a batch what it is alone, packed where that is possible."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sensorium.model.attention import can_pack, is_plain, use_grouped_attention, why_not_plain

SIZE = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 64}  # fmt: skip
GROUPED = SIZE | {"num_key_value_heads": 2}
GPT = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
           "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}  # fmt: skip
LATENT = SIZE | {"num_key_value_heads": 4, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 6,
                 "q_lora_rank": 16, "kv_lora_rank": 16}  # fmt: skip
STATE = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
DECODER = {"vocab_size": 64, "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48,
           "max_position_embeddings": 64}  # fmt: skip

# Model type -> its configuration, by how a batch of it is computed.
PACKED: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("llama", "qwen2", "smollm3", "granite", "olmo", "olmo2", "phi", "seed_oss", "arcee",
                     "starcoder2", "phi3", "apertus", "diffllama", "bitnet", "ernie4_5", "ministral3",
                     "cohere"), GROUPED),
    **dict.fromkeys(("helium", "qwen3", "gemma", "glm", "glm4", "hunyuan_v1_dense"), GROUPED | {"head_dim": 8}),
    **dict.fromkeys(("gpt_neox", "persimmon"), SIZE),
    "opt": SIZE | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    **dict.fromkeys(("gpt2", "gpt_bigcode"), GPT),  # positions from a table
    "ctrl": GPT | {"dff": 48},  # positions from sines, embeddings made larger in place
    **dict.fromkeys(("mixtral", "olmoe", "qwen3_moe", "granitemoe", "glm4_moe"), GROUPED | EXPERTS | {"head_dim": 8}),
    **dict.fromkeys(("minicpm3", "youtu"), LATENT),  # values of another width than queries
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "glm4_moe_lite"), LATENT | EXPERTS),
}
BY_A_MASK: dict[str, dict[str, Any]] = {
    "nemotron": GROUPED,  # its layers hand on no more than they know
}
PADDED: dict[str, dict[str, Any]] = {
    "bloom": {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 4},  # ALiBi
    "mpt": {"vocab_size": 64, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
    "falcon": {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "stablelm": SIZE | {"num_key_value_heads": 4},  # attention of its own
    "gptj": GPT | {"rotary_dim": 4},
    "codegen": GPT | {"rotary_dim": 4},
    "gpt_neo": {"vocab_size": 64, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "intermediate_size": 48,
                "attention_types": [[["global", "local"], 1]], "window_size": 4, "max_position_embeddings": 64},
    "biogpt": SIZE,
    "xglm": {"vocab_size": 64, "d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48},
    **dict.fromkeys(("bart", "pegasus", "mbart"), DECODER),
    # positions counted from the padding token's number
    **dict.fromkeys(("roberta", "camembert"), SIZE | {"is_decoder": True, "pad_token_id": 1}),
    **dict.fromkeys(("mistral", "cohere2", "gemma3_text", "gemma2", "exaone4"), GROUPED | {"sliding_window": 4}),
    "gpt_oss": GROUPED | EXPERTS | {"head_dim": 8, "sliding_window": 4},  # windows and sinks
    **dict.fromkeys(("lfm2",), GROUPED | {"layer_types": ["conv", "full_attention"]}),
    **dict.fromkeys(("mamba", "falcon_mamba"), STATE),
}  # fmt: skip
FAMILIES = PACKED | BY_A_MASK | PADDED


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param


def random_model(family: str) -> Any:
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    known = CONFIG_MAPPING[family]()
    names = {*vars(known), *known.attribute_map, "layer_types", "pad_token_id"}
    wanted = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} | FAMILIES[family]
    config = CONFIG_MAPPING[family](**{key: value for key, value in wanted.items() if key in names})
    language = AutoModelForCausalLM.from_config(config).eval()
    torch.manual_seed(0)
    for parameter in language.parameters():  # as far from zero as trained ones, or nothing would be seen of a mistake
        parameter.data.normal_(0, 0.2)
    return language


def states(model: Any, embeddings: torch.Tensor, lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Last hidden states of a batch's tokens, and what comes back to the embeddings from a weighted sum of them."""
    leaf = embeddings.clone().requires_grad_()
    mask = torch.arange(embeddings.shape[1]) < torch.tensor(lengths)[:, None]
    found = model.language_states(leaf * 1, mask)[mask]
    (found * torch.linspace(-1, 1, found.shape[-1])).sum().backward()
    return found.detach(), leaf.grad[mask]


def test_a_conversation_is_in_a_batch_what_it_is_alone(tiny_model, family):
    language = random_model(family)
    tiny_model.language = language
    embeddings, lengths = torch.randn(3, 9, 32), [5, 9, 7]
    alone = [states(tiny_model, embeddings[i : i + 1, :n], [n]) for i, n in enumerate(lengths)]
    expected = [torch.cat(parts) for parts in zip(*alone, strict=True)]
    for packs in (False, True):  # on a GPU by a mask alone, on a CPU by our attention
        if packs:
            use_grouped_attention(language)
        tiny_model.packs = is_plain(language)
        found = states(tiny_model, embeddings, lengths)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=2e-5 * float(other.abs().max()), rtol=1e-4)
    assert can_pack(language) == (family in PACKED)
    assert bool(why_not_plain(language)) == (family in PADDED)

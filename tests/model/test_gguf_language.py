"""The language model read from GGUF: transformers' own reading of the file, the right tokenizer, and it speaks."""

from __future__ import annotations

import pytest
import torch

from sensorium.errors import SensoriumError
from sensorium.model.gguf_language import convert_gguf
from sensorium.parts import locate


def test_logits_equal_those_of_transformers_own_gguf_reading(smollm2):
    from transformers import AutoModelForCausalLM

    path = locate("smollm2-135m-instruct")
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    ids = torch.tensor([smollm2[1]().encode("The capital of France is Paris, and 17 + 25 = 42.\nWhy? Because")])
    with torch.inference_mode():
        expected, found = theirs(ids).logits, smollm2[0](ids).logits
    # Ours went through float16 once; relative to the spread of the logits that is nothing.
    assert (found - expected).abs().max() < 0.01 * expected.std()
    assert torch.equal(found.argmax(-1), expected.argmax(-1))


def test_the_tokenizer_reads_single_digits_and_any_bytes(smollm2):
    tokenizer = smollm2[1]()
    assert tokenizer.tokenize("in 2024") == ["in", "Ġ", "2", "0", "2", "4"]
    for text in ("naïve café 🦊\n\t x", "  two  blanks", "日本語", "1,234.5"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer) == 49152


def test_special_tokens_and_template_come_from_the_file(smollm2):
    tokenizer = smollm2[1]()
    assert tokenizer.encode("<|im_start|>user\n")[0] == 1
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    said = [{"role": "user", "content": "Hi"}]
    chat = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    assert chat.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_it_knows_the_capital_of_france(smollm2):
    model, make_tokenizer = smollm2
    tokenizer = make_tokenizer()
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        reply = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(reply[0, prompt["input_ids"].shape[1] :])


def test_another_architecture_is_refused(tmp_path):
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "other.gguf", "qwen2")
    writer.add_tokenizer_pre("qwen2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(SensoriumError, match=r"other.gguf: is qwen2 / qwen2; only llama"):
        convert_gguf(tmp_path / "other.gguf", tmp_path)


def test_a_vision_encoders_file_is_refused(tmp_path):
    with pytest.raises(SensoriumError, match=r"is not a GGUF file.* `vision` and `language` are not exchanged"):
        convert_gguf(locate("dinov2-small"), tmp_path)

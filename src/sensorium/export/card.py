"""The README.md of an exported model: what it is, whose its parts are, how it is used, where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sensorium.media.sight import USUAL_PICTURE
from sensorium.model.multimodal import ModelConfig, MultimodalModel
from sensorium.model.summary import part_summary
from sensorium.parts import parse_part

_USE = {
    "sensorium": """This folder holds everything: no download, no package index.

    sensorium chat {name} --image photo.jpg --question "What is in the picture?"

`AutoModel` and `AutoModelForCausalLM` of transformers read `vision/` and `language/` by themselves.""",
    "llava": """A LLaVA model for transformers and whatever reads its folders:

    import torch
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    processor = AutoProcessor.from_pretrained("{name}")
    model = LlavaForConditionalGeneration.from_pretrained("{name}", dtype=torch.{dtype})
    asked = [{{"role": "user", "content": [
        {{"type": "image", "path": "photo.jpg"}}, {{"type": "text", "text": "What is in the picture?"}}]}}]
    inputs = processor.apply_chat_template(
        asked, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        sanitize_control_tokens=True)
    reply = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1]:]
    print(processor.decode(reply, skip_special_tokens=True))

Mind: `sanitize_control_tokens` keeps marks such as `<img>` that somebody types plain characters, as Sensorium does.
Pictures should be upright RGB without transparency; text should not begin with a line break.""",
    "gguf": """This folder holds everything: no download, no torch, no GPU.

    sensorium chat {name} --image photo.jpg --question "What is in the picture?"

Any build of llama.cpp runs the two GGUF files by themselves:

    llama-server -m {name}/model.gguf --mmproj {name}/mmproj.gguf --jinja

Mind: it writes prompts as text, so that a mark such as `<|im_end|>` in a question becomes the token, and it may show a
picture in pieces and as a whole unless its size is the model's own (see the table); Sensorium does neither.""",
}


def origins(config: ModelConfig, provenance: dict[str, Any]) -> dict[str, dict[str, str]]:
    """role -> name and licence of the part that a model was assembled from; of an exported model, those it remembers.

    Of a folder only its own name is told: where it lay is nobody else's business.
    """
    found = {}
    for role, part in (("vision", config.vision.part), ("language", config.language.part)):
        known = part_summary(role, part)
        name = Path(part).absolute().name if parse_part(part).kind == "folder" else known.source
        found[role] = {"part": name, "licence": known.licence or "see its source"}
    remembered = provenance.get("parts")
    return remembered if isinstance(remembered, dict) else found


def card(
    name: str, form: str, dtype: str, config: ModelConfig, model: MultimodalModel, provenance: dict[str, Any],
    source: Path,
) -> str:
    """The text. config: of the model before its export; source: its folder, whose own card is carried along."""
    parts = provenance["parts"]
    library = {"llava": "transformers", "gguf": "llama.cpp"}.get(form, "sensorium")
    seen = model.sight.in_words(USUAL_PICTURE)
    lines = [
        "---", "pipeline_tag: image-text-to-text", f"library_name: {library}", "---", "", f"# {name}", "",
        "A language model that sees, assembled and exported by Sensorium.", "",
        "| | | licence |", "|---|---|---|",
        f"| vision encoder | {parts['vision']['part']} | {parts['vision']['licence']} |",
        f"| language model | {parts['language']['part']} | {parts['language']['licence']} |",
        f"| connector | {config.connector.kind} | trained with Sensorium |",
        f"| a picture | {seen}, {model.tokens_per_picture} visual tokens | |",
        f"| weights | {dtype}{', adapters merged' if config.lora else ''} | |",
        "", "## Use", "", _USE[form].format(name=name, dtype=dtype),
        "", "## Where it comes from", "", "```json", json.dumps(provenance, indent=2, default=str), "```", "",
    ]  # fmt: skip
    own = source / "README.md"
    if own.is_file():
        lines += ["## The card it had before its export", "", own.read_text(encoding="utf-8", errors="replace")]
    return "\n".join(lines)

"""A model of ours as transformers' LlavaForConditionalGeneration, where the assembly is LLaVA's.

That is: patches of one hidden layer of a vision tower, two linear layers with GELU between, any causal language model.
Our added tokens become the last rows of its embedding table and head; the slot is its image token. transformers'
processor then makes the same ids and pixels, and its model the same logits, but for the slot's own, which `generate`
is told to suppress.

What transformers computes is compared with ours before anything is written: towers and tokenizers have many ways to
differ, and a folder that answers otherwise would look right.
"""

from __future__ import annotations

import copy
import inspect
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image as Picture
from torch import Tensor, nn

from sensorium.conversation import Conversation, Image, Text, assistant, user
from sensorium.errors import SensoriumError
from sensorium.export.preprocessor import preprocessor
from sensorium.export.template import chat_template
from sensorium.model.connectors import MlpConfig
from sensorium.model.multimodal import IMAGE_CLOSE, IMAGE_OPEN, SLOT, ModelConfig, MultimodalModel
from sensorium.progress import ProgressCallback
from sensorium.rendering import Renderer

_BOUNDARY = "\U000f0002"  # of a private use plane, as the template's marks are
_OURS = "Export it with `--format sensorium`"


def require_llava(config: ModelConfig) -> None:
    """Raises SensoriumError with the setting that LLaVA has no place for, as far as the configuration tells."""
    connector, vision = config.connector, config.vision
    if not (isinstance(connector, MlpConfig) and connector.depth == 2):
        found = f"`{connector.kind}`" + (f" of depth {connector.depth}" if isinstance(connector, MlpConfig) else "")
        raise _unlike("connector", f"is {found}", "`mlp` of depth 2", "connector: {kind: mlp, depth: 2}")
    if config.views.named:
        raise _unlike("views.named", "is true", "pictures without names", "views: {named: false}")
    if config.views.depends_on_size or config.views.fit not in ("squash", "pad"):
        shown = config.views.fit if config.views.tiles is None else f"tiles of {config.views.tiles.scheme}"
        raise _unlike("views", f"is {shown}", "one square view, squashed or padded", "views: {fit: pad}")
    if vision.tail_blocks:
        mended = f"tail_blocks: 0`, a later `layer` and `last_blocks: {{vision: {vision.tail_blocks}}}"
        raise _unlike("vision.tail_blocks", f"is {vision.tail_blocks}", "no tail, but one layer of a tower", mended)
    if vision.fresh_norm:
        raise _unlike("vision.fresh_norm", "is true", "no norm between tower and connector", "fresh_norm: false")


def write_llava(model: MultimodalModel, folder: Path, dtype: torch.dtype, progress: ProgressCallback | None) -> None:
    """Weights, configurations, tokenizer, processor and chat template. The model's modules are used up.

    Raises SensoriumError when transformers' LLaVA cannot hold the language model or the tower, or its processor would
    make other ids than our renderer.
    """
    _require_plain_head(model)
    settings = preprocessor(model.config.views, model.config.vision.image_size)
    # transformers 5 keeps these in processor_config.json as well; other programs look for them here.
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    size = model.config.vision.image_size
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        n_prefix = model.vision.stem_states(pixels).shape[1] - model.vision.grid[0] * model.vision.grid[1]
        expected = model.visual_tokens(pixels)[0]
    if n_prefix > 1:
        raise _unlike("vision.part", f"has {n_prefix} tokens before its patches", "at most a class token", None)
    processor = _write_processor(model, folder, n_prefix, progress)
    llava = _assembled(model, processor, _sized(model.vision.uncut(progress), size, expected.shape[0] + n_prefix))
    with torch.inference_mode():
        found = torch.cat(list(llava.model.get_image_features(pixel_values=pixels).pooler_output)).view_as(expected)
    if not torch.allclose(found, expected, atol=1e-3, rtol=1e-3):
        tower = type(llava.model.vision_tower).__name__
        odd = f"is a {tower}, of which transformers takes other features than we do"
        raise _unlike("vision.part", odd, "towers such as CLIP and SigLIP", None)
    llava.to(dtype).save_pretrained(folder)


def _require_plain_head(model: MultimodalModel) -> None:
    """Raises SensoriumError when the language model does more than LLaVA to make ids embeddings, or states logits."""
    language: Any = model.language
    table, head, config = language.get_input_embeddings(), language.get_output_embeddings(), language.config
    if type(table) is not nn.Embedding:
        raise _unlike("language.part", f"embeds by a {type(table).__name__}", "a plain table", None)
    if getattr(head, "bias", None) is not None:
        raise _unlike("language.part", "has a head with bias", "a head without", None)
    if getattr(config.get_text_config(), "final_logit_softcapping", None):
        raise _unlike("language.part", "caps its logits", "a head that does not", None)


def _assembled(model: MultimodalModel, processor: Any, tower: Any) -> Any:
    """LlavaForConditionalGeneration around the modules themselves: nothing is copied but the embedding table."""
    from transformers import GenerationConfig, LlavaConfig, LlavaForConditionalGeneration

    language: Any = model.language
    head, body = language.get_output_embeddings(), language.base_model
    is_tied = head.weight is body.get_input_embeddings().weight
    table, rows = (_with_rows(m.weight, model.added_embeddings) for m in (body.get_input_embeddings(), head))
    text_config = copy.deepcopy(language.config)
    text_config.update({"vocab_size": table.num_embeddings, "tie_word_embeddings": is_tied})
    config = LlavaConfig(
        vision_config=tower.config, text_config=text_config, image_token_index=model.slot_id,
        image_seq_length=model.tokens_per_picture, projector_hidden_act="gelu", multimodal_projector_bias=True,
        vision_feature_layer=model.config.vision.layer, tie_word_embeddings=is_tied,
        vision_feature_select_strategy=processor.vision_feature_select_strategy,
    )  # fmt: skip
    try:
        with torch.device("meta"):  # only its shape is wanted: every module is put in its place below
            llava: Any = LlavaForConditionalGeneration(config)
    except (ValueError, KeyError) as error:
        raise _unlike("model", f"has parts that do not fit ({error})", "parts that AutoModel knows", None) from error
    places = {"vision.part": (llava.model.vision_tower, tower), "language.part": (llava.model.language_model, body)}
    for setting, (place, ours) in places.items():
        if type(place) is not type(ours):
            raise _unlike(setting, f"is a {type(ours).__name__}", f"a {type(place).__name__} in its place", None)
    body.set_input_embeddings(table)
    body.config = text_config
    llava.model.vision_tower, llava.model.language_model = tower, body
    layers = model.connector.layers
    llava.model.multi_modal_projector.linear_1 = layers[0]  # type: ignore[index]
    llava.model.multi_modal_projector.linear_2 = layers[2]  # type: ignore[index]
    llava.lm_head.weight = table.weight if is_tied else rows.weight
    stops = Renderer(model.tokenizer, 1).stop_ids
    llava.generation_config = GenerationConfig(
        bos_token_id=model.tokenizer.bos_token_id, eos_token_id=sorted(stops),
        pad_token_id=processor.tokenizer.pad_token_id, suppress_tokens=[model.slot_id],
    )  # fmt: skip
    return llava.eval()


def _with_rows(weight: Tensor, added: Tensor) -> nn.Embedding:
    return nn.Embedding.from_pretrained(torch.cat([weight, added.to(weight.dtype)]).detach())


def _sized(tower: Any, size: int, n_positions: int) -> Any:
    """The tower for pictures of that size. LLaVA never asks one to interpolate its positions, so it is done here."""
    if tower.config.image_size == size or "interpolate_pos_encoding" not in inspect.signature(tower.forward).parameters:
        return tower
    config = copy.deepcopy(tower.config)
    config.image_size = size
    state = tower.state_dict()
    with torch.no_grad():
        blank = torch.zeros(1, n_positions, tower.config.hidden_size)
        table = tower.embeddings.interpolate_pos_encoding(blank, size, size)
    sized = type(tower)(config)
    [name] = [name for name, p in sized.named_parameters() if "position_embedding" in name]
    state[name] = table.reshape(sized.get_parameter(name).shape)
    sized.load_state_dict(state)
    return sized.eval()


def _write_processor(model: MultimodalModel, folder: Path, n_prefix: int, progress: ProgressCallback | None) -> Any:
    """LlavaProcessor: pictures as the folder's preprocessor_config.json says, our tokens, our renderer's template.

    transformers encodes words and template as one string, our renderer each by itself. Where a tokenizer makes other
    ids of that, the template prints a boundary around words, at which the tokenizer splits and which it drops; where it
    also begins each string with a space of its own, as SentencePiece's do, the template begins words so. Neither is
    done without need, since only this tokenizer knows the boundary.
    Raises SensoriumError when none of it makes the ids of our renderer.
    """
    from transformers import AutoProcessor

    for boundary, prefix in (("", ""), (_BOUNDARY, ""), (_BOUNDARY, " ")):
        _processor(model, folder, n_prefix, boundary, prefix, progress).save_pretrained(folder)
        processor = AutoProcessor.from_pretrained(folder)  # what others will read, not what was meant
        if _renders_the_same(model, processor):
            return processor
    raise SensoriumError(
        "tokenizer", "transformers makes other ids of a conversation than those the model was trained on.",
        f"{_OURS}: asked in other ids, the model would answer otherwise.",
    )  # fmt: skip


def _processor(
    model: MultimodalModel, folder: Path, n_prefix: int, boundary: str, prefix: str, progress: ProgressCallback | None
) -> Any:
    from transformers import AutoImageProcessor, LlavaProcessor

    tokenizer = model.config.language.tokenizer(progress)
    _add_tokens(tokenizer, model.tokenizer.convert_ids_to_tokens(list(range(len(tokenizer), len(model.tokenizer)))))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = chat_template(tokenizer.get_chat_template(), boundary, prefix)
    if boundary:
        tokenizer = _split_at(tokenizer, boundary)
    return LlavaProcessor(
        AutoImageProcessor.from_pretrained(folder), tokenizer, patch_size=model.vision.patch_size, image_token=SLOT,
        chat_template=tokenizer.chat_template, num_additional_image_tokens=n_prefix,
        vision_feature_select_strategy="default" if n_prefix else "full",
    )  # fmt: skip


def _split_at(tokenizer: Any, boundary: str) -> Any:
    """The tokenizer with that boundary, as transformers' generic class: others build their rules anew when read."""
    from tokenizers import Tokenizer, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    rules = [pre_tokenizers.Split(boundary, "removed"), backend.pre_tokenizer]
    backend.pre_tokenizer = pre_tokenizers.Sequence([rule for rule in rules if rule is not None])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=tokenizer.chat_template, clean_up_tokenization_spaces=False,
        model_max_length=tokenizer.model_max_length, **tokenizer.special_tokens_map,
    )  # fmt: skip


def _add_tokens(tokenizer: Any, tokens: list[str]) -> None:
    """Tokens after the last one. Decoding that skips special tokens must keep the marks of grounding in a reply."""
    from tokenizers import AddedToken

    fillings = {SLOT, IMAGE_OPEN, IMAGE_CLOSE}
    for token in tokens:
        is_special = token in fillings or token.startswith("<unused-")
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=is_special)], special_tokens=is_special)


def _renders_the_same(model: MultimodalModel, processor: Any) -> bool:
    """Whether transformers makes our renderer's ids of conversations that begin, end and join as people's do."""
    renderer = Renderer.of(model)
    picture = Image(b"")  # never opened: the renderer counts its slots only
    asked = Conversation((user(picture, "What is in the picture?"),))
    talk = Conversation((user("Look: ", picture, " What is it?"), assistant("A cat, 12 years old."), user("Sure?")))
    for conversation in (asked, talk):
        theirs = processor.apply_chat_template(
            _as_transformers(conversation), add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"][0]
        if list(theirs) != renderer.render(conversation, generate=True).ids:
            return False
    return True


def _as_transformers(conversation: Conversation) -> list[dict[str, Any]]:
    """A conversation as transformers' processors take it, a grey picture in the place of each."""
    grey = Picture.new("RGB", (32, 32), "grey")
    return [
        {"role": message.role, "content": [
            {"type": "text", "text": part.text} if isinstance(part, Text) else {"type": "image", "image": grey}
            for part in message.parts
        ]}
        for message in conversation
    ]  # fmt: skip


def _unlike(setting: str, found: str, wanted: str, mended: str | None) -> SensoriumError:
    """What LLaVA has no place for. mended: how a recipe says it; None: only another part would help."""
    remedy = f"{_OURS}, or train with `{mended}`." if mended else f"{_OURS}, or train with another part."
    return SensoriumError(setting, f"{found}; LLaVA has {wanted}.", remedy)

"""`sensorium info`: what a model or a recipe is made of, and what it costs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli import exported, picture
from sensorium.cli.options import ApiKeyOption, CompressorOption, VisualTokens
from sensorium.cli.terminal import Preparation, emit, emit_json, size_of
from sensorium.cli.video import (
    SUFFIXES,
    Frames,
    MaxBytes,
    MaxPixels,
    MaxSeconds,
    SamplingOf,
    Subtitles,
    Watching,
    cost,
    cost_lines,
    draw_frames,
    size_of_frame,
)
from sensorium.engine.names import RUN_BY, find_model
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.engine.names import Named
    from sensorium.model.fewer import Fewer
    from sensorium.model.summary import ModelSummary
    from sensorium.training.recipe import Recipe

RECIPES = (".yaml", ".yml")


def info(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RECIPE|FILE",
            help="`default`, a model folder, hub id or address; a recipe; or a picture or video, as `default` sees it.",
        ),
    ] = "default",
    size: Annotated[str, typer.Option(metavar="WIDTHxHEIGHT", help="A picture's size in pixels.")] = "640x480",
    image: Annotated[
        Path | None, typer.Option("--image", "-i", help="Tell what this picture costs with the model, and no more.")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Tell what this video costs with the model, and nothing else.")
    ] = None,
    frames: Frames = None,
    sampling: SamplingOf = None,
    subtitles: Subtitles = None,
    max_pixels: MaxPixels = None,
    max_seconds: MaxSeconds = None,
    max_bytes: MaxBytes = None,
    visual_tokens: VisualTokens = None,
    compressor: CompressorOption = None,
    draw: Annotated[Path | None, typer.Option(help="Draw the video's frames with their times into a picture.")] = None,
    api_key: ApiKeyOption = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object for programs.")] = False,
) -> None:
    """Show what a model or a recipe is made of, and what it costs; or what a file costs before it is looked at.

    Parts and licences, parameters of each module, visual tokens of a picture, memory; of a folder that
    `export gguf` wrote, its files. For a recipe also what trains in each stage, and the memory of weights,
    gradients and optimizer (activations come on top and depend on the batch).

    \b
    Examples:
      sensorium info
      sensorium info recipes/default.yaml --size 1024x768
      sensorium info runs/mine --json
      sensorium info photo.jpg --visual-tokens 16
      sensorium info clip.mp4 --frames 32 --visual-tokens 16 --compressor frames
      sensorium info clip.mp4 --frames 8 --sampling difference --draw frames.png
      sensorium info HuggingFaceTB/SmolVLM-256M-Instruct --video clip.mp4 --sampling fps:0.5
    """
    if image is None and video is None and Path(model).suffix.lower() in SUFFIXES:
        model, video = "default", Path(model)
    if image is None and video is None and picture.is_picture(model):
        model, image = "default", Path(model)
    width, height = _size(size) if image is None else _size_of_file(image, video)
    fewer = _fewer(visual_tokens, compressor)
    watching = Watching(frames, sampling, subtitles, max_pixels, max_seconds, max_bytes)
    clip = None if video is None else watching.of(video)
    if draw is not None:
        picture.require_drawable(draw)
    if clip is None:
        watching.require_unused()
        if draw is not None:
            raise SensoriumError("--draw", "is about a video, and there is none.", "Add --video PATH.")
    else:
        # A file that cannot be read is found out before the model is looked at; and a frame's size may decide its cost.
        width, height = size_of_frame(clip, watching.limits)
    with Preparation() as preparation:
        is_ours = Path(model).suffix.lower() in RECIPES or (found := find_model(model)).kind == "sensorium"
        if is_ours:
            content = _collect(model, width, height, fewer, preparation)
        elif found.kind == "gguf":
            content = exported.collect(found, (width, height), fewer)
        else:
            if fewer is not None:
                from sensorium.model.fewer import require_engine

                require_engine(fewer, RUN_BY[found.kind][0])
            content = _card(found, (width, height), api_key, preparation)
    if clip is not None:
        seen = cost(clip, content["visual_tokens"], content["context_length"], watching.limits)
        if draw is not None:
            seen |= draw_frames(clip, draw, watching.limits)
        if json:
            emit_json(seen)
        else:
            emit("\n".join(cost_lines(seen)))
    elif image is not None:
        costs = picture.cost(image, (width, height), content)
        if json:
            emit_json(costs)
        else:
            emit("\n".join(picture.cost_lines(costs, content)))
    elif json:
        emit_json(content)
    elif is_ours:
        _print(content)
    elif found.kind == "gguf":
        emit("\n".join(exported.lines(content)))
    else:
        _print_card(content)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text.lower())
    if not match or not all(int(side) for side in match.groups()):
        raise SensoriumError("--size", f"`{text}` is no picture size.", "Write it as 640x480.")
    from sensorium.media.images import require_size

    size = int(match[1]), int(match[2])
    require_size("--size", size)
    return size


def _size_of_file(image: Path, video: Path | None) -> tuple[int, int]:
    from sensorium.media import image_size

    if video is not None:
        raise SensoriumError("--image", "and --video are told one at a time.", "Leave one out.")
    return image_size(image)


def _fewer(visual_tokens: int | None, compressor: str | None) -> Fewer | None:
    """Without importing numpy where nothing is asked for."""
    if visual_tokens is None and compressor is None:
        return None
    from sensorium.model.fewer import fewer_tokens

    return fewer_tokens(visual_tokens, compressor)


def _collect(
    name: str, width: int, height: int, fewer: Fewer | None, progress: Preparation
) -> dict[str, Any]:
    """Everything that is shown, as plain data."""
    if Path(name).suffix.lower() in RECIPES:
        from sensorium.training.recipe import load_recipe

        recipe = load_recipe(Path(name))
        config = recipe.model_at(len(recipe.stages) - 1)
        provenance = {"start": recipe.start.model, "sha256": recipe.start.sha256} if recipe.start else {}
    else:
        from sensorium.model.folder import model_folder

        recipe = None
        folder = model_folder(name)
        from sensorium.model.checkpoint import read_config

        config, content = read_config(folder)
        provenance = content.get("provenance", {})
    from sensorium.model.summary import summarise

    summary = summarise(config, progress)
    found = _described(name, summary, width, height, fewer) | {"provenance": provenance}
    return found | {"stages": _stages(recipe, summary)} if recipe else found


def _card(
    found: Named, size: tuple[int, int], api_key: str | None, progress: Preparation
) -> dict[str, Any]:
    """What a model that is not ours tells of itself; of one that is at hand also its parameters, and what a picture of
    that size takes. No weights are loaded.
    """
    from dataclasses import asdict

    if found.kind == "remote":
        from sensorium.engine.remote.engine import RemoteEngine

        engine = RemoteEngine(found.base_url, found.model, api_key)
        engine.close()
        return asdict(engine.card)
    from sensorium.engine.transformers.engine import card_of_folder
    from sensorium.engine.transformers.folder import count_parameters
    from sensorium.parts.hub import hub_folder

    folder = found.folder or hub_folder(found.name, progress)
    card = card_of_folder(folder, found.name, size)
    return asdict(card) | {"size": list(size), "parameters": {"total": count_parameters(folder)}}


def _described(
    name: str, summary: ModelSummary, width: int, height: int, fewer: Fewer | None
) -> dict[str, Any]:
    from dataclasses import asdict

    import torch

    return {
        "name": name,
        "parts": [asdict(part) for part in summary.parts],
        "parameters": summary.parameters | {"total": summary.total},
        **picture.shown(summary.sight, (width, height), fewer, summary.n_layers),
        "context_length": summary.context_length,
        "memory_bytes": {
            "float32": summary.weight_bytes(torch.float32),
            "bfloat16": summary.weight_bytes(torch.bfloat16),
        },
    }


def _stages(recipe: Recipe, summary: ModelSummary) -> list[dict[str, Any]]:
    """What trains in each stage, and the memory of weights, gradients and optimizer."""
    from sensorium.model.summary import TRAINING_BYTES, summarise, trainable

    rows = []
    frozen_bytes = 2 if recipe.precision == "bfloat16" else 4
    for number, stage in enumerate(recipe.stages):
        config = recipe.model_at(number)
        counts = trainable(config, stage.learning_rates)
        n_trained = sum(counts.values())
        total = summarise(config).total
        # Only the language model's frozen weights change their type with the recipe's precision.
        n_language = summary.parameters["language"] - (counts.get("language", 0) if config.lora is None else 0)
        memory = n_language * frozen_bytes + (total - n_language - n_trained) * 4 + n_trained * TRAINING_BYTES
        rows.append({
            "name": stage.name, "objective": stage.objective, "samples": stage.samples,
            "trainable": counts, "trainable_total": n_trained, "memory_bytes": memory,
        })  # fmt: skip
    return rows


def _print(content: dict[str, Any]) -> None:
    emit(content["name"])
    emit("\nparts")
    for part in content["parts"]:
        emit(f"  {part['role']:<10} {part['name']}  ({part['licence'] or 'licence: see its source'})")
    emit("\nparameters")
    for module, count in content["parameters"].items():
        emit(f"  {module:<12} {count:>14,}")
    emit("\n".join(picture.shown_lines(content)))
    memory = content["memory_bytes"]
    single, half = size_of(memory["float32"]), size_of(memory["bfloat16"])
    emit(f"\nmemory of the weights: {single} in float32, {half} in bfloat16")
    for stage in content.get("stages", []):
        samples = f"{stage['samples']:,} samples" if stage["samples"] else "all samples"
        emit(f"\nstage {stage['name']} ({stage['objective']}, {samples})")
        for module, count in stage["trainable"].items():
            emit(f"  trains {module:<12} {count:>14,}")
        emit(f"  memory with gradients and optimizer, activations aside: {size_of(stage['memory_bytes'])}")
    if content["provenance"]:
        emit("\ngoes on from" if "stages" in content else "\nmade by")
        for key, value in content["provenance"].items():
            emit(f"  {key}: {value}")


def _print_card(content: dict[str, Any]) -> None:
    from sensorium.media.sight import USUAL_PICTURE

    emit(content["name"])
    if "parameters" in content:
        emit(f"\n{content['parameters']['total']:,} parameters")
    emit(f"\ntakes {' and '.join(content['modalities'])}")
    width, height = content.get("size", USUAL_PICTURE)
    told = {"context_length": "tokens of a conversation at most",
            "visual_tokens": f"of them a picture of {width}x{height} takes"}
    for key, meaning in told.items():
        emit(f"  {content[key] or 'not told:'} {meaning}")
    emit(f"\nlicence: {content['licence'] or 'see its source'}")
    for key, value in content["provenance"].items():
        emit(f"  {key}: {value}")

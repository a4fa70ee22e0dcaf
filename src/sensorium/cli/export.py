"""`sensorium export`: trained models as folders for other machines and other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sensorium.cli.terminal import Preparation, emit, emit_json, note

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="Write trained models for other machines and other programs.",
)


@app.command("hf")
def huggingface(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="`default`, a model folder, or a finished run.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write; it must not exist yet.")],
    form: Annotated[
        str, typer.Option("--format", metavar="sensorium|llava", help="Who is to read the folder.")
    ] = "sensorium",
    dtype: Annotated[
        str, typer.Option(metavar="float32|bfloat16|float16", help="Of the weights: exact, or half the space.")
    ] = "float32",
    json: Annotated[bool, typer.Option("--json", help="One JSON object for programs.")] = False,
) -> None:
    """Write a whole Hugging Face folder: weights, configuration, processor, tokenizer, chat template.

    A trained model is small because it only names its vision encoder and language model, which are fetched. The folder
    written here holds them too, adapters merged, and needs no network on the machine it is copied to.

    \b
    sensorium   for `sensorium chat OUT`, anywhere; any model
    llava       for transformers' LlavaForConditionalGeneration and what reads its folders; only models assembled
                as LLaVA is: connector `mlp` of depth 2, a vision tower without tail and fresh norm

    \b
    Examples:
      sensorium export hf default exports/default
      sensorium export hf runs/mine exports/mine --dtype bfloat16
      sensorium export hf runs/my-llava exports/my-llava --format llava

    \b
    --json prints: {"folder": PATH, "format": NAME, "dtype": NAME, "bytes": of all files}
    """
    from sensorium.export import export_huggingface

    with Preparation() as preparation:
        export_huggingface(model, out, form, dtype, preparation)  # type: ignore[arg-type]  # it checks the names
    n_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if json:
        emit_json({"folder": str(out), "format": form, "dtype": dtype, "bytes": n_bytes})
        return
    emit(f"{out}: {n_bytes / 1e6:,.1f} MB")
    note(f"Talk with it: sensorium chat {out}" if form == "sensorium" else f"How to load it: {out / 'README.md'}")


@app.command("gguf")
def gguf(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="`default`, a model folder, or a finished run.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write; it must not exist yet.")],
    quantization: Annotated[
        str, typer.Option(metavar="q8_0|q4_0|f16", help="Of the language model's weights.")
    ] = "q8_0",
    json: Annotated[bool, typer.Option("--json", help="One JSON object for programs.")] = False,
) -> None:
    """Write a model as GGUF files for llama.cpp: the language model, and `mmproj` for what it sees.

    Adapters are merged. The folder runs without torch with `sensorium chat OUT`, and its two GGUF files in any build of
    llama.cpp. Only models with the connector `pixel_shuffle`, a DINOv2 tower with a fresh norm and a language model of
    the architecture `llama` can be written so; the default is one.

    \b
    q8_0   8 bits a weight: hardly to be told from the model itself
    q4_0   4 bits a weight: smaller and faster, somewhat worse
    f16    half precision: the largest, and the same words as the torch engine's almost always

    \b
    Examples:
      sensorium export gguf default exports/default
      sensorium export gguf runs/mine exports/mine --quantization q4_0

    \b
    --json prints: {"folder": PATH, "quantization": NAME, "text": PATH, "mmproj": PATH, "bytes": of all files}
    """
    from sensorium.export.gguf import export_gguf
    from sensorium.model.gguf_folder import GgufFolder

    with Preparation() as preparation:
        export_gguf(model, out, quantization, preparation)  # type: ignore[arg-type]  # it checks the name
    n_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if json:
        found = GgufFolder.read(out)
        emit_json({"folder": str(out), "quantization": quantization, "text": str(found.text),
                   "mmproj": str(found.vision), "bytes": n_bytes})
        return
    emit(f"{out}: {n_bytes / 1e6:,.1f} MB")
    note(f"Talk with it: sensorium chat {out}; in llama.cpp: {out / 'README.md'}")

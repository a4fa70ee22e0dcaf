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

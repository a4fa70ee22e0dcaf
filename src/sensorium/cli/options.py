"""Options that several commands have, said once."""

from __future__ import annotations

from typing import Annotated

import typer

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="`default`, a model folder, a hub id, or a server's address: http://HOST/v1#MODEL."
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        metavar="auto|llamacpp|torch|transformers|remote",
        help="What computes; auto: what runs the model, and of ours llamacpp where it can, else torch.",
    ),
]
ApiKeyOption = Annotated[
    str | None, typer.Option(envvar="OPENAI_API_KEY", show_default=False, help="Of the server, for an address.")
]
VisualTokens = Annotated[
    int | None,
    typer.Option("--visual-tokens", metavar="N", min=1,
                 help="A picture may take so many (of models of ours); as many as the model makes, if left out."),
]
CompressorOption = Annotated[
    str | None,
    typer.Option("--compressor", metavar="pool|tome|visionzip|frames|fastv|…",
                 help="How visual tokens become fewer: pool, if left out; of fastv and pyramiddrop N is an average."),
]

"""From a model's name to an engine, its parts fetched and converted when this is their first use."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, get_args

from sensorium.engine.base import Engine
from sensorium.engine.llamacpp.library import library
from sensorium.engine.llamacpp.threads import idle_cores
from sensorium.engine.names import RUN_BY, Named, find_model
from sensorium.errors import SensoriumError, did_you_mean
from sensorium.model.compressors import Compression
from sensorium.model.dropping import DroppingBudget
from sensorium.model.fewer import Fewer, fewer_tokens, require_engine
from sensorium.model.folder import DEFAULT
from sensorium.model.gguf_folder import NotInLlamaCpp
from sensorium.parts.cache import derived
from sensorium.parts.hub import hub_folder
from sensorium.parts.package import sha256_of
from sensorium.progress import ProgressCallback

EngineName = Literal["auto", "llamacpp", "torch", "transformers", "remote"]
Quantization = Literal["f16", "q8_0", "q4_0"]
Precision = Literal["float32", "bfloat16"]


def load_engine(
    name: str | Path = DEFAULT,
    progress: ProgressCallback | None = None,
    precision: Precision = "float32",
    engine: EngineName | None = None,
    quantization: Quantization = "q8_0",
    slots: int = 1,
    context_length: int | None = None,
    api_key: str | None = None,
    shelf_mb: float = 256,
    patience: tuple[float, int] | None = None,
    visual_tokens: int | None = None,
    compressor: str | None = None,
) -> Engine:
    """The engine of a model: `default`, a model folder, a finished run, what `sensorium export gguf` wrote, a folder or
    hub id of transformers', or the address of a server (see `find_model`).

    engine: of our own models, `torch` is the reference; `llamacpp` runs them as `export gguf` writes them, several
    times faster on processors, written into the cache at its first use; `auto` is llamacpp where it can be, else torch.
    None: torch, but for folders that only llamacpp runs. Other models have one engine, `transformers` or `remote`.
    precision: of torch and transformers; quantization, slots, context_length, shelf_mb: of llamacpp, see
    LlamaCppEngine; api_key, patience (seconds of silence, tries after the first): of a server. visual_tokens: that a
    picture may take, of our own models; compressor: how they become fewer, see `fewer_tokens`.
    Raises SensoriumError when there is no such model, a part of it cannot be had, or the engine cannot run it.
    """
    if engine is not None and engine not in get_args(EngineName):
        raise SensoriumError("engine", f"`{engine}` is not known.", did_you_mean(engine, get_args(EngineName)))
    if quantization not in get_args(Quantization):
        remedy = did_you_mean(quantization, get_args(Quantization))
        raise SensoriumError("quantization", f"`{quantization}` is not known.", remedy)
    fewer = fewer_tokens(visual_tokens, compressor)
    found = find_model(name)
    if engine not in (None, "auto"):
        found.require(engine)
    engine = _able(fewer, found, engine)
    compression = fewer if isinstance(fewer, Compression) else None
    if found.kind == "remote":
        return _remote(found, api_key, patience)
    folder = found.folder or hub_folder(found.name, progress)
    if found.kind in ("transformers", "hub"):
        return _transformers(folder, found.name, precision)
    if found.kind == "gguf":
        return _llamacpp(folder, str(name), slots, context_length, shelf_mb, compression)
    if engine == "llamacpp" or (engine == "auto" and _has_llamacpp()):
        try:
            threads = idle_cores()  # before exporting makes this machine busy
            files = exported(folder, quantization, progress)
            return _llamacpp(files, str(name), slots, context_length, shelf_mb, compression, threads)
        except NotInLlamaCpp:
            if engine == "llamacpp":
                raise
    return _torch(folder, str(name), progress, precision, fewer)


def _able(fewer: Fewer | None, found: Named, engine: EngineName | None) -> EngineName | None:
    """The engine asked for, or the only one that can see so. Raises SensoriumError where none can."""
    if fewer is None:
        return engine
    able = [name for name in RUN_BY[found.kind] if name in fewer.engines]
    if engine not in (None, "auto") or not able:
        require_engine(fewer, engine if engine not in (None, "auto") else RUN_BY[found.kind][0])
    return able[0] if engine == "auto" and len(able) == 1 else engine  # type: ignore[return-value]


def exported(folder: Path, quantization: Quantization, progress: ProgressCallback | None = None) -> Path:
    """The cached GGUF folder of a model folder, written once for each content of its two files.

    Raises NotInLlamaCpp when llama.cpp has no graph for the model.
    """
    digest = hashlib.sha256()
    try:
        for file in ("config.json", "trained.safetensors"):
            digest.update(bytes.fromhex(sha256_of(folder / file)))
    except OSError:
        _fetch_parts(folder, None)  # which says what is wrong with config.json, if that is it
        remedy = "The model is damaged; fetch it again."
        raise SensoriumError(folder / file, "cannot be read.", remedy) from None

    def build(scratch: Path) -> None:
        from sensorium.export.gguf import write_gguf

        _fetch_parts(folder, progress)
        write_gguf(folder, scratch, folder.name, quantization, progress)

    return derived(f"gguf-2-{quantization}", digest.hexdigest(), build)


def _has_llamacpp() -> bool:
    """Whether llama.cpp is here and fit for use, and nothing here is faster."""
    try:
        library()
    except SensoriumError:
        return False
    return not _has_gpu()


def _has_gpu() -> bool:
    """Without importing torch, which takes seconds that llama.cpp does not need."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _llamacpp(
    folder: Path, name: str, slots: int, context_length: int | None, shelf_mb: float, compression: Compression | None,
    threads: int | None = None,
) -> Engine:
    from sensorium.engine.llamacpp.engine import LlamaCppEngine

    return LlamaCppEngine(folder, name, slots, threads, context_length, shelf_mb, compression)


def _torch(
    folder: Path, name: str, progress: ProgressCallback | None, precision: Precision, fewer: Fewer | None
) -> Engine:
    from sensorium.engine.torch import TorchEngine
    from sensorium.model.quiet import quietly

    _fetch_parts(folder, progress)
    with quietly():
        if isinstance(fewer, DroppingBudget):
            return TorchEngine.load(folder, name, progress, precision, dropping=fewer)
        return TorchEngine.load(folder, name, progress, precision, fewer)


def _transformers(folder: Path, name: str, precision: Precision) -> Engine:
    from sensorium.engine.transformers.engine import TransformersEngine

    return TransformersEngine.load(folder, name, precision)


def _remote(found: Named, api_key: str | None, patience: tuple[float, int] | None = None) -> Engine:
    from sensorium.engine.remote.engine import RemoteEngine

    if patience is None:
        return RemoteEngine(found.base_url, found.model, api_key)
    return RemoteEngine(found.base_url, found.model, api_key, timeout_s=patience[0], retries=patience[1])


def _fetch_parts(folder: Path, progress: ProgressCallback | None) -> None:
    """Both downloads first, so that a missing network is found before slow conversions."""
    from sensorium.model.checkpoint import read_config
    from sensorium.parts import locate

    config, _ = read_config(folder)
    for part in (config.vision.part, config.language.part):
        locate(part, progress)

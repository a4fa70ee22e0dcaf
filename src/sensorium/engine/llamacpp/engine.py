"""An exported model in llama.cpp: prompts by our renderer, pictures by our rule, tokens chosen by our sampler.

Only the arithmetic is llama.cpp's. So a reply differs from the torch engine's where rounding tips a choice, and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from copy import copy
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np
from PIL.Image import Image as PILImage

from sensorium.conversation import Conversation, Image
from sensorium.engine.base import GREEDY, SEES, Card, Delta, Reply, Sampling
from sensorium.engine.grammar import Grammars
from sensorium.engine.llamacpp.decoder import Decoder, Job
from sensorium.engine.llamacpp.prompt import Array, Prompt
from sensorium.engine.llamacpp.threads import idle_cores
from sensorium.engine.llamacpp.vision import PictureEncoder
from sensorium.engine.llamacpp.words import WordVectors
from sensorium.engine.prompting import deltas, make_samplers, render_prompt, scored_ids
from sensorium.engine.seeing import Remembered, Run, about, make_renderer, runs_of
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.media.fits import squash
from sensorium.media.views import Size, Views
from sensorium.media.watching import Watcher
from sensorium.model.compressors import Compression
from sensorium.model.gguf_folder import GgufFolder
from sensorium.rendering import Rendered
from sensorium.rendering.renderer import Slot


class LlamaCppEngine:
    """folder: as `sensorium export gguf` writes it.

    slots: replies that are written at once, further ones wait. One alone is written the same each time; several round a
    little otherwise in other company. context_length: of a reply with its prompt, the model's if not given;
    llama.cpp takes the memory for all slots at once. threads: of llama.cpp, by default `idle_cores`. shelf_mb: of what
    was read and has left its slot to another prompt, and need not be read again; of the embedded default a megabyte
    holds 43 tokens, and a picture with its question takes 100. compression: of pictures' visual tokens.
    Raises SensoriumError when llama.cpp is missing or cannot load the folder.
    """

    def __init__(
        self,
        folder: Path,
        name: str | None = None,
        slots: int = 1,
        threads: int | None = None,
        context_length: int | None = None,
        shelf_mb: float = 256,
        compression: Compression | None = None,
    ) -> None:
        self._files = files = GgufFolder.read(folder)
        threads = threads or idle_cores()
        self._sight = sight = files.sight
        self.compression = compression
        self.renderer = make_renderer(files.tokenizer(), sight, compression)
        self._grammars = Grammars(self.renderer)
        length = min(context_length or files.context_length, files.context_length)
        made = about(files.provenance | {"quantization": files.quantization}, compression)
        self.card = Card(name or folder.name, SEES, length, self.renderer.visual_tokens, files.licence, made)
        self._decoder = Decoder(files.text, length, slots, threads, shelf_mb)
        try:
            self._encoder = PictureEncoder(files.vision, self._decoder.model, self._decoder.width, threads)
        except SensoriumError:
            self._decoder.close()
            raise
        self._words = WordVectors(files.text)
        self._pictures: Remembered[tuple[Array, Views]] = Remembered()
        self._compressed: Remembered[list[Array]] = Remembered()
        self.watcher = Watcher(self._features)
        self._looking = Lock()
        self._slots = slots

    def compressing(self, compression: Compression | None) -> LlamaCppEngine:
        """The same model in the same memory, its pictures compressed so, or not at all; to be closed with this one."""
        other = copy(self)
        other.compression, other._pictures, other._compressed = compression, Remembered(), Remembered()
        other.renderer = make_renderer(self.renderer.tokenizer, self._sight, compression)
        other.card = replace(self.card, visual_tokens=other.renderer.visual_tokens,
                             provenance=about(self.card.provenance, compression))  # fmt: skip
        return other

    def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Iterator[Delta]:
        """The reply, piece by piece. Closing the iterator frees its slot at once."""
        job = self._job(conversation, sampling)
        with closing(self._decoder.reply(job)) as tokens:  # type: ignore[type-var]
            for delta in deltas(tokens, self.renderer, sampling):
                yield replace(delta, n_prompt=len(job.prompt), n_cached=job.cached) if delta.finish else delta

    def answer(self, conversations: Sequence[Conversation], sampling: Sampling = GREEDY) -> list[Reply]:
        """Replies in the order of the conversations, as many at once as there are slots."""
        with ThreadPoolExecutor(self._slots) as pool:
            return list(pool.map(lambda conversation: self._answer(conversation, sampling), conversations))

    def _answer(self, conversation: Conversation, sampling: Sampling) -> Reply:
        return Reply.of(list(self.stream(conversation, sampling)))

    def score(self, conversation: Conversation, candidates: Sequence[str]) -> list[float]:
        """log P of each candidate as the next reply; the prompt is read once."""
        if not candidates:
            return []
        tails = tuple(tuple(scored_ids(self.renderer, candidate)) for candidate in candidates)
        prompt = self._prompt(self._rendered(conversation, max(map(len, tails))))
        return self._decoder.score(Job(prompt, never=self.renderer.slot_id, tails=tails))

    def count(self, candidate: str) -> int:
        """How many tokens `score` sums over for a candidate."""
        return len(scored_ids(self.renderer, candidate))

    def visual_tokens(self, shown: Image | Size) -> int:
        """How many tokens a picture takes, by its header, or one of that size."""
        return self.renderer.tokens_of(shown)

    def load(self) -> tuple[int, int]:
        """Replies being written, and replies waiting for a slot."""
        return self._decoder.load()

    def close(self) -> None:
        """End running replies and give the memory back; the engine answers nothing afterwards."""
        with self._looking:
            self._encoder.close()
        self._decoder.close()

    def _job(self, conversation: Conversation, sampling: Sampling) -> Job:
        rendered = self._rendered(conversation, sampling.max_new_tokens)
        [sampler] = make_samplers(self._grammars, sampling, [(rendered.ids, rendered.images)])
        prompt, stop_ids = self._prompt(rendered), frozenset(self.renderer.stop_ids)
        return Job(prompt, sampler.choose, sampling.max_new_tokens, stop_ids, self.renderer.slot_id)

    def _rendered(self, conversation: Conversation, max_new_tokens: int) -> Rendered:
        return render_prompt(self.renderer, self.watcher, conversation, max_new_tokens, self.card)

    def _prompt(self, rendered: Rendered) -> Prompt:
        shown = self._shown(rendered.slots)
        pieces = (self._pieces(slot, *one) for slot, one in zip(rendered.slots, shown, strict=True))
        return Prompt.of(rendered.ids, [piece for of_slot in pieces for piece in of_slot])

    def _pieces(self, slot: Slot, whose: str, vectors: Array) -> Iterator[tuple[int, str, Array]]:
        """(where it begins, whose it is, vectors) of each stretch of a picture's visual tokens."""
        before = 0
        if len(vectors) != (expected := sum(length for _, length in slot.runs)):
            what = f"makes {len(vectors)} visual tokens of a picture, and sensorium.json says {expected}."
            raise SensoriumError(self._files.vision, what, "Export the model again.")
        for start, length in slot.runs:
            yield start, f"{whose} {before}", vectors[before : before + length]
            before += length

    def _shown(self, slots: Sequence[Slot]) -> list[tuple[str, Array]]:
        """Of each slot what tells its visual tokens from others, and themselves, [t', d], compressed if wanted."""
        found = []
        how = "" if self.compression is None else f"{self.compression.spec} "  # others may stand in the same memory
        for run in runs_of(slots, self.compression):
            kept = self._compressed.get(run.key, lambda run=run: self._compress(run))  # type: ignore[misc]
            found += [(f"{how}{run.key} {number}", vectors) for number, vectors in enumerate(kept)]
        return found

    def _compress(self, run: Run) -> list[Array]:
        if self.compression is None:
            return [self._visual(image) for image in run.images]
        ids = self.renderer.encode_text(run.question)
        question = self._words.mean(ids) if ids else None
        digests = [image.digest for image in run.images]
        return self.compression.apply([self._encoded(image) for image in run.images], question, digests)

    def _visual(self, image: Image) -> Array:
        """Visual tokens [t', d] of a picture as the prompt shows them, none left out."""
        tokens, views = self._encoded(image)
        return tokens if views.is_plain else tokens[list(views.order)]

    def _encoded(self, image: Image) -> tuple[Array, Views]:
        """Visual tokens [views * n_tokens, d] of all views of a picture, remembered by its content."""
        with self._looking:
            return self._pictures.get(image.digest, lambda: self._encode(image))

    def _encode(self, image: Image) -> tuple[Array, Views]:
        picture = open_image(image)
        views = self._sight.views(picture.size)
        return np.concatenate([self._encoder(np.asarray(view)) for view in views.cut(picture)]), views

    def _features(self, pictures: Sequence[PILImage]) -> Array:
        """[n, d]: the visual tokens of each picture on average, of length 1."""
        with self._looking:
            square = squash(self._files.image_size)
            rows = np.stack([self._encoder(np.asarray(square.paint(of))).mean(axis=0) for of in pictures])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


"""An exported model in llama.cpp: prompts by our renderer, pictures by our rule, tokens chosen by our sampler.

Only the arithmetic is llama.cpp's. So a reply differs from the torch engine's where rounding tips a choice, and nowhere
else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
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
from sensorium.engine.prompting import deltas, make_samplers, render_prompt, scored_ids
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.media.square import to_square
from sensorium.media.watching import Watcher
from sensorium.model.gguf_folder import GgufFolder
from sensorium.rendering.renderer import Renderer

REMEMBERED_PICTURES = 256  # a video of so many frames is encoded once


class LlamaCppEngine:
    """folder: as `sensorium export gguf` writes it.

    slots: replies that are written at once, further ones wait. One alone is written the same each time; several round a
    little otherwise in other company. context_length: of a reply with its prompt, the model's if not given; llama.cpp
    takes the memory for all slots at once. threads: of llama.cpp, by default `idle_cores`.
    Raises SensoriumError when llama.cpp is missing or cannot load the folder.
    """

    def __init__(
        self,
        folder: Path,
        name: str | None = None,
        slots: int = 1,
        threads: int | None = None,
        context_length: int | None = None,
    ) -> None:
        self._files = files = GgufFolder.read(folder)
        threads = threads or idle_cores()
        self.renderer = Renderer(files.tokenizer(), files.visual_tokens)
        self._grammars = Grammars(self.renderer)
        length = min(context_length or files.context_length, files.context_length)
        self.card = Card(name or folder.name, SEES, length, files.visual_tokens, files.licence,
                         files.provenance | {"quantization": files.quantization})
        self._decoder = Decoder(files.text, length, slots, threads)
        try:
            self._encoder = PictureEncoder(files.vision, self._decoder.model, self._decoder.width, threads)
        except SensoriumError:
            self._decoder.close()
            raise
        self._pictures: OrderedDict[str, Array] = OrderedDict()
        self.watcher = Watcher(self._features)
        self._looking = Lock()
        self._is_closed = False
        self._slots = slots

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
        prompt = self._prompt(conversation, max(map(len, tails)))
        return self._decoder.score(Job(prompt, never=self.renderer.slot_id, tails=tails))

    def count(self, candidate: str) -> int:
        """How many tokens `score` sums over for a candidate."""
        return len(scored_ids(self.renderer, candidate))

    def load(self) -> tuple[int, int]:
        """Replies being written, and replies waiting for a slot."""
        return self._decoder.load()

    def close(self) -> None:
        """End running replies and give the memory back; the engine answers nothing afterwards."""
        with self._looking:
            if not self._is_closed:
                self._is_closed = True
                self._encoder.close()
        self._decoder.close()

    def _job(self, conversation: Conversation, sampling: Sampling) -> Job:
        [sampler] = make_samplers(self._grammars, sampling)
        prompt, stop_ids = self._prompt(conversation, sampling.max_new_tokens), frozenset(self.renderer.stop_ids)
        return Job(prompt, sampler.choose, sampling.max_new_tokens, stop_ids, self.renderer.slot_id)

    def _prompt(self, conversation: Conversation, max_new_tokens: int) -> Prompt:
        rendered = render_prompt(self.renderer, self.watcher, conversation, max_new_tokens, self.card)
        pictures = [(slot.start, slot.image.digest, self._visual(slot.image)) for slot in rendered.slots]
        for (_, _, vectors), slot in zip(pictures, rendered.slots, strict=True):
            if len(vectors) != slot.length:
                what = f"makes {len(vectors)} visual tokens of a picture, and sensorium.json says {slot.length}."
                raise SensoriumError(self._files.vision, what, "Export the model again.")
        return Prompt.of(rendered.ids, pictures)

    def _visual(self, image: Image) -> Array:
        """Visual tokens [t', d] of a picture, remembered by its content."""
        with self._looking:
            if self._is_closed:
                raise RuntimeError("the engine is closed.")
            key = image.digest
            if key not in self._pictures:
                self._pictures[key] = self._encoder(self._small(open_image(image)))
                if len(self._pictures) > REMEMBERED_PICTURES:
                    self._pictures.popitem(last=False)
            self._pictures.move_to_end(key)
            return self._pictures[key]

    def _features(self, pictures: Sequence[PILImage]) -> Array:
        """[n, d]: the visual tokens of each picture on average, of length 1."""
        with self._looking:
            if self._is_closed:
                raise RuntimeError("the engine is closed.")
            rows = np.stack([self._encoder(self._small(picture)).mean(axis=0) for picture in pictures])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def _small(self, picture: PILImage) -> Array:
        return np.asarray(to_square(picture, self._files.image_size, self._files.fit, self._files.mean))


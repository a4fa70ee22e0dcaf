"""Plain text chats that keep a language model's speech while it learns to see.

Self-distillation: the model is asked everyday questions before any training, and its own answers become a small share
of the instruct stage's data. Nothing is taught, so nothing is forgotten; no corpus with a licence of its own is needed.

Knows nothing of engines: whoever calls brings `answer`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import yaml

from sensorium.conversation import Conversation, user
from sensorium.errors import SensoriumError
from sensorium.files import write_whole

Answer = Callable[[Sequence[Conversation]], list[str]]


def speech_prompts(count: int, seed: int = 0) -> list[str]:
    """`count` different prompts: all fixed questions first, then templates filled with topics, in a seeded order.

    Raises SensoriumError when that many different ones cannot be made.
    """
    tree = yaml.safe_load(files("sensorium.data").joinpath("speech.yaml").read_text(encoding="utf-8"))
    filled = [template.format(topic=topic) for template in tree["templates"] for topic in tree["topics"]]
    order = np.random.default_rng(seed).permutation(len(filled))
    prompts = [*tree["questions"], *(filled[i] for i in order)]
    if not 1 <= count <= len(prompts):
        raise SensoriumError("count", f"{count} is not between 1 and {len(prompts)}, the number of different prompts.")
    return prompts[:count]


def write_speech(out: Path, answer: Answer, count: int = 400, seed: int = 0) -> int:
    """Ask the prompts and write one conversation a line, as the scenes builder's `text_chats` wants them.

    Replies that do not end by themselves or repeat a line are left out: a loop is not speech worth keeping.
    Returns how many were kept.
    """
    prompts = speech_prompts(count, seed)
    replies = answer([Conversation((user(prompt),)) for prompt in prompts])
    rows: list[str] = []
    for prompt, reply in zip(prompts, replies, strict=True):
        if _is_speech(reply):
            messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply.strip()}]
            row = {"id": f"text-{len(rows):05d}", "scene": None, "task": "text", "messages": messages}
            rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    write_whole(out, "".join(rows))
    return len(rows)


def _is_speech(reply: str) -> bool:
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    return bool(lines) and len(set(lines)) == len(lines)

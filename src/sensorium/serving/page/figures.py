"""What a reply took, as a small table: tokens, speed, time to the first word, what pictures and frames cost."""

from __future__ import annotations

import html

from sensorium.conversation import Image, Video
from sensorium.engine import Card
from sensorium.serving.page.answering import Answer
from sensorium.serving.page.words import say
from sensorium.serving.viewing import View


def figures(answer: Answer | None, card: Card, language: str) -> str:
    """HTML; pictures and frames are those of the whole conversation."""
    head = f"<h2>{html.escape(say(language, 'last_reply'))}</h2>"
    if answer is None or answer.last is None:
        return f"{head}<p>{html.escape(say(language, 'nothing_yet'))}</p>"
    last = answer.last

    def tokens(n: int) -> str:
        return say(language, "tokens", n=f"{n:,}")

    lines = [("reply_tokens", tokens(last.n_tokens))]
    if (speed := answer.tokens_per_s) is not None:
        lines.append(("speed", say(language, "per_second", n=f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}")))
    if answer.first_token_s is not None:
        lines.append(("first_token", say(language, "seconds", n=f"{answer.first_token_s:.2f}")))
    if last.n_prompt:  # known at the end of a reply
        lines.append(("prompt_tokens", f"{last.n_prompt + last.n_tokens:,} / {tokens(card.context_length)}"))
        for key, kind in (("picture_tokens", Image), ("frame_tokens", Video)):
            if costs := _costs(answer.view, kind):
                lines.append((key, _sum(costs, language)))
        lines.append(("cached_tokens", tokens(last.n_cached)))
    rows = "".join(
        f'<dt>{html.escape(say(language, key))}</dt><dd data-figure="{key}">{html.escape(value)}</dd>'
        for key, value in lines
    )
    return f"{head}<dl>{rows}</dl>"


def _costs(view: View | None, kind: type[Image] | type[Video]) -> list[int]:
    """Visual tokens of each picture, or of each frame."""
    shown = view.shown if view else ()
    return [tokens for one in shown if isinstance(one.part, kind) for tokens in one.visual_tokens]


def _sum(costs: list[int], language: str) -> str:
    if len(set(costs)) == 1:
        return say(language, "pictures_cost", n=f"{sum(costs):,}", pictures=len(costs), visual=costs[0])
    return say(language, "tokens", n=f"{sum(costs):,}")

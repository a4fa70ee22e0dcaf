"""What a reply took, as a small table: tokens, speed, time to the first word, what the pictures cost."""

from __future__ import annotations

import html

from sensorium.engine import Card
from sensorium.serving.page.answering import Answer
from sensorium.serving.page.words import say


def figures(answer: Answer | None, n_pictures: int, card: Card, language: str) -> str:
    """HTML; n_pictures: of the whole conversation, each of which costs `card.visual_tokens`."""
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
        if n_pictures:
            cost = {"n": n_pictures * card.visual_tokens, "pictures": n_pictures, "visual": card.visual_tokens}
            lines.append(("picture_tokens", say(language, "pictures_cost", **cost)))
        lines.append(("cached_tokens", tokens(last.n_cached)))
    rows = "".join(
        f'<dt>{html.escape(say(language, key))}</dt><dd data-figure="{key}">{html.escape(value)}</dd>'
        for key, value in lines
    )
    return f"{head}<dl>{rows}</dl>"

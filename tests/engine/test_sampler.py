"""From logits to tokens by the rules, and from tokens to text without half characters or stop strings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.engine import Sampling
from sensorium.engine.sampler import TextStream, TokenSampler
from sensorium.errors import SensoriumError

LOGITS = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))


def _drawn(n: int = 2000, **options: object) -> list[float]:
    sampler = TokenSampler(Sampling(**options))
    counts = [0] * 4
    for _ in range(n):
        counts[sampler.choose(LOGITS, []).id] += 1
    return [count / n for count in counts]


def test_temperature_zero_takes_the_most_likely():
    assert _drawn(5) == [1, 0, 0, 0]


def test_temperature_one_draws_by_the_probabilities():
    assert _drawn(temperature=1.0) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.04)


def test_temperature_half_squares_the_probabilities():
    squares = np.array([0.25, 0.09, 0.0225, 0.0025])
    assert _drawn(temperature=0.5) == pytest.approx((squares / squares.sum()).tolist(), abs=0.04)


def test_a_temperature_near_zero_is_greedy_and_does_not_overflow():
    assert _drawn(20, temperature=1e-40) == [1, 0, 0, 0]


def test_top_k_keeps_the_k_most_likely():
    assert _drawn(temperature=1.0, top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=0.04)
    assert _drawn(50, temperature=1.0, top_k=1) == [1, 0, 0, 0]
    assert _drawn(temperature=1.0, top_k=99) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.04)


def test_top_p_keeps_the_fewest_that_reach_p():
    # 0.5 + 0.3 = 0.8 first reaches 0.6; 0.5 alone reaches 0.5.
    assert _drawn(temperature=1.0, top_p=0.6) == pytest.approx([0.625, 0.375, 0, 0], abs=0.04)
    assert _drawn(50, temperature=1.0, top_p=0.45) == [1, 0, 0, 0]
    assert min(_drawn(temperature=1.0, top_p=1.0)) > 0


def test_the_same_seed_draws_the_same_and_another_seed_does_not():
    def line(seed: int) -> list[int]:
        sampler = TokenSampler(Sampling(temperature=1.0, seed=seed))
        return [sampler.choose(LOGITS, []).id for _ in range(40)]

    assert line(1) == line(1) != line(2)


def test_the_global_random_state_is_not_touched():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    _drawn(10, temperature=1.0, seed=3)
    assert (np.random.get_state()[1] == before).all()


def test_repetition_penalty_divides_positive_and_multiplies_negative_scores():
    logits = np.array([2.0, 1.5, -1.0, -1.2])
    sampler = TokenSampler(Sampling(repetition_penalty=2.0))
    assert sampler.choose(logits, []).id == 0
    assert sampler.choose(logits, [0, 0]).id == 1  # 2.0 / 2 < 1.5
    assert sampler.choose(np.array([-1.0, -1.5]), [0]).id == 1  # -1.0 * 2 < -1.5
    assert logits.tolist() == pytest.approx([2.0, 1.5, -1.0, -1.2])  # the caller's array stays


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"), ({"temperature": -1.0}, "temperature"), ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"), ({"top_k": -1}, "top_k"), ({"repetition_penalty": 0.5}, "repetition_penalty"),
        ({"temperature": float("nan")}, "temperature"), ({"stop": ("a", "")}, "stop"),
    ],
)
def test_impossible_sampling_is_refused(options, field):
    with pytest.raises(SensoriumError, match=f"sampling.{field}"):
        Sampling(**options)


def _by_bytes(ids: list[int]) -> str:
    """A tokenizer whose tokens are single bytes: the hardest case for characters of several bytes."""
    return bytes(ids).decode(errors="replace")


def _stream(text: str, *stop: str) -> tuple[list[str], bool]:
    stream = TextStream(_by_bytes, stop)
    pieces = []
    for byte in text.encode():
        pieces.append(stream.push(byte))
        if stream.stopped:
            break
    return [*pieces, stream.finish()], stream.stopped


def test_a_character_split_over_tokens_appears_when_it_is_whole():
    pieces, _ = _stream("a🦊é")
    assert pieces == ["a", "", "", "", "🦊", "", "é", ""]


def test_half_a_character_at_the_end_is_not_shown():
    stream = TextStream(_by_bytes, ())
    assert [stream.push(byte) for byte in "ok 🦊".encode()[:-1]] == ["o", "k", " ", "", "", ""]
    assert stream.finish() == ""


def test_a_stop_string_is_held_back_and_removed():
    pieces, stopped = _stream("one STOP two", "STOP")
    assert stopped and "".join(pieces) == "one "
    assert all("S" not in piece for piece in pieces)


def test_the_beginning_of_a_stop_string_that_comes_to_nothing_is_shown():
    pieces, stopped = _stream("STOOP ST", "STOP")
    assert not stopped and "".join(pieces) == "STOOP ST"


def test_the_earliest_stop_string_ends_the_reply():
    assert "".join(_stream("abcdef", "cd", "bcde")[0]) == "ab"  # `cd` is complete before `bcde`
    assert "".join(_stream("aXbYc", "Y", "X")[0]) == "a"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab🦊é\n", max_size=12), st.lists(st.text(alphabet="ab🦊", min_size=1, max_size=3), max_size=3))
def test_pieces_joined_are_the_text_up_to_the_first_stop(text, stop):
    pieces, stopped = _stream(text, *stop)
    joined = "".join(pieces)
    assert "\ufffd" not in joined
    assert stopped == any(s in text for s in stop)
    assert text.startswith(joined)
    assert not any(s in joined for s in stop)
    if not stopped:
        assert joined == text

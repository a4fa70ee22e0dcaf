"""From logits to tokens by the rules, and from tokens to text without half characters or stop strings."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.engine import Sampling
from sensorium.engine.sampler import TextStream, TokenSampler, _fall
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
    assert _drawn(50, temperature=1.0, top_p=1e-300) == [1, 0, 0, 0]
    assert min(_drawn(temperature=1.0, top_p=1.0)) > 0


def test_a_large_vocabulary_is_drawn_from_by_its_probabilities():
    """More than a block of sums; in every third place a token that cannot be, and one that has a tenth of it all."""
    logits = np.full(1000, -np.inf, np.float32)
    logits[[i for i in range(1000) if i % 3]] = 0
    logits[700] = np.log(666 / 9)
    sampler = TokenSampler(Sampling(temperature=1.0))
    drawn = [sampler.choose(logits, []).id for _ in range(3000)]
    assert all(i % 3 for i in drawn)
    assert drawn.count(700) / 3000 == pytest.approx(0.1, abs=0.02)
    assert sum(i < 500 for i in drawn) / 3000 == pytest.approx(0.9 / 2, abs=0.04)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=600).filter(any), st.floats(0, 1, exclude_max=True))
def test_what_u_falls_on_has_a_share_and_is_where_the_running_sum_passes_it(shares, u):
    found = _fall(np.array(shares, np.float32), u)
    total = math.fsum(shares)
    assert shares[found] > 0
    assert math.fsum(shares[:found]) <= u * total * (1 + 1e-9) + 1e-9
    assert math.fsum(shares[: found + 1]) >= u * total * (1 - 1e-9) - 1e-9


def test_log_probabilities_are_those_of_the_model_whatever_the_sampling():
    tokens = [b"a", b"b", b"c", "é".encode()[:1]]
    for options in ({}, {"temperature": 2.0, "top_k": 2}, {"repetition_penalty": 3.0}):
        sampler = TokenSampler(Sampling(logprobs=3, **options), token_bytes=tokens)
        chosen = sampler.choose(LOGITS + 5, [0])
        told = {0: 0.5, 1: 0.3, 2: 0.15, 3: 0.05}
        assert math.exp(chosen.logprob.value) == pytest.approx(told[chosen.id], rel=1e-5)
        assert chosen.logprob.bytes == tokens[chosen.id]
        assert [top.text for top in chosen.logprob.top] == ["a", "b", "c"]
        assert [math.exp(top.value) for top in chosen.logprob.top] == pytest.approx([0.5, 0.3, 0.15], rel=1e-5)
    sampler = TokenSampler(Sampling(logprobs=4), token_bytes=tokens)
    last = sampler.choose(LOGITS, []).logprob.top[3]
    assert (last.text, last.bytes, last.top) == ("\ufffd", b"\xc3", ())
    assert TokenSampler(Sampling(logprobs=0), token_bytes=tokens).choose(LOGITS, []).logprob.top == ()
    assert TokenSampler(Sampling()).choose(LOGITS, []).logprob is None


def test_equal_tokens_are_told_in_their_order():
    sampler = TokenSampler(Sampling(logprobs=2), token_bytes=[b"A", b"B", b"C", b"D", b"E"])
    chosen = sampler.choose(np.zeros(5, np.float32), [])
    assert [top.text for top in chosen.logprob.top] == ["A", "B"] and chosen.logprob.text == "A"


def test_the_same_seed_draws_the_same_and_another_seed_does_not():
    def line(seed: int) -> list[int]:
        sampler = TokenSampler(Sampling(temperature=1.0, seed=seed))
        return [sampler.choose(LOGITS, []).id for _ in range(40)]

    assert line(1) == line(1) != line(2)


def test_what_a_seed_is_mixed_with_decides_all_draws_and_leaves_no_trace_in_them():
    """Of the first draws over 1,000 prompts the mean is 1/2 within 4 standard errors; neighbours do not correlate."""
    asked = Sampling(temperature=1.0, seed=7)
    assert asked.apart(1, 2, "ab") == asked.apart(1, 2, "ab") != asked.apart(1, 2, "ac")
    others = [asked.apart(), asked.apart(12), asked.apart(1, 2), asked.apart(2, 1), asked.apart("1", 2),
              Sampling(temperature=1.0, seed=8).apart(1, 2)]  # fmt: skip
    assert len({one.seed for one in others}) == len(others) and all(0 <= one.seed < 2**63 for one in others)
    draws = np.array([TokenSampler(asked.apart(5, number)).random.random() for number in range(1000)])
    assert abs(draws.mean() - 0.5) < 4 / np.sqrt(12 * 1000)
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 4 / np.sqrt(1000)


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
        ({"temperature": float("nan")}, "temperature"), ({"stop": ("a", "")}, "stop"), ({"seed": -1}, "seed"),
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


def _streamed(decode: Callable[[list[int]], str], ids: list[int]) -> str:
    stream = TextStream(decode, ())
    return "".join([*map(stream.push, ids), stream.finish()])


@pytest.fixture(scope="module")
def broken(smollm2_renderer):
    """Ids of the tokens that are no whole characters."""
    decode = smollm2_renderer.tokenizer.backend_tokenizer.decode
    return [i for i in range(len(smollm2_renderer.tokenizer)) if "\ufffd" in decode([i])]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_pieces_of_any_tokens_joined_are_the_whole_decoded(smollm2_renderer, broken, data):
    """Tokens of bytes among them, so that characters come apart, never become whole, or one begins inside another."""
    some = st.one_of(st.integers(0, len(smollm2_renderer.tokenizer) - 1), *[st.sampled_from(broken)] * 2)
    ids = data.draw(st.lists(some, max_size=80))
    assert _streamed(smollm2_renderer.decode, ids) == smollm2_renderer.decode(ids).rstrip("\ufffd")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*"a🦊é\u0fff ", " cat", "</box>", "\n", "Yes the"]), max_size=60))
def test_pieces_of_a_tokenizer_with_blanks_and_bytes_joined_are_the_whole(sentencepiece_renderer, words):
    """Each word encoded apart, as a model may say it: blanks before words, runs of bytes, marks in between."""
    renderer = sentencepiece_renderer
    ids = [i for word in words for i in ([renderer.marks[word]] if word in renderer.marks else
                                         renderer.encode_text(word))]
    assert _streamed(renderer.decode, ids) == renderer.decode(ids)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_broken_reply_of_such_a_tokenizer_loses_nothing_that_is_whole(sentencepiece_renderer, data):
    """There a broken byte takes the whole ones beside it along, which may have been shown by then."""
    renderer = sentencepiece_renderer
    ascii_bytes = range(3, 3 + 128)
    tokens = [i for i in range(len(renderer.tokenizer)) if i not in ascii_bytes]
    ids = data.draw(st.lists(st.sampled_from(tokens), max_size=60))
    streamed, whole = _streamed(renderer.decode, ids), renderer.decode(ids)
    assert [c for c in whole if c.isalpha() and c.isascii()] == [c for c in streamed if c.isalpha() and c.isascii()]


@pytest.mark.parametrize("token", ["a whole word", "\ufffd"])
def test_a_long_reply_is_not_decoded_again_for_each_token(smollm2_renderer, token):
    """Neither one of words, nor one of bytes that never become a character."""
    decoded, n = 0, 1000
    [broken] = smollm2_renderer.encode_text("🦊")[:1]
    ids = [broken] * n if token == "\ufffd" else (smollm2_renderer.encode_text(token) * n)[:n]

    def decode(window: list[int]) -> str:
        nonlocal decoded
        decoded += len(window)
        return smollm2_renderer.decode(window)

    assert _streamed(decode, ids) == smollm2_renderer.decode(ids).rstrip("\ufffd")
    assert decoded < 40 * n


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

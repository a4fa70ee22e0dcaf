"""Constraints as masks over tokens: whatever is drawn under one keeps to it, and what cannot be kept to is refused."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.engine import YES_NO, Boxes, JsonSchema, OneOf, Sampling
from sensorium.engine.grammar import MAX_CHARACTERS, Grammars
from sensorium.engine.sampler import TokenSampler
from sensorium.engine.transformers.chat import Chat
from sensorium.errors import SensoriumError
from sensorium.grounding import Box, format_grounded, parse_grounded
from sensorium.rendering import Renderer

from .conftest import make_sentencepiece


@pytest.fixture(scope="module")
def renderer(smollm2_renderer):
    return smollm2_renderer


@pytest.fixture(scope="module")
def grammars(renderer):
    return Grammars(renderer)


def _said(grammars, renderer, constraint, seed=0, most=400, favour=None):
    """Ids of a reply drawn by random logits until it may or must end; None where `most` tokens were not enough.

    favour: added to the logits.
    """
    sampler = TokenSampler(Sampling(temperature=1.0, seed=seed, constrain=constraint), grammars.mask(constraint))
    random, ids = np.random.default_rng(seed), []
    for _ in range(most):
        logits = random.normal(size=len(renderer.tokenizer)).astype(np.float32)
        chosen = sampler.choose(logits if favour is None else logits + favour, ids)
        if chosen.id in renderer.stop_ids:
            return ids
        ids.append(chosen.id)
        if chosen.is_last:
            return ids
    return None


def _short(renderer) -> np.ndarray:
    """Logits that end strings and lists soon: quotes, brackets and the turn's end."""
    favour = np.zeros(len(renderer.tokenizer), np.float32)
    for text in ('"', "]", "}", "1"):
        favour[renderer.encode_text(text)] = 12
    favour[sorted(renderer.stop_ids)] = 12
    return favour


CHOICES = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(CHOICES, st.integers(0, 99))
def test_one_of_any_choices_is_said(grammars, renderer, choices, seed):
    """Unless a choice is refused: SmolLM2 has no token for some control characters and for Unicode's last planes."""
    written = [choice.encode(errors="replace").decode() for choice in choices]
    if any(renderer.decode(renderer.encode_text(text)) != text for text in written):
        with pytest.raises(SensoriumError, match="cannot be written by this model"):
            grammars.mask(OneOf(tuple(choices)))
    else:
        assert renderer.decode(_said(grammars, renderer, OneOf(tuple(choices)), seed)) in written


def test_each_choice_can_be_said_also_one_that_begins_another(grammars, renderer):
    choices = ("Yes", "Yes, it is", "ja 🦊")
    found = {renderer.decode(_said(grammars, renderer, OneOf(choices), seed)) for seed in range(60)}
    assert found == set(choices)


def test_a_choice_with_a_box_is_said_in_the_models_marks(grammars, renderer):
    choice = "The " + format_grounded("dog", Box(1, 2, 30, 400)) + " <box>"
    ids = _said(grammars, renderer, OneOf((choice,)))
    assert renderer.decode(ids) == choice
    assert [i for i in ids if i in renderer.marks.values()] == [renderer.marks[m] for m in
                                                                ("<ref>", "</ref>", "<box>", "</box>")]


def test_the_turn_ends_exactly_where_the_reply_may_end(grammars, renderer):
    mask = grammars.mask(OneOf(("No", "No way")))
    n, [no], way = len(renderer.tokenizer), renderer.encode_text("No"), renderer.encode_text(" way")
    assert not renderer.stop_ids & set(mask.allowed(n).tolist())
    assert mask.accept(no) is False
    assert renderer.stop_ids < set(mask.allowed(n).tolist())
    assert [mask.accept(token) for token in way] == [False] * (len(way) - 1) + [True]
    assert set(mask.allowed(n).tolist()) == renderer.stop_ids


def test_special_tokens_and_slots_are_never_text(grammars, renderer):
    """`"<visual>"` is a string of JSON as good as another, and stays characters."""
    mask, n = grammars.mask(JsonSchema.of({"type": "string"})), len(renderer.tokenizer)
    for token in renderer.encode_text('"<vis'):
        assert token in mask.allowed(n)
        mask.accept(token)
    special = set(renderer.unseen_ids) | set(renderer.marks.values())
    assert special.isdisjoint(mask.allowed(n).tolist()) and renderer.slot_id in special
    constraint = OneOf(("<visual><|im_end|>",))
    assert renderer.decode(_said(grammars, renderer, constraint)) == "<visual><|im_end|>"


@pytest.mark.parametrize("at_most", [1, 3])
def test_boxes_are_read_back_from_what_is_said(grammars, renderer, at_most):
    counts = set()
    for seed in range(12):
        ids = _said(grammars, renderer, Boxes(at_most), seed)
        text = renderer.decode(ids)
        found = parse_grounded(text)
        assert [item.name for item in found if not item.name] == []
        boxes = [box for item in found for box in item.boxes]
        counts.add(len(boxes))
        assert len(boxes) == ids.count(renderer.marks["<box>"]) <= at_most
        assert "".join(text[slice(*item.span)] for item in found) == text.replace(">, <ref>", "><ref>")
        assert renderer.slot_id not in ids
    assert counts == set(range(1, at_most + 1))


def test_what_the_model_was_taught_to_say_of_boxes_is_allowed(grammars, renderer):
    said = ", ".join([format_grounded("the two dogs", Box(0, 0, 9, 99), Box(5, 10, 999, 999)),
                      format_grounded("É 1", Box(100, 0, 200, 0))])
    mask, n = grammars.mask(Boxes(3)), len(renderer.tokenizer)
    for token in renderer.encode_reply(said):
        assert token in mask.allowed(n)
        is_complete = mask.accept(token)
    assert is_complete


PERSON = {
    "type": "object", "additionalProperties": False, "required": ["name", "age", "tags", "home"],
    "properties": {
        "name": {"type": "string", "maxLength": 9}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 3},
        "home": {"type": "object", "additionalProperties": False, "required": ["at", "is_own"],
                 "properties": {"at": {"type": "number", "minimum": -1, "maximum": 1}, "is_own": {"type": "boolean"}}},
    },
}  # fmt: skip


def test_json_is_of_its_schema_and_as_python_writes_it(grammars, renderer):
    favour = _short(renderer)
    for seed in range(8):
        text = renderer.decode(_said(grammars, renderer, JsonSchema.of(PERSON), seed, favour=favour))
        found = json.loads(text)
        assert list(found) == ["name", "age", "tags", "home"] and list(found["home"]) == ["at", "is_own"]
        assert len(found["name"]) <= 9 and isinstance(found["age"], int) and 0 <= found["age"] <= 120
        assert set(found["tags"]) <= {"red", "blue"} and len(found["tags"]) <= 3
        assert -1 <= found["home"]["at"] <= 1 and isinstance(found["home"]["is_own"], bool)
        assert ": " in text and "\n" not in text and ", " in text


def test_a_schema_may_hold_any_characters(grammars, renderer):
    word = "\x7f\"\\é🦊\u2028%json {} <|im_end|>"
    text = renderer.decode(_said(grammars, renderer, JsonSchema.of({"properties": {word: {"const": word}},
                                                                   "required": [word], "type": "object",
                                                                   "additionalProperties": False})))
    assert json.loads(text) == {word: word}


def test_any_object_is_json(grammars, renderer):
    for seed in range(4):
        ids = _said(grammars, renderer, JsonSchema.of({"type": "object"}), seed, favour=_short(renderer))
        assert isinstance(json.loads(renderer.decode(ids)), dict)


def _nested(depth: int) -> str:
    return '{"type": "array", "items": ' * depth + "{}" + "}" * depth


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        (JsonSchema("{no"), "not JSON"), (JsonSchema("[1]"), "a JSON object"), (JsonSchema(_nested(600)), "recursion"),
        (JsonSchema(_nested(50000)), "longer than"), (JsonSchema.of({"type": "fish"}), r"\(Invalid type: fish\)"),
        (JsonSchema.of({"not": {"type": "string"}}), r"\(Unimplemented keys: \[\"not\"\]\)"),
        (JsonSchema.of({"$ref": "http://127.0.0.1:9/schema.json"}), "does not fetch"),
        (JsonSchema.of({"allOf": [{"type": "string"}, {"type": "integer"}]}), "nsatisfiable"),
        (OneOf(("a" * MAX_CHARACTERS, "b")), "more than"), (Boxes(10**9), "more than 1000"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_what_cannot_be_kept_to_is_refused_with_the_reason(grammars, constraint, reason):
    with pytest.raises(SensoriumError, match=f"constrain: .*{reason}"):
        grammars.mask(constraint)


def _doubling(depth: int) -> dict:
    """Alternatives of alternatives: 2 to the power of the depth, written out."""
    names = {f"d{i}": {"allOf": [
        {"anyOf": [{"$ref": f"#/$defs/d{i - 1}"}, {"type": "object", "properties": {f"{key}{i}": {"type": "null"}}}]}
        for key in "ab"
    ]} for i in range(1, depth)}  # fmt: skip
    return {"$defs": names | {"d0": {"type": "object"}}, "$ref": f"#/$defs/d{depth - 1}"}


@pytest.mark.parametrize(
    "schema",
    [
        _doubling(30), {"$ref": "#"}, {"type": "array", "items": {"type": "integer"}, "minItems": 10**9},
        {"type": "string", "pattern": "^(a|b|ab)*c.{900}d.{900}$"}, {"type": "string", "minLength": 10**9},
        {"type": "string", "pattern": "^((a{1,1000}){1,1000}){1,1000}$"},
        {"type": "string", "pattern": "^.*[ab].{40}$"},
        {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1000)}},
        {"enum": [f"v{i}" for i in range(3000)]},
    ],
    ids=["doubling", "itself", "items", "pattern", "long", "powers", "automaton", "properties", "choices"],
)  # fmt: skip
def test_a_schema_made_to_burst_is_refused_or_goes_on_in_bounds(grammars, renderer, schema):
    """The bounds are llguidance's counts, not seconds; here it matters that it ends, one way or the other."""
    try:
        _said(grammars, renderer, JsonSchema.of(schema), most=20)
    except SensoriumError as error:
        assert error.where == "constrain" and "\n" not in error.what


@pytest.fixture(params=["renderer", "chat"])
def sentencepiece(request, sentencepiece_renderer, chatml):
    """Such a tokenizer as our own models have it, and as folders of transformers' do."""
    return sentencepiece_renderer if request.param == "renderer" else Chat(make_sentencepiece(chatml))


@pytest.mark.parametrize("seed", range(6))
def test_a_tokenizer_that_begins_with_a_blank_keeps_to_constraints_too(sentencepiece, seed):
    renderer = sentencepiece
    grammars = Grammars(renderer)
    choices = ("Yes", "No the cat", "é🦊 \n", "a\nb <box>c")
    assert renderer.decode(_said(grammars, renderer, OneOf(choices), seed)) in choices
    [found] = parse_grounded(renderer.decode(_said(grammars, renderer, Boxes(1), seed)))
    assert found.name and len(found.boxes) == 1
    schema = JsonSchema.of({"type": "object", "additionalProperties": False, "required": ["a"],
                            "properties": {"a": {"enum": ["the cat", "<box>"]}}})
    assert json.loads(renderer.decode(_said(grammars, renderer, schema, seed)))["a"] in ("the cat", "<box>")


def test_what_such_a_tokenizer_is_taught_to_say_is_allowed(sentencepiece):
    renderer, box = sentencepiece, format_grounded("the cat", Box(1, 20, 345, 678))
    for constraint, said in [(OneOf(("Yes", "No cat")), "No cat"), (Boxes(2), box), (OneOf((box,)), box),
                             (JsonSchema.of({"const": {"a": 1}}), '{"a": 1}')]:
        mask = Grammars(renderer).mask(constraint)
        for token in renderer.encode_reply(said):
            assert token in mask.allowed(10**6), said
            mask.accept(token)
        assert renderer.stop_ids & set(mask.allowed(10**6).tolist())


def test_a_tokenizer_that_cannot_write_it_is_said(tokenizer_maker, chatml):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1, "<|im_end|>": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|im_end|>", chat_template=chatml)
    tokenizer.add_tokens(["<visual>", "<img>", "</img>", "<ref>", "</ref>", "<box>", "</box>"], special_tokens=True)
    with pytest.raises(SensoriumError, match="not possible with this model's tokenizer"):
        Grammars(Renderer(tokenizer, 4)).mask(Boxes())


def test_threads_that_ask_at_once_share_one_vocabulary(renderer, monkeypatch):
    import llguidance.hf

    made, make = [], llguidance.hf.from_tokenizer
    monkeypatch.setattr(llguidance.hf, "from_tokenizer", lambda *a, **k: made.append(1) or make(*a, **k))
    grammars, found = Grammars(renderer), []
    assert grammars.mask(YES_NO) and made == [], "choices need none"
    threads = [threading.Thread(target=lambda: found.append(grammars.mask(Boxes()).allowed(10**6).tolist()))
               for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1] and len(found) == 6 and all(ids == found[0] for ids in found)


def test_a_reply_that_gets_stuck_says_so(grammars, renderer):
    """A constant that the tokens cannot write is only found on the way: schemas have many ways."""
    with pytest.raises(SensoriumError, match="constrain: the reply cannot go on"):
        _said(grammars, renderer, JsonSchema.of({"const": "\U00040000"}))


def test_choices_are_said_in_the_tokens_that_are_scored(grammars, renderer):
    """Not in others that spell the same: `L` and `ondon` are no `London` to the model."""
    choices = ("London", "Lisbon is", "naïve 🦊", format_grounded("dog", Box(1, 2, 3, 4)))
    for seed in range(12):
        ids = _said(grammars, renderer, OneOf(choices), seed)
        assert ids == renderer.encode_reply(renderer.decode(ids))


@pytest.mark.parametrize("constraint", [OneOf(("ab Yes", "ab No")), JsonSchema.of({"enum": ["ab Yes", "ab No"]})])
def test_copies_go_their_own_ways_from_where_they_are(grammars, renderer, constraint):
    mask = grammars.mask(constraint)
    begun, yes, no = (renderer.encode_text(text) for text in ("ab", " Yes", " No"))
    for token in [*([] if isinstance(constraint, OneOf) else renderer.encode_text('"')), *begun]:
        assert token in mask.allowed(10**6)
        mask.accept(token)
    other = mask.copy()
    mask.accept(yes[0])
    assert no[0] in other.allowed(10**6) and no[0] not in mask.allowed(10**6)


def test_tokens_bytes_joined_are_the_text(grammars, renderer):
    text = "naïve 🦊 <box>\n\tx"
    assert b"".join(grammars.token_bytes[token] for token in renderer.encode_text(text)) == text.encode()
    assert grammars.token_bytes[renderer.marks["<box>"]] == b"<box>"

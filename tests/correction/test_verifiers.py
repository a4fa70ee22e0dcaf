"""Verifiers: what each says of a picture that was drawn for it, and what it does not claim to know."""

from __future__ import annotations

import json
import math

import pytest
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from sensorium.correction import Corrector
from sensorium.correction.claims import find_claims
from sensorium.correction.memo import Budget, Meter
from sensorium.correction.picture import Picture
from sensorium.correction.verifiers import VERIFIERS, Setting
from sensorium.correction.verifiers.asked import Asked
from sensorium.correction.verifiers.base import Found
from sensorium.correction.verifiers.colour import Colour, shares
from sensorium.correction.verifiers.detector import Detector, suppress
from sensorium.correction.verifiers.judge import Judge
from sensorium.correction.verifiers.located import LocatedVerifier, is_at, is_beside, number_chances
from sensorium.correction.verifiers.oracle import Oracle
from sensorium.correction.words import words
from sensorium.engine import Card, Reply
from sensorium.errors import SensoriumError
from sensorium.grounding import Box


def scores(verifier, picture, text, meter=None):
    """(kind, score, observed) of the claims that a verifier looks at."""
    claims = [claim for claim in find_claims(text, None, verifier.names) if verifier.can(claim)]
    found = verifier.verify(Picture(picture), claims, meter or Meter())
    return [(c.kind, e.score, e.observed) for c, e in zip(claims, found, strict=True)]


def test_the_oracle_tells_the_truth_and_only_that(scene, vocabulary):
    oracle = Oracle.of([scene], vocabulary)
    assert scores(oracle, scene.image, "Two apples and a red car and a zorble.") == [
        ("existence", 1.0, None), ("count", 0.0, "3"), ("existence", 1.0, None), ("colour", 0.0, "blue"),
        ("existence", None, None),
    ]  # fmt: skip


def test_the_oracle_does_not_deny_what_something_there_may_be_taken_for(scene_maker, vocabulary, tmp_path):
    wolf = scene_maker(tmp_path, (("wolf", (100, 100, 500, 500), "brown"),), "wolf")
    assert "dog" in vocabulary["wolf"].like
    assert scores(Oracle.of([wolf], vocabulary), wolf.image, "A dog and a cat.") == [
        ("existence", None, None), ("existence", 0.0, None)
    ]  # fmt: skip


def test_chances_of_a_number_are_those_of_independent_boxes():
    assert number_chances([]) == [1.0]
    assert number_chances([0.9, 0.5]) == pytest.approx([0.05, 0.5, 0.45])
    assert sum(number_chances([0.2, 0.7, 0.99, 0.4])) == pytest.approx(1)


def test_sides_leave_a_margin_in_the_middle():
    at = {x: Box(x - 50, 450, x + 50, 550) for x in (200, 550, 800)}
    assert [is_at(at[x], "left") for x in (200, 550, 800)] == [True, None, False]
    assert [is_at(at[x], "right") for x in (200, 550, 800)] == [False, True, True]
    assert is_beside(at[200], at[800], "left") is True and is_beside(at[800], at[200], "left") is False
    assert is_beside(at[550], Box(480, 450, 580, 550), "left") is None
    assert is_beside(Box(110, 110, 190, 190), Box(100, 100, 300, 300), "inside") is True


def test_doubles_of_one_class_are_one_thing_and_neighbours_are_two():
    a, double = Found(Box(0, 0, 400, 400), 0.9), Found(Box(10, 10, 410, 410), 0.8)
    beside = Found(Box(420, 0, 800, 400), 0.7)
    assert suppress([double, beside, a]) == (a, beside)


def test_coco_has_its_eighty_classes_by_its_own_numbers():
    assert len(words().coco_ids) == 80 and max(words().coco_ids) == 90
    assert [words().coco_ids[i] for i in (1, 3, 44, 90)] == ["person", "car", "bottle", "toothbrush"]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


def test_the_detector_looks_once_whatever_is_asked(detector):
    meter, picture = Meter(), "docs/pictures/scene.jpg"
    first = scores(LocatedVerifier(detector), picture, "A dog, two cars and a pair of scissors.", meter)
    scores(LocatedVerifier(detector), picture, "A zebra stands above the bus.", meter)
    assert meter.calls == {"detector": 1}
    assert first[-1][1] > 0.3  # the scissors, largest in the picture


def test_the_detector_says_where_its_words_end(detector):
    picture = "docs/pictures/scene.jpg"
    text = "There is a zorble. There is an animal. There is a flower bed."
    claims = find_claims(text, None, detector.names)
    evidence = LocatedVerifier(detector).verify(Picture(picture), claims, Meter())
    assert [e.score for e in evidence] == [None, None, None]
    assert evidence[0].reason == "outside the vocabulary" and "not all kinds are known" in evidence[1].reason


def test_a_spent_budget_leaves_a_new_picture_unseen(detector, scene):
    meter = Meter(Budget(calls=0))
    assert scores(LocatedVerifier(detector), scene.image, "A dog.", meter) == [("existence", None, None)]
    assert meter.calls == {}


def test_colour_is_counted_inside_the_box_without_its_surroundings(scene, vocabulary):
    colour = Colour(Oracle.of([scene], vocabulary))
    assert shares(Picture(scene.image).pixels, scene.objects[1].box)["blue"] > 0.9
    found = scores(colour, scene.image, "A blue car and a red car. The apples are green. The apples are blue.")
    assert [(score > 0.9, observed) for _, score, observed in found] == [
        (True, "blue"), (False, "blue"), (True, None), (False, None)
    ]  # fmt: skip


def test_colours_that_run_into_one_another_are_not_told_apart(scene_maker, vocabulary, tmp_path):
    scene = scene_maker(tmp_path, (("ball", (200, 200, 700, 700), "red"), ("cup", (0, 0, 150, 150), "blue")), "near")
    found = scores(Colour(Oracle.of([scene], vocabulary)), scene.image, "A pink cup. A purple cup. A red cup.")
    assert [score for _, score, _ in found][1] is None and [score for _, score, _ in found][2] < 0.1


def test_a_thing_of_a_few_pixels_is_too_small_for_its_colour(scene_maker, vocabulary, tmp_path):
    scene = scene_maker(tmp_path, (("car", (500, 500, 512, 512), "red"),), "tiny")  # 4 pixels of 320
    report = Corrector([Colour(Oracle.of([scene], vocabulary))]).correct(scene.image, "The car is blue.")
    assert report.output == "The car is blue."
    assert report.verdicts[-1].reason == "too small for its colour to be told"


def test_words_are_read_and_other_words_in_their_place_refute(tmp_path):
    picture = PILImage.new("RGB", (400, 160), "white")
    ImageDraw.Draw(picture).text((40, 40), "BAKERY", fill="black", font=ImageFont.load_default(size=64))
    picture.save(tmp_path / "sign.png")
    text = VERIFIERS["text"](Setting())
    said = 'A sign says "Bakery". Another sign says "Museum".'
    right, wrong = scores(text, tmp_path / "sign.png", said)
    assert right[1] > 0.9 and wrong[1] < 0.1 and wrong[2] == "BAKERY"
    PILImage.new("RGB", (80, 80), "white").save(tmp_path / "blank.png")
    assert scores(text, tmp_path / "blank.png", 'A sign says "Bakery".') == [("text", None, None)]


class Sees:
    """An engine whose log odds of Yes are `lit` about a picture and `dark` about a grey one."""

    card = Card("sees", ("text", "image"), 1024, 1)

    def __init__(self, lit: float, dark: float) -> None:
        self.lit, self.dark, self.asked = lit, dark, []

    def score(self, conversation, candidates):
        is_grey = isinstance(conversation.images[0].source, bytes)
        self.asked.append((conversation.messages[0].text, is_grey))
        return [(self.dark if is_grey else self.lit) if c == "Yes" else 0.0 for c in candidates]

    def count(self, candidate):
        return 1


def test_an_engine_is_believed_only_beyond_what_it_says_blindly(scene):
    engine = Sees(lit=3.0, dark=2.0)
    found = scores(Asked(engine), scene.image, "A dog. The dog is running. A dog.")
    assert found[0][1] == pytest.approx(1 / (1 + math.exp(-1.0)), abs=1e-4)
    assert ("Is the dog running?", False) in engine.asked
    assert sum(is_grey for _, is_grey in engine.asked) == len({question for question, _ in engine.asked})


class Says:
    """An engine that answers what it was told to, in turn, the last one for ever."""

    card = Card("says", ("text", "image"), 1024, 1)

    def __init__(self, *replies: str) -> None:
        self.replies, self.asked = list(replies), []

    def answer(self, conversations, sampling):
        self.asked.append((conversations[0].messages[0].text, sampling))
        said = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if said == "dead":
            raise SensoriumError("http://127.0.0.1", "does not answer.")
        return [Reply(said, "stop", 9, 9)]


def judged(verdict, instead=""):
    return json.dumps({"verdict": verdict, "instead": instead})


@pytest.mark.parametrize(
    ("text", "instead", "observed", "output"),
    [
        ("There are three dogs.", "one", "1", "There is one dog."),
        ("The car is red.", "Blue.", "blue", "The car is blue."),
        ("The car is red.", "rather nice", None, "The car is red."),
        ("The dog is below the car.", "above", "above", "The dog is above the car."),
        ('A sign says "BAKERY".', "LIBRARY", "LIBRARY", 'A sign says "LIBRARY".'),
    ],
)
def test_a_second_engine_judges_and_says_what_is_there(scene, text, instead, observed, output):
    is_existence = lambda question: question.startswith(("Is there a", "Are there any"))  # noqa: E731

    class Knowing(Says):
        def answer(self, conversations, sampling):
            verdict = judged("yes") if is_existence(conversations[0].messages[0].text) else judged("no", instead)
            return [Reply(verdict, "stop", 9, 9)]

    report = Corrector([Judge(Knowing(""))]).correct(scene.image, text)
    assert report.output == output
    assert [e.observed for e in report.evidence if report.claim(e.claim).kind != "existence"] == [observed]


def test_a_judge_out_of_form_is_asked_twice_and_one_that_is_dead_no_more(scene):
    engine = Says("I am not sure!", judged("maybe"), judged("yes"))
    found = scores(Judge(engine), scene.image, "A dog. A cat.")
    assert [score for _, score, _ in found] == [None, 0.96] and len(engine.asked) == 3
    assert [sampling.seed for _, sampling in engine.asked] == [0, 1, 0]
    engine = Says("dead")
    assert {score for _, score, _ in scores(Judge(engine), scene.image, "A dog. A cat.")} == {None}
    assert [sampling.constrain is None for _, sampling in engine.asked] == [False, True]
    engine = Says("dead", f"Sure! {judged('yes')} I hope that helps.")  # refuses the form, answers without
    assert [score for _, score, _ in scores(Judge(engine), scene.image, "A dog. A cat.")] == [0.96, 0.96]
    assert [sampling.constrain is None for _, sampling in engine.asked] == [False, True, True]
    engine = Says(judged("unsure"))
    report = Corrector([Judge(engine)]).correct(scene.image, "A cat.")
    assert report.output == "A cat." and report.verdicts[0].reason == "the judge is not sure"


def test_a_verifier_that_cannot_be_built_says_what_it_needs():
    for name, need in (("asked", "needs an engine"), ("judge", "needs a second"), ("oracle", "needs the truth")):
        with pytest.raises(SensoriumError, match=need):
            VERIFIERS[name](Setting())


def test_any_phrase_can_be_looked_for_through_transformers(tiny_owl, scene):
    verifier = VERIFIERS["open_vocabulary"](Setting(detector=str(tiny_owl)))
    meter = Meter()
    found = scores(verifier, scene.image, "A zorble and a dog. A zorble.", meter)
    assert len(found) == 3 and found[0] == found[2] and meter.calls == {"open_vocabulary": 2}
    assert all(score is not None and 0 <= score <= 1 for _, score, _ in found)


LETTERS = [chr(c) for c in range(97, 123)]
TOWER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def _swin():
    from transformers import SwinConfig

    return SwinConfig(image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2],
                      window_size=2, out_indices=[2, 3, 4])  # fmt: skip


def _clip_tokenizer():
    from transformers import CLIPTokenizer

    # OWL takes a phrase whose first id is 0 for none: no word of these is.
    words = ["!", "<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[]), len(words)


def _grounding_dino(folder, kind: str) -> None:
    """Grounding DINO, or MM Grounding DINO, which LLMDet is one of."""
    import transformers as t

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    text = {"model_type": "bert", "vocab_size": len(words), **TOWER, "max_position_embeddings": 64}
    config = getattr(t, f"{kind}Config")(
        backbone_config=_swin(), text_config=text, num_queries=8, d_model=32, encoder_layers=1, encoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_layers=2, decoder_ffn_dim=16, decoder_attention_heads=2,
        num_feature_levels=3, max_text_len=32, encoder_n_points=2, decoder_n_points=2,
    )  # fmt: skip
    model = getattr(t, f"{kind}ForObjectDetection")(config)
    if kind.startswith("MM"):  # it begins with all scores near 0
        for head in model.class_embed:
            head.bias.data.fill_(0.5)
    model.save_pretrained(folder)
    tokenizer = t.BertTokenizer(vocab={word: i for i, word in enumerate(words)})
    images = t.GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    t.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)


def _owlv2(folder) -> None:
    import transformers as t

    tokenizer, n_words = _clip_tokenizer()
    text = {**TOWER, "vocab_size": n_words, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    config = t.Owlv2Config(text_config=text, vision_config={**TOWER, "image_size": 32, "patch_size": 16},
                           projection_dim=16)  # fmt: skip
    model = t.Owlv2ForObjectDetection(config)
    model.class_head.logit_shift.bias.data.fill_(2.0)
    model.save_pretrained(folder)
    t.Owlv2Processor(t.Owlv2ImageProcessorPil(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)


def _omdet(folder) -> None:
    import transformers as t

    tokenizer, n_words = _clip_tokenizer()
    tower = TOWER | {"hidden_size": 24, "projection_dim": 16, "max_position_embeddings": 77}
    text = t.CLIPTextConfig(**tower, vocab_size=n_words, bos_token_id=1, eos_token_id=2, pad_token_id=2)
    config = t.OmDetTurboConfig(
        backbone_config=_swin(), use_timm_backbone=False, apply_layernorm_after_vision_backbone=False, text_config=text,
        image_size=64, num_queries=8, class_embed_dim=24, text_projection_in_dim=24, text_projection_out_dim=24,
        encoder_hidden_dim=16, decoder_hidden_dim=16, vision_features_channels=[16, 16, 16],
        encoder_in_channels=[16, 32, 64], decoder_num_heads=2, decoder_num_layers=1, encoder_layers=1,
        encoder_dim_feedforward=16, task_encoder_hidden_dim=24, decoder_dim_feedforward=16,
    )  # fmt: skip
    t.OmDetTurboForObjectDetection(config).save_pretrained(folder)
    t.DetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


TINY = {
    "grounding-dino": lambda folder: _grounding_dino(folder, "GroundingDino"),
    "mm-grounding-dino": lambda folder: _grounding_dino(folder, "MMGroundingDino"), "owlv2": _owlv2,
    "omdet-turbo": _omdet,
}  # fmt: skip


@pytest.mark.parametrize("kind", TINY)
def test_each_open_detector_is_asked_and_read_as_its_kind_asks(kind, tmp_path, scene):
    """Random ones of a few thousand weights: their boxes are within the picture, scored, without doubles."""
    import torch

    from sensorium.correction.verifiers.open_vocabulary import OpenVocabulary

    with torch.random.fork_rng():
        torch.manual_seed(1)
        TINY[kind](tmp_path / kind)
    locator, meter = OpenVocabulary(str(tmp_path / kind)), Meter()
    assert locator._model.config.model_type == kind
    located = locator.locate(Picture(scene.image), "zorble", meter)
    assert located.found and meter.calls == {"open_vocabulary": 1}
    assert all(0.05 < one.score <= 1 for one in located.found)
    assert [one.score for one in located.found] == sorted((one.score for one in located.found), reverse=True)
    assert all(a.box.iou(b.box) < 0.5 for a in located.found for b in located.found if a is not b)
    assert locator.locate(Picture(scene.image), "zorble", meter) == located and meter.calls["open_vocabulary"] == 1

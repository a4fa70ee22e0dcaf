"""`sensorium score`: official scores from prediction files that exist; no model is loaded.

Each command prints one JSON object: the numbers as the official tool gives them, `intervals` (95 %) beside them,
`notes` where something is not as it should be, `variant`. Files that do not fit are one error line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.terminal import emit_json
from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    from sensorium.evaluation.scorers import Outcome

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="Official scores from prediction files, as JSON with 95 % intervals; needs no model.",
)  # fmt: skip

Questions = Annotated[Path, typer.Option("--questions", help="The benchmark's questions.")]
QuestionsIfApart = Annotated[
    Path | None, typer.Option("--questions", help="The benchmark's questions, if the answers' file does not hold them.")
]
Answers = Annotated[Path, typer.Option("--answers", help="What the model replied.")]


def _variant(*names: str) -> typer.models.OptionInfo:
    return typer.Option("--variant", metavar="|".join(names), help="Whose rules, to the letter.")


Harness = Annotated[str, _variant("official", "vlmevalkit", "lmms-eval")]


@app.command()
def mme(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of official files, SUBTASK.txt.")],
    variant: Harness = "official",
    partial: Annotated[bool, typer.Option("--partial", help="Score the subtasks that are there.")] = False,
) -> None:
    """MME: perception, cognition, and each of the 14 subtasks.

    \b
    Example:
      sensorium score mme results/mme
    """
    from sensorium.evaluation.scorers import mme

    _show(mme.score(mme.read(folder, partial), variant))


@app.command()
def videomme(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The official file of videos, questions and responses.")],
    variant: Harness = "official",
) -> None:
    """Video-MME: overall, by duration, domain, sub-category and task type.

    The official score is a share of the replies in which a letter is found; the others count nowhere. Commas that end
    a list, as in the official template, are put up with.

    \b
    Example:
      sensorium score videomme output.json --variant vlmevalkit
    """
    from sensorium.evaluation.scorers import videomme

    _show(videomme.score(videomme.read(file), variant))


@app.command("videomme-2")
def videomme_2(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The official tab-separated table with predictions.")],
    variant: Annotated[str, _variant("official", "repaired")] = "official",
) -> None:
    """Video-MME-v2: scores of groups of four questions.

    \b
    Example:
      sensorium score videomme-2 output.tsv
    """
    from sensorium.evaluation.scorers import videomme_2

    _show(videomme_2.score(videomme_2.read(file), variant))


@app.command()
def vqav2(
    questions: Questions,
    annotations: Annotated[Path, typer.Option(help="The benchmark's annotations, ten answers a question.")],
    results: Annotated[Path, typer.Option(help="What the model replied, [{question_id, answer}].")],
    variant: Harness = "official",
) -> None:
    """VQAv2 and what is scored like it: agreement with ten people.

    \b
    Example:
      sensorium score vqav2 --questions questions.json --annotations annotations.json --results results.json
    """
    from sensorium.evaluation.scorers import vqav2

    _show(vqav2.score(vqav2.read(questions, annotations, results), variant))


@app.command()
def pope(questions: Questions, answers: Answers, variant: Harness = "official") -> None:
    """POPE: accuracy, precision, recall, F1 and the share of yes.

    \b
    Example:
      sensorium score pope --questions coco_pope_random.json --answers answers.jsonl
    """
    from sensorium.evaluation.scorers import pope

    _show(pope.score(pope.read(questions, answers), variant))


@app.command()
def refcoco(
    answers: Answers,
    questions: QuestionsIfApart = None,
    variant: Annotated[str, _variant("official", "internvl", "lmms-eval", "vlmevalkit")] = "official",
) -> None:
    """RefCOCO, RefCOCO+, RefCOCOg: the share of boxes that overlap by a half.

    \b
    A variant is a way to write boxes:
      official     (x1,y1),(x2,y2) over 999, as Qwen-VL and our own models
      internvl     [x1, y1, x2, y2] over 1000
      lmms-eval    [x1, y1, x2, y2] of the unit square
      vlmevalkit   guessed from the largest number

    \b
    Example:
      sensorium score refcoco --questions refcoco_val.jsonl --answers answers.jsonl --variant internvl
    """
    from sensorium.evaluation.scorers import refcoco

    _show(refcoco.score(refcoco.read(answers, questions), variant))


@app.command()
def caption(
    annotations: Annotated[Path, typer.Option(help="COCO's captions.")],
    results: Annotated[Path, typer.Option(help="What the model wrote, [{image_id, caption}].")],
    variant: Harness = "official",
) -> None:
    """COCO captions: CIDEr-D, ROUGE-L, BLEU-1 to BLEU-4; no Java.

    \b
    Example:
      sensorium score caption --annotations captions_val2014.json --results results.json
    """
    from sensorium.evaluation.scorers import caption

    replies, missing = caption.read(annotations, results)
    _show(caption.score(replies, variant, missing))


@app.command()
def chair(
    results: Annotated[Path, typer.Option(help="What the model wrote, rows {image_id, caption}.")],
    synonyms: Annotated[Path, typer.Option(help="The synonym table of CHAIR's authors, which has no licence.")],
    instances: Annotated[list[Path] | None, typer.Option(help="COCO's instance annotations; repeatable.")] = None,
    captions: Annotated[list[Path] | None, typer.Option(help="COCO's human captions; repeatable.")] = None,
) -> None:
    """CHAIR: things in captions that are not in the picture.

    \b
    Example:
      sensorium score chair --results captions.jsonl --synonyms synonyms.txt --instances instances_val2014.json
          --captions captions_val2014.json
    """
    from sensorium.evaluation.scorers import chair

    if not instances and not captions:
        raise SensoriumError("chair", "what is in the pictures is not known.", "Give --instances and --captions.")
    table = chair.Synonyms.read(synonyms)
    _show(chair.score(chair.read(results, table, instances or (), captions or ()), table))


@app.command()
def amber(
    responses: Annotated[Path, typer.Option(help="What the model replied, [{id, response}].")],
    annotations: Annotated[Path, typer.Option(help="AMBER's annotations.json.")],
    relations: Annotated[Path | None, typer.Option(help="AMBER's relation.json; for descriptions.")] = None,
    safe_words: Annotated[Path | None, typer.Option(help="AMBER's safe_words.txt; for descriptions.")] = None,
    nouns: Annotated[Path | None, typer.Option(help="Rows {id, nouns} that NLTK found in the descriptions.")] = None,
    similar: Annotated[Path | None, typer.Option(help="Lines of two words, a tab between, alike to spaCy.")] = None,
) -> None:
    """AMBER: made-up things in descriptions, yes and no about what is there.

    \b
    Example:
      sensorium score amber --responses responses.json --annotations annotations.json
          --relations relation.json --safe-words safe_words.txt
    """
    from sensorium.evaluation.scorers import amber

    associations = None
    if relations is not None and safe_words is not None:
        associations = amber.Associations.read(relations, safe_words, similar)
    _show(amber.score(amber.read(responses, annotations, nouns), associations))


@app.command()
def chartqa(
    questions: Annotated[list[Path], typer.Option(help="[{imgname, query, label}]; one for each --answers.")],
    answers: Annotated[list[Path], typer.Option(help="Rows {answer} in the order of the questions; repeatable.")],
    variant: Harness = "official",
) -> None:
    """ChartQA: relaxed accuracy, the mean of the splits.

    \b
    Example:
      sensorium score chartqa --questions test_human.json --answers human.jsonl
          --questions test_augmented.json --answers augmented.jsonl
    """
    from sensorium.evaluation.scorers import chartqa

    if len(questions) != len(answers):
        raise SensoriumError("chartqa", f"{len(questions)} --questions and {len(answers)} --answers do not pair.")
    splits = {path.stem: chartqa.read(path, replies) for path, replies in zip(questions, answers, strict=True)}
    if len(splits) < len(questions):
        raise SensoriumError("chartqa", "two files of questions have one name.")
    _show(chartqa.score(splits, variant))


@app.command()
def anls(
    questions: Questions,
    answers: Answers,
    variant: Annotated[str, _variant("official", "vlmevalkit", "lmms-eval", "strict", "pix2struct")] = "official",
) -> None:
    """ANLS of DocVQA and InfographicVQA: how near an answer is to what is written.

    \b
    Example:
      sensorium score anls --questions val.json --answers submission.json --variant strict
    """
    from sensorium.evaluation.scorers import anls

    _show(anls.score(anls.read(questions, answers), variant))


@app.command()
def mathvista(
    answers: Answers,
    questions: QuestionsIfApart = None,
    variant: Harness = "official",
    ignore_empty: Annotated[
        bool, typer.Option("--ignore-empty", help="An empty extraction is no choice, rather than the shortest.")
    ] = False,
) -> None:
    """MathVista: accuracy, by kind of question, source, task and skill.

    \b
    Example:
      sensorium score mathvista --answers output.json --questions testmini.json
    """
    from sensorium.evaluation.scorers import mathvista

    _show(mathvista.score(mathvista.read(answers, questions), variant, ignore_empty))


@app.command()
def mcq(
    answers: Answers,
    questions: QuestionsIfApart = None,
    variant: Annotated[str, _variant("official", "lmms-eval")] = "official",
    circular: Annotated[
        bool | None, typer.Option(help="Right only if every rotation is; where there are rotations if left out.")
    ] = None,
) -> None:
    """Multiple choice from tables as MMBench and MMStar have them, circular or plain.

    \b
    Example:
      sensorium score mcq --answers predictions.tsv --questions MMBench_DEV_EN.tsv
    """
    from sensorium.evaluation.scorers import mcq

    _show(mcq.score(mcq.read(answers, questions), variant, circular))


def _show(outcome: Outcome) -> None:
    emit_json(outcome.to_json())

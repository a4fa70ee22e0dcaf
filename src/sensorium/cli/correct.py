"""`sensorium correct`: what is said about a picture, compared with the picture and put right."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sensorium.cli.correct_other import PATIENCE, check_protocol, check_run, correct_finished_run, load_woodpecker
from sensorium.cli.picture import require_drawable
from sensorium.cli.terminal import Preparation, emit, emit_json, note
from sensorium.errors import SensoriumError, did_you_mean

if TYPE_CHECKING:
    from sensorium.correction import Corrector, Report
    from sensorium.engine import Engine

_COLOURS = {"-": "\033[9;31m{}\033[0m", "+": "\033[32m{}\033[0m"}
_EXPERTS = ("detector", "colour")
FIRST = {"sensorium": "claims", "woodpecker": "sentences"}  # stages of the protocols


def correct(
    context: typer.Context,
    image: Annotated[Path | None, typer.Option("--image", "-i", help="The picture.")] = None,
    text: Annotated[str | None, typer.Option("--text", "-t", help="What is said about it.")] = None,
    question: Annotated[str | None, typer.Option("--question", "-q", help="The question that it answers.")] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A model: asked first where there is no --text; ranks wordings.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="How --engine is asked: vcd, icd, cfg, marine, dola, self-consistency.")
    ] = None,
    verifier: Annotated[
        list[str] | None, typer.Option(help="Who looks: detector, colour, text, open_vocabulary, asked, judge, oracle.")
    ] = None,
    editor: Annotated[str, typer.Option(metavar="minimal|rewrite", help="Who changes the text.")] = "minimal",
    risk: Annotated[float, typer.Option(help="Edit where the chance of being true is at most this.")] = 0.05,
    doubtful: Annotated[str, typer.Option(metavar="leave|flag|hedge", help="What else is done with doubts.")] = "leave",
    add_missing: Annotated[bool, typer.Option(help="Tell of things that the question asks for too.")] = False,
    detector: Annotated[str | None, typer.Option(help="Hub id or folder for open_vocabulary.")] = None,
    scenes: Annotated[Path | None, typer.Option(help="A dataset's split folder, whose truth the oracle tells.")] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A second model: of the verifier judge, or of woodpecker.")
    ] = None,
    protocol: Annotated[str, typer.Option(metavar="sensorium|woodpecker", help="Ours, or the paper's.")] = "sensorium",
    llm: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Of woodpecker: a language model, such as http://HOST/v1#NAME.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="The whole report as one JSON object.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with the changes over the picture.")] = None,
    draw: Annotated[Path | None, typer.Option(help="Draw numbered boxes into a copy of the picture.")] = None,
    rows: Annotated[
        Path | None, typer.Option("--input", help='Many texts: lines of {"image", "text", "question"?, "id"?}.')
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="A finished run (`sensorium evaluate`): correct its replies, and score them.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", "-d", help="Of --run: what was asked about.")] = None,
    media: Annotated[Path | None, typer.Option(help="Of --run: its pictures, if not beside the data.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Of --input: one report a line. Of --run: a folder.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="An earlier report (--json) to take stages from.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="With --report: the first stage made anew; the verdicts, if left out.")
    ] = None,
    memo: Annotated[Path | None, typer.Option(help="A file that remembers evidence between runs.")] = None,
    max_ms: Annotated[float | None, typer.Option(help="Look for so long a text at most.")] = None,
    max_calls: Annotated[int | None, typer.Option(help="Call models so often a text at most.")] = None,
) -> None:
    """Correct what is said about a picture, and tell why.

    Every claim gets a verdict: supported, refuted or unknown. Only refuted ones are changed, with the fewest words.
    Needs the extra: pip install 'sensorium[correct]'; the first start fetches the detector and parser (some 90 MB).

    \b
    Examples:
      sensorium correct --image photo.jpg --text "Two dogs lie on a red couch."
      sensorium correct -i photo.jpg -q "Is there a dog?" -t "Yes, there is." --html why.html
      sensorium correct -i photo.jpg --engine default -q "What is in the picture?" --verifier detector --verifier asked
      sensorium correct -i photo.jpg --engine default -q "What is in the picture?" --method vcd
      sensorium correct --input rows.jsonl --out reports.jsonl --memo evidence.jsonl
      sensorium correct -i photo.jpg -t "Two dogs." --report why.json --from verdicts --risk 0.01
      sensorium correct --run runs/pope --data coco --media val2014 --out runs/pope-corrected
      sensorium correct -i photo.jpg -t "Two dogs." --protocol woodpecker --llm http://HOST/v1#NAME --judge default
    """
    check_protocol(context, protocol, {"llm": llm, "judge": judge})
    if start is not None and report is None:
        raise SensoriumError("--from", "takes stages from an earlier report.", "Name it with --report.")
    asked = check_run(run, data, media, out) if run is not None else None
    if asked is None:
        _check(image, text, question, engine, rows, out, html, draw)
    with Preparation() as preparation:
        loaded = _engine(engine, method, preparation)
        corrector: Any
        if protocol == "woodpecker":
            assert llm is not None and judge is not None
            corrector = load_woodpecker(llm, judge, detector, (max_ms, max_calls), preparation)
        else:
            corrector = _corrector(
                loaded, verifier or list(_EXPERTS), editor, (risk, doubtful, add_missing), detector, scenes, memo,
                (max_ms, max_calls), preparation, judge,
            )  # fmt: skip
        if run is not None and asked is not None:
            correct_finished_run(corrector, protocol, run, *asked, json_, preparation)
            return
        if rows is not None:
            assert out is not None
            _batch(corrector, rows, out, preparation)
            return
    assert image is not None
    if text is None and editor == "minimal" and protocol == "sensorium" and not report:
        found = _listen(corrector, loaded, image, question, silently=json_)
        is_told = not json_
    else:
        said = text if text is not None else _ask(loaded, image, question)
        earlier = _read_report(report, protocol) if report else None
        first = start or ("correction" if protocol == "woodpecker" else "verdicts")
        found = corrector.correct(image, said, question, earlier, first if earlier else FIRST[protocol])
        is_told = False
    _write(found, image, html, draw)
    if json_:
        emit_json(found.to_json())
    else:
        _show(found, is_told)


def _check(
    image: Path | None, text: str | None, question: str | None, engine: str | None, rows: Path | None,
    out: Path | None, html: Path | None, draw: Path | None,
) -> None:  # fmt: skip
    """Find what is wrong with the options before anything is loaded. Raises SensoriumError."""
    from sensorium.correction.language import check_language
    from sensorium.media import image_size

    if rows is not None:
        if out is None:
            raise SensoriumError("--input", "needs --out.", "Name the file that the reports go to.")
        if image is not None or text is not None:
            raise SensoriumError("--input", "brings pictures and texts itself.", "Leave --image and --text out.")
        return
    if image is None:
        raise SensoriumError("--image", "is missing.", "Name a picture, or --input for many.")
    image_size(image)
    if text is None and engine is None:
        raise SensoriumError("--text", "is missing.", "Say what to correct, or let a model speak with --engine.")
    if text is None and not question:
        raise SensoriumError("--question", "is missing: the model must be asked something.")
    if text is not None:
        check_language(text, "--text")
    if draw is not None:
        require_drawable(draw)
    if html is not None and not html.absolute().parent.is_dir():
        raise SensoriumError(html, "its folder does not exist.", "Make the folder, or choose another.")


def _engine(name: str | None, method: str | None, preparation: Preparation) -> Engine | None:
    from sensorium.engine.loading import load_engine

    if name is None:
        if method is not None:
            raise SensoriumError("--method", "says how a model is asked, and none is.", "Name one with --engine.")
        return None
    from sensorium.engine.methods import decoding, parse_method

    chosen = None if method is None else parse_method(method)  # complains before the model is loaded
    loaded = load_engine(name, preparation, api_key=os.environ.get("OPENAI_API_KEY"), patience=PATIENCE)
    if chosen is None:
        return loaded
    from sensorium.correction.grounding import with_detector

    return decoding(loaded, with_detector(chosen, preparation))


def _corrector(
    engine: Engine | None, names: list[str], editor: str, how: tuple[float, str, bool], detector: str | None,
    scenes: Path | None, memo: Path | None, budget: tuple[float | None, int | None], preparation: Preparation,
    judge: str | None = None,
) -> Corrector:  # fmt: skip
    from pydantic import ValidationError

    from sensorium.correction import EDITORS, VERIFIERS, Budget, Corrector, Memo, Policy, Setting
    from sensorium.correction.language import load_parser

    for name in names:
        if name not in VERIFIERS:
            raise SensoriumError("--verifier", f"`{name}` is not known.", did_you_mean(name, VERIFIERS))
    if editor not in EDITORS:
        raise SensoriumError("--editor", f"`{editor}` is not known.", did_you_mean(editor, EDITORS))
    try:
        policy = Policy(risk=how[0], doubtful=how[1], add_missing=how[2])  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        raise SensoriumError(f"--{first['loc'][0]}", f"{first['msg']}.") from error
    load_parser(preparation)
    second = _engine(judge, None, preparation) if "judge" in names else None
    setting = Setting(engine, second, detector, scenes, preparation)
    verifiers = [VERIFIERS[name](setting) for name in dict.fromkeys(names)]
    return Corrector(verifiers, EDITORS[editor](), policy, memo=Memo(memo), budget=Budget(*budget), engine=engine)


def _ask(engine: Engine | None, image: Path, question: str | None) -> str:
    from sensorium.conversation import Conversation, Image, user
    from sensorium.engine.base import GREEDY

    assert engine is not None and question is not None
    reply = engine.answer([Conversation((user(Image(str(image)), question),))], GREEDY)[0].text
    if not reply.strip():
        raise SensoriumError("--engine", "the model said nothing.", "Ask another question.")
    return reply


def _listen(corrector: Corrector, engine: Engine | None, image: Path, question: str | None, silently: bool) -> Report:
    """Ask, and let the corrected answer out sentence by sentence while the model speaks."""
    from sensorium.cli.session import emit_corrected
    from sensorium.conversation import Conversation, Image, user
    from sensorium.engine.base import GREEDY

    assert engine is not None and question is not None
    deltas = engine.stream(Conversation((user(Image(str(image)), question),)), GREEDY)
    words = (delta.text for delta in deltas)
    report = emit_corrected(corrector.stream(image, words, question), silently)
    if not report.text.strip():
        raise SensoriumError("--engine", "the model said nothing.", "Ask another question.")
    return report


def _batch(corrector: Corrector, rows: Path, out: Path, preparation: Preparation) -> None:
    from sensorium.correction.batch import correct_rows

    tally = correct_rows(corrector, rows, out, lambda done, total: preparation("correcting", done, total))
    note(f"{tally.corrected} corrected, {tally.before} done before, {tally.failed} failed; written: {out}")


def _read_report(path: Path, protocol: str) -> Report:
    from sensorium.correction import Report
    from sensorium.correction.woodpecker import WoodpeckerReport

    kind = WoodpeckerReport if protocol == "woodpecker" else Report
    try:
        return kind.from_json(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise SensoriumError(path, f"cannot be read as a report ({error}).", "Write one with --json.") from error


def _write(report: Report, image: Path, html: Path | None, draw: Path | None) -> None:
    from sensorium.correction.difference import drawing, page
    from sensorium.correction.picture import Picture
    from sensorium.files import write_whole
    from sensorium.media import open_image, save_image

    if html is not None:
        write_whole(html, page(report, Picture(image)))
        note(f"Written: {html}")
    if draw is not None:
        save_image(open_image(drawing(report, Picture(image))), draw)
        note(f"Drawn: {draw}")


def _show(report: Report, is_told: bool = False) -> None:
    """The corrected text (unless it has been told already), the changes, then a line for each claim.

    Colours only on a terminal.
    """
    from sensorium.correction.difference import marked, numbered_boxes, pieces, said

    if not is_told:
        emit(report.output)
    if report.edits:
        coloured = sys.stdout.isatty()
        changes = "".join(_COLOURS.get(piece.change, "{}").format(piece.text) for piece in pieces(report))
        emit(changes if coloured else marked(report))
    boxes: dict[str, Any] = {claim.id: f" [{number}] {' '.join(str(b.corners) for b in found)}"
                             for number, claim, _, found in numbered_boxes(report)}  # fmt: skip
    for claim in report.claims:
        verdict = report.verdict(claim.id)
        source = "question " if claim.span.source == "question" else ""
        at = f"{source}{claim.span.start}–{claim.span.end}"
        flag = " (flagged)" if claim.id in report.flags else ""
        emit(f"  {verdict.value:9}  {at:>7}  {said(report, claim)} {verdict.reason}{boxes.get(claim.id, '')}{flag}")
    for why in report.notes:
        note(f"not corrected: {why}" if not report.claims else why)
    note(report.cost.line())

"""`sensorium data`: build datasets, look at them, check them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sensorium.cli.terminal import Preparation, emit, emit_json, note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sensorium.conversation import Conversation

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Build, show and check datasets.")
build = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Build a dataset.")
app.add_typer(build, name="build")

Json = Annotated[bool, typer.Option("--json", help="One JSON object for programs.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed, another draw; the same seed, the same result.")]


@build.command()
def scenes(
    out: Annotated[Path, typer.Option("--out", "-o", help="The dataset's folder.")],
    catalogue: Annotated[
        Path, typer.Option(help="Folder of cut-outs and backgrounds; made when missing.")
    ] = Path("runs/catalogue"),
    train: Annotated[int | None, typer.Option(min=1, help="Pictures to train on.")] = None,
    val: Annotated[int | None, typer.Option(min=1, help="Pictures for validation.")] = None,
    test: Annotated[int | None, typer.Option(min=1, help="Pictures for each of the three tests.")] = None,
    conversations: Annotated[
        int | None, typer.Option(min=1, help="Conversations about each picture: a caption, the rest chats.")
    ] = None,
    several: Annotated[
        float | None, typer.Option(min=0, help="Conversations about two or three pictures, for each picture.")
    ] = None,
    small: Annotated[
        float | None, typer.Option(min=0, help="Larger pictures of small things, for each picture.")
    ] = None,
    cards: Annotated[
        float | None, typer.Option(min=0, help="Pictures with printed cards and signs, for each picture.")
    ] = None,
    pages: Annotated[float | None, typer.Option(min=0, help="Printed pages, for each picture.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed, other pictures.")] = None,
    text_chats: Annotated[Path | None, typer.Option(help="Chats without pictures to add: see `build speech`.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="How many processes compose pictures.")] = None,
    json: Json = False,
) -> None:
    """Compose pictures from cut-outs on backgrounds, with exact truth, and conversations about them.

    Objects, one drawing style and backgrounds are held out by name for the tests. Sizes, conversations and seed that
    are left out are those the embedded default was trained with. Stop it at any time; the same command goes on. The
    catalogue needs packages of Debian and npm once, printed words some fonts of PyPI; what is missing is said.

    \b
    Examples:
      sensorium data build scenes --out runs/scenes
      sensorium data build scenes --out runs/small --train 500 --val 50 --test 50 --conversations 3
      sensorium data build scenes --out runs/more --several 0.3 --small 0.3 --cards 0.3 --pages 0.3
    """
    from sensorium.data.records import TEST_SPLITS
    from sensorium.data.scenes.build import SIZES, ScenesConfig
    from sensorium.data.scenes.catalogue import build_catalogue

    given = {"seed": seed, "conversations_per_scene": conversations, "processes": processes, "several": several,
             "small": small, "cards": cards, "pages": pages}  # fmt: skip
    sizes = {"train": train, "val": val, **dict.fromkeys(TEST_SPLITS, test)}
    config = ScenesConfig.model_validate({
        "catalogue": catalogue, "out": out, "text_chats": text_chats,
        "sizes": {split: sizes[split] or size for split, size in SIZES.items()},
        **{key: value for key, value in given.items() if value is not None},
    })  # fmt: skip
    with Preparation() as preparation:
        if not (catalogue / "catalogue.json").is_file():
            build_catalogue(catalogue, preparation, config.processes)
        folder = config.build(preparation)
    if json:
        emit_json({"dataset": str(folder), **config.model_dump(include={"sizes", "conversations_per_scene", "seed"})})
        return
    emit(f"The dataset is in {folder}")
    note(f"Look at it: sensorium data show {folder} --out sheet.png")


@build.command()
def video(
    out: Annotated[Path, typer.Option("--out", "-o", help="The dataset's folder.")],
    catalogue: Annotated[
        Path, typer.Option(help="Folder of cut-outs and backgrounds; made when missing.")
    ] = Path("runs/catalogue"),
    train: Annotated[int | None, typer.Option(min=1, help="Clips to train on.")] = None,
    val: Annotated[int | None, typer.Option(min=1, help="Clips for validation.")] = None,
    test: Annotated[int | None, typer.Option(min=1, help="Clips for each of the three tests.")] = None,
    minutes: Annotated[
        list[int] | None,
        typer.Option(min=5, max=240, help="Also films of so many minutes, for the tests; may be repeated."),
    ] = None,
    long: Annotated[int | None, typer.Option(min=1, help="Films of each such length, for each test.")] = None,
    conversations: Annotated[int | None, typer.Option(min=1, help="Conversations about each clip.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed, other films.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="How many processes make films.")] = None,
    json: Json = False,
) -> None:
    """Make films of cut-outs that move, with exact truth, and what is asked about them.

    Clips of 4 to 12 seconds: something moves, comes in, leaves, jumps so many times, changes its color; a card with a
    word is shown. Long films: needles of a few seconds, a narrator in subtitles, questions about the whole. Each
    question tells which seconds one must see. Stop it at any time; the same command goes on.

    \b
    Examples:
      sensorium data build video --out runs/video
      sensorium data build video --out runs/video-long --train 100 --minutes 10 --minutes 60 --long 2
      sensorium evaluate videomme --data runs/video --frames 8 --out runs/scores
    """
    from sensorium.data.films.build import SIZES, FilmsConfig
    from sensorium.data.records import TEST_SPLITS
    from sensorium.data.scenes.catalogue import build_catalogue

    given = {"seed": seed, "conversations_per_clip": conversations, "processes": processes, "long": long}
    sizes = {"train": train, "val": val, **dict.fromkeys(TEST_SPLITS, test)}
    config = FilmsConfig.model_validate({
        "catalogue": catalogue, "out": out, "minutes": tuple(minutes or ()),
        "sizes": {split: sizes[split] or size for split, size in SIZES.items()},
        **{key: value for key, value in given.items() if value is not None},
    })  # fmt: skip
    with Preparation() as preparation:
        if not (catalogue / "catalogue.json").is_file():
            build_catalogue(catalogue, preparation, config.processes)
        folder = config.build(preparation)
    if json:
        emit_json({"dataset": str(folder), **config.model_dump(include={"sizes", "minutes", "long", "seed"})})
        return
    emit(f"The dataset is in {folder}")
    note(f"Look at it: sensorium data show {folder} --out sheet.png")


@build.command()
def speech(
    out: Annotated[Path, typer.Option("--out", "-o", help="The JSON-lines file to write.")],
    count: Annotated[int, typer.Option(min=1, help="How many questions to ask.")] = 400,
    seed: Seed = 0,
    language: Annotated[
        str, typer.Option(help="The language model that answers, as a part's name.")
    ] = "smollm2-135m-instruct",
    json: Json = False,
) -> None:
    """Let the untrained language model answer everyday questions; its answers keep its speech while it learns to see.

    Takes some minutes. Give the file to `sensorium data build scenes --text-chats`.

    \b
    Example:
      sensorium data build speech --out runs/speech.jsonl
    """
    from sensorium.data.speech import speech_prompts, write_speech

    speech_prompts(count, seed)  # complains about the count before the model is loaded
    with Preparation() as preparation:
        kept = write_speech(out, _untrained(language, preparation), count, seed)
    if json:
        emit_json({"file": str(out), "asked": count, "kept": kept})
    else:
        emit(f"{kept} of {count} answers are in {out}")


@app.command("export-benchmark")
def export_benchmark(
    benchmark: Annotated[
        str, typer.Argument(help="scenes-mme, scenes-pope, scenes-caption, scenes-refcoco or videomme.")
    ],
    data: Annotated[Path, typer.Option("--data", "-d", help="A dataset of scenes; of films for videomme.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder that is not there yet.")],
    split: Annotated[str | None, typer.Option(help="One split; all test splits if left out.")] = None,
    format: Annotated[
        str | None, typer.Option(metavar="parquet|json", help="Of videomme: as on the hub, or as its results.")
    ] = None,
    json: Json = False,
) -> None:
    """Write one of the benchmarks made of scenes in the official files of its namesake, pictures with them.

    So that other programs can ask them as well: MME's folders, POPE's lines, Qwen-VL's lines of boxes, AMBER's
    annotations; Video-MME's parquet, or with `--format json` the template of its results, beside its videos and
    subtitles. `sensorium evaluate` needs none of this.

    \b
    Examples:
      sensorium data export-benchmark scenes-mme --data runs/scenes --split test_style --out runs/scenes-mme
      sensorium data export-benchmark videomme --data runs/video --out runs/video-mme
    """
    from sensorium.evaluation.benchmarks.layouts import Data
    from sensorium.evaluation.benchmarks.official import write_official

    count = write_official(benchmark, Data(data, split=split), out, format)
    if json:
        emit_json({"benchmark": benchmark, "folder": str(out), "questions": count})
    else:
        emit(f"{count} questions are in {out}")


@app.command()
def show(
    dataset: Annotated[Path, typer.Argument(help="A dataset's folder.")],
    split: Annotated[str, typer.Option(help="Which part of it; a wrong name is told the right ones.")] = "train",
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write.")] = Path("sheet.png"),
    rows: Annotated[int, typer.Option(min=1, max=50, help="Rows of pictures or films.")] = 3,
    kind: Annotated[str | None, typer.Option(metavar="plain|small|cards|page", help="Only pictures of a kind.")] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Write a contact sheet: pictures or films drawn at random with their boxes, names and conversations.

    \b
    Examples:
      sensorium data show runs/scenes
      sensorium data show runs/scenes --split test_style --out style.png --rows 5 --seed 2
    """
    from sensorium.data.dataset import Dataset
    from sensorium.data.sheet import COLUMNS, contact_sheet, to_show
    from sensorium.media import save_image

    save_image(contact_sheet(dataset, split, rows=rows, seed=seed, kind=kind), out)
    if json:
        pictures = min(rows * COLUMNS, len(to_show(Dataset(dataset), split, kind)))
        emit_json({"sheet": str(out), "split": split, "rows": -(-pictures // COLUMNS), "pictures": pictures})
    else:
        emit(f"The sheet is in {out}")


@app.command()
def check(
    dataset: Annotated[Path, typer.Argument(help="A dataset's folder, or a YAML file that names sources.")],
    limit: Annotated[int, typer.Option(min=1, help="Of sources, list at most so many faults of each reason.")] = 20,
    json: Json = False,
) -> None:
    """Read a dataset from end to end and report every fault. Exit code 1 when there are any.

    Looked for in a folder of ours: rows that do not parse, pictures that do not open, boxes around nothing, yes and no
    out of balance, and anything held out that leaks into training. In other people's data: rows that do not parse,
    speakers, tags and pictures that do not fit, empty replies, boxes outside their picture, pictures that are missing
    or too large; by file, row and reason, from headers and one frame of each video. With --json
    every fault is listed.

    \b
    Examples:
      sensorium data check runs/scenes
      sensorium data check sources.yaml --limit 100
    """
    from dataclasses import asdict

    from sensorium.data.check import check_dataset

    if dataset.suffix in (".yaml", ".yml"):
        _check_sources(dataset, limit, json)
        return
    with Preparation() as preparation:
        report = check_dataset(dataset, preparation)
    if json:
        emit_json(asdict(report) | {"good": report.is_good})
    else:
        for problem in report.problems:
            emit(problem)
        for split, rows in report.rows.items():
            emit(f"{split}: " + ", ".join(f"{n} {kind}" for kind, n in rows.items()))
        emit("no faults" if report.is_good else f"{len(report.problems)} faults")
    if not report.is_good:
        raise typer.Exit(1)


def _check_sources(path: Path, limit: int, json: bool) -> None:
    from sensorium.data.defects import Defects, find_defects
    from sensorium.data.rewriters import Rewriter
    from sensorium.data.sources import load_sources
    from sensorium.errors import SensoriumError

    settings = load_sources(path)
    found: list[Defects] = []
    with Preparation() as preparation:
        for source in settings.sources:
            title = source.title
            try:
                opened = source.open()
            except SensoriumError as error:  # the other sources are worth a look all the same
                found.append(Defects(title, 0))
                found[-1].add(error)
                continue
            tell = partial(preparation, f"checking {title}")
            found.append(find_defects(opened, title, Rewriter(settings.rewrite), tell))
    if json:
        emit_json({"sources": [
            {"name": one.title, "samples": one.samples, "bad": one.bad, "reasons": dict(one.reasons),
             "faults": one.listed} for one in found
        ]})  # fmt: skip
    else:
        for one in found:
            for line in one.first(limit):
                emit(line)
            emit(f"{one.title}: {one.samples:,} samples, {one.bad:,} faults")
            for reason, count in one.reasons.most_common():
                more = f" … and {count - limit:,} more than are listed (--limit)" if count > limit else ""
                emit(f"  {count:,} times: {reason}{more}")
    if any(one.bad for one in found):
        raise typer.Exit(1)


def _untrained(language: str, progress: Preparation) -> Callable[[Sequence[Conversation]], list[str]]:
    """A function that answers conversations with the language model as it was published."""
    from sensorium.engine import Sampling
    from sensorium.engine.torch import TorchEngine
    from sensorium.model.multimodal import ModelConfig
    from sensorium.model.quiet import quietly
    from sensorium.parts import parse_part

    parse_part(language)
    tree = {
        "vision": {"part": "dinov2-small"},  # assembled but never shown anything
        "connector": {"kind": "pixel_shuffle"},
        "language": {"part": language},
    }
    with quietly():
        engine = TorchEngine(ModelConfig.model_validate(tree).build(progress))
    sampling = Sampling(max_new_tokens=110)

    def answer(conversations: Sequence[Conversation]) -> list[str]:
        texts: list[str] = []
        for start in range(0, len(conversations), engine.batch_size):
            progress("asking", start, len(conversations))
            replies = engine.answer(conversations[start : start + engine.batch_size], sampling)
            # A reply that was cut off is no example of how to end one.
            texts += [reply.text if reply.finish == "stop" else "" for reply in replies]
        progress("asking", len(conversations), len(conversations))
        return texts

    return answer

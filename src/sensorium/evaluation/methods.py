"""Ways to answer side by side: plainly, by each decoding method, and plainly with correction afterwards.

Every way leaves the folder of an ordinary run, OUT/WAY/BENCHMARK, so that it is resumed, scored again, reported and
compared like any other. Correction asks the model nothing: it takes the plain replies. What a way costs is measured
apart, on the first questions, asked anew one way after the other, since replies from a cache cost nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

from sensorium.correction import Corrector
from sensorium.correction.batch import correct_rows
from sensorium.engine.base import Engine, Reply, Sampling
from sensorium.errors import SensoriumError
from sensorium.evaluation.asking import Here
from sensorium.evaluation.benchmarks import Answer, Benchmark, Data, Question
from sensorium.evaluation.gains import Gain, Share, gains
from sensorium.evaluation.response_cache import ResponseCache
from sensorium.evaluation.run import limited, run
from sensorium.evaluation.run_folder import RunFolder
from sensorium.media import encode_image
from sensorium.progress import ProgressCallback

PLAIN, CORRECT = "none", "correct"
TIMED = 8  # questions whose time is taken


@dataclass(frozen=True)
class Way:
    """name: of its folder; spec: with all settings; engine: who answers so; identity: whose replies those are; passes:
    of the language model for each token of a reply."""

    name: str
    spec: str
    engine: Engine
    identity: str
    passes: int = 1


@dataclass(frozen=True)
class Cost:
    """seconds: for a question; ratio: to plain answers; passes: as Way; calls: of verifiers for a question."""

    seconds: float
    ratio: float
    passes: int
    calls: float = 0.0


@dataclass(frozen=True)
class Row:
    """A way on a benchmark. judged: of correction, the claims that it had a verdict on; None of other ways."""

    way: str
    spec: str
    benchmark: str
    gains: list[Gain]
    cost: Cost | None
    judged: Share | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "way": self.way, "spec": self.spec, "benchmark": self.benchmark,
            "cost": None if self.cost is None else dict(self.cost.__dict__),
            "judged": None if self.judged is None else self.judged.to_json(),
            "tasks": [gain.to_json() for gain in self.gains],
        }  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """What is asked on all ways. about: of the model, as headers of runs have it."""

    benchmark: Benchmark
    data: Data
    limit: int | None
    out: Path
    cache: ResponseCache | None
    about: Mapping[str, Any]
    batch_size: int = 64

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.benchmark.max_new_tokens)

    def questions(self) -> list[Question]:
        return limited(self.benchmark.read(self.data, self.benchmark.prompts[0]), self.limit)

    def folder(self, way: str, identity: str) -> RunFolder:
        sampling = dict(self.sampling.__dict__) | {"stop": list(self.sampling.stop)}
        seen = {"frames": self.data.frames, "sampling": self.data.sampling, "subtitles": self.data.with_subtitles}
        return RunFolder(self.out / way / self.benchmark.name, {
            "benchmark": self.benchmark.name, "prompt": self.benchmark.prompts[0], "data": self.data.sha256,
            "split": self.data.split, "engine": identity, "sampling": sampling,
        } | ({"videos": seen} if self.benchmark.modality == "video" else {}))  # fmt: skip

    def header(self, model: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": dict(model), "limit": self.limit,
                "data_about": {"name": self.data.path.name, "layout": self.data.layout}}  # fmt: skip


def compare_ways(
    trial: Trial, ways: Sequence[Way], make_corrector: Callable[[], Corrector] | None, progress: ProgressCallback,
    is_timed: bool = True,
) -> list[Row]:  # fmt: skip
    """Ask every way what its folder does not hold yet, and count. The first way is the plain one; with a corrector,
    correction of its replies is the last row. make_corrector: one that has seen nothing yet.

    Raises SensoriumError as `run` does; what was answered is kept.
    """
    questions = trial.questions()
    plain: list[Answer] = []
    rows: list[Row] = []
    costs = _costs(trial, questions, ways, make_corrector, progress) if is_timed else {}
    for way in ways:
        folder = trial.folder(way.name, way.identity)
        model = {"name": way.engine.card.name, "provenance": way.engine.card.provenance}

        def tell(what: str, done: int, total: int, name: str = way.name) -> None:
            progress(f"{trial.benchmark.name}, {name}: {what}", done, total)

        done = run(questions, Here(way.engine), folder, way.identity, trial.sampling, 1, trial.cache, trial.batch_size,
                   tell, trial.header(model))  # fmt: skip
        plain = plain or done.answers
        rows.append(Row(way.name, way.spec, trial.benchmark.name, gains(trial.benchmark.name, plain, done.answers),
                        costs.get(way.name)))  # fmt: skip
    if make_corrector is not None:
        corrector = make_corrector()
        answers, judged = _corrected(trial, questions, plain, ways[0], corrector, progress)
        found = gains(trial.benchmark.name, plain, answers)
        rows.append(Row(CORRECT, describe(corrector), trial.benchmark.name, found, costs.get(CORRECT), judged))
    return rows


def describe(corrector: Corrector) -> str:
    verifiers = "+".join(f"{one.name}@{one.version}" for one in corrector.verifiers)
    return f"{CORRECT}:verifiers={verifiers},editor={corrector.editor.name},risk={corrector.policy.risk}"


def _corrected(
    trial: Trial, questions: Sequence[Question], plain: Sequence[Answer], way: Way, corrector: Corrector,
    progress: ProgressCallback,
) -> tuple[list[Answer], Share]:  # fmt: skip
    """The plain replies corrected, and the share of their claims that there was a verdict on.

    A reply that cannot be corrected (empty, not English) stays as it is. Reports are kept beside the run.
    """
    identity = f"{way.identity}-{describe(corrector)}"
    folder = trial.folder(CORRECT, identity)
    asked = {question.id: question for question in questions}
    texts, reports = folder.path / "texts.jsonl", folder.path / "reports.jsonl"
    rows = [{"id": one.id, "image": _path(asked[one.id]), "text": one.reply, "question": _asked(asked[one.id])}
            for one in plain]  # fmt: skip
    texts.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    what = f"{trial.benchmark.name}, {CORRECT}: correcting"
    correct_rows(corrector, texts, reports, lambda done, total: progress(what, done, total))
    said: dict[str, str] = {}
    judged: list[tuple[str, bool]] = []
    for line in reports.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "report" in row and row["id"] in asked:
            said[row["id"]] = row["report"]["output"]
            judged += [(asked[row["id"]].cluster, verdict["value"] != "unknown")
                       for verdict in row["report"]["verdicts"]]  # fmt: skip
    answers = [replace(answer, reply=said.get(answer.id, answer.reply)) for answer in plain]
    folder.add([answer for answer in answers if (answer.id, 0) not in folder.known])
    model = {"name": f"{way.engine.card.name}, corrected", "provenance": dict(way.engine.card.provenance)}
    header = {**trial.header(model), "planned": len(questions), "repeats": 1, "unasked": {}}
    return folder.finish([(answer.id, 0) for answer in answers], header), Share.over(judged)


def _path(question: Question) -> str:
    [image] = question.media()
    if not isinstance(image.source, str):
        raise SensoriumError(question.where, "has its picture in no file, so it cannot be corrected in bulk.")
    return str(Path(image.source).absolute())


def _asked(question: Question) -> str:
    return str(question.truth.get("question", question.text))


def _costs(
    trial: Trial, questions: Sequence[Question], ways: Sequence[Way], make_corrector: Callable[[], Corrector] | None,
    progress: ProgressCallback,
) -> dict[str, Cost]:  # fmt: skip
    """Seconds for a question on each way, of the same few questions together, after one that warms up."""
    chosen = list(questions[:TIMED])
    conversations = [question.conversation(Here(ways[0].engine).times_s) for question in chosen]
    found: dict[str, Cost] = {}
    base, replies = 0.0, list[Reply]()
    for way in ways:
        progress(f"{trial.benchmark.name}, {way.name}: taking the time", 0, 0)
        way.engine.answer(conversations[:1], trial.sampling)
        seconds, replies_now = _timed(lambda engine=way.engine: engine.answer(conversations, trial.sampling))  # type: ignore[misc]
        base, replies = base or seconds, replies or replies_now
        found[way.name] = Cost(seconds / len(chosen), seconds / base, way.passes)
    if make_corrector is not None:
        fresh = make_corrector()
        fresh.correct(_grey(), "A dog.", None)
        texts = [(question, reply.text) for question, reply in zip(chosen, replies, strict=True) if reply.text.strip()]
        seconds, reports = _timed(lambda: [fresh.correct(_path(question), text, _asked(question))
                                           for question, text in texts])  # fmt: skip
        calls = sum(sum(report.cost.calls.values()) for report in reports)
        found[CORRECT] = Cost((base + seconds) / len(chosen), (base + seconds) / base, ways[0].passes,
                              calls / len(chosen))  # fmt: skip
    return found


def _grey() -> bytes:
    """A picture to warm up on."""
    return encode_image(PILImage.new("RGB", (64, 64), "grey"))


def _timed(work: Callable[[], list[Any]]) -> tuple[float, list[Any]]:
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done

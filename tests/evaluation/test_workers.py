"""Several engines by Ray: what happens when one of them dies, or cannot begin."""

from __future__ import annotations

import json

import pytest

from sensorium.engine import Sampling
from sensorium.errors import SensoriumError
from sensorium.evaluation.asking import Here
from sensorium.evaluation.benchmarks import BENCHMARKS, Data, Question
from sensorium.evaluation.run import run
from sensorium.evaluation.run_folder import RunFolder
from sensorium.evaluation.workers import RayWorkers
from sensorium.model.checkpoint import save_model


@pytest.mark.slow
def test_a_worker_that_dies_costs_what_it_had_in_hand_and_another_number_goes_on(tiny_model, tmp_path, own_cache):
    ray = pytest.importorskip("ray")
    model = save_model(tiny_model, tmp_path / "model", ["vision"])
    questions = [Question(f"q{i}", f"p{i}", "count", f"What is {i}?", {}, lambda: ()) for i in range(12)]
    options = {"name": str(model)}
    with pytest.raises(SensoriumError, match="nothing-here"):
        RayWorkers(1, {"name": str(tmp_path / "nothing-here")})
    assert not ray.is_initialized(), "what failed to begin is ended"
    workers = RayWorkers(2, options)

    def kill_one(what, done, total):
        if done == 4:
            ray.kill(workers._workers[0])

    identity = {"engine": "e"}
    sampling = Sampling(max_new_tokens=3)
    try:
        with pytest.raises(SensoriumError, match=r"a worker died.* of 12 replies are kept"):
            run(questions, workers, RunFolder(tmp_path / "out", identity), "e", sampling, batch_size=1,
                progress=kill_one)  # fmt: skip
    finally:
        workers.close()
    kept = len(RunFolder(tmp_path / "out", identity).known)
    assert 4 <= kept < 12

    from sensorium.engine.loading import load_engine

    here = Here(load_engine(**options))
    resumed = run(questions, here, RunFolder(tmp_path / "out", identity), "e", sampling, batch_size=1)
    whole = run(questions, here, RunFolder(tmp_path / "whole", identity), "e", sampling, batch_size=1)
    assert resumed.answers == whole.answers


@pytest.mark.slow
def test_workers_tell_the_subtitles_of_the_frames_that_they_see(tiny_model, film, tmp_path, own_cache):
    pytest.importorskip("ray")
    model = save_model(tiny_model, tmp_path / "model", ["vision"])
    about = {"duration": "short", "domain": "Knowledge", "sub_category": "Astronomy"}
    rows = []
    for video in ("one", "two", "three"):
        film(tmp_path / f"{video}.mp4", [*range(40, 240, 5)])  # four seconds, of which the first two are told of
        (tmp_path / f"{video}.srt").write_text("1\n00:00:00,000 --> 00:00:02,000\nHi.\n")
        asked = [{"question_id": f"{video}-{i}", "task_type": "OCR Problems", "question": "Which?", "answer": "A",
                  "options": ["A. 1.", "B. 2.", "C. 3.", "D. 4."]} for i in range(3)]  # fmt: skip
        rows.append({"video_id": video, **about, "questions": asked})
    (tmp_path / "test.json").write_text(json.dumps(rows))
    data = Data(tmp_path / "test.json", frames=2, with_subtitles=True)
    questions = list(BENCHMARKS["videomme"].read(data, "official"))
    workers = RayWorkers(2, {"name": str(model)})
    try:
        workers._travels = True  # as to other machines
        assert [round(time_s) for time_s in workers.times_s(questions[0].media()[0])] == [1, 3]
        done = run(questions, workers, RunFolder(tmp_path / "out", {"engine": "e"}), "e", Sampling(max_new_tokens=2),
                   batch_size=3)  # fmt: skip
    finally:
        workers.close()
    assert len(done.answers) == 9 and not done.unasked

"""Several engines by Ray: what happens when one of them dies, or cannot begin."""

from __future__ import annotations

import pytest

from sensorium.engine import Sampling
from sensorium.errors import SensoriumError
from sensorium.evaluation.asking import Here
from sensorium.evaluation.benchmarks import Question
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

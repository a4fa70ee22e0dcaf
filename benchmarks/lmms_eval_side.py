"""lmms-eval on the questions of `evaluate.py`, in an environment of its own: what that benchmark starts and asks.

    PYTHON benchmarks/lmms_eval_side.py FOLDER THREADS

FOLDER holds `llava/`, the model, and `pope.parquet`, the questions in lmms-lab's layout. Says `ready` when the model is
loaded; answers each line on its input with one run: a line of JSON, {"seconds", "replies"}.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.models.chat.llava_hf import LlavaHf
from lmms_eval.tasks import TaskManager

NAME = "pope_here"
# Their task of POPE, reading the file, asking as our `official` does, and stopping after as many tokens.
TASK = """
dataset_path: parquet
dataset_kwargs: {{data_files: {{test: {data}}}}}
task: {name}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.pope_doc_to_visual
doc_to_text: !function utils.pope_doc_to_text
doc_to_target: answer
generation_kwargs: {{max_new_tokens: 16, temperature: 0, top_p: 1.0, num_beams: 1, do_sample: false}}
process_results: !function utils.pope_process_results
metric_list:
  - {{metric: pope_accuracy, aggregation: !function utils.pope_aggregate_accuracy, higher_is_better: true}}
  - {{metric: pope_f1_score, aggregation: !function utils.pope_aggregate_f1_score, higher_is_better: true}}
lmms_eval_specific_kwargs: {{default: {{pre_prompt: "", post_prompt: ""}}}}
"""


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    tasks = _task(folder)
    model = LlavaHf(pretrained=str(folder / "llava"), device="cpu", device_map="cpu", dtype="float32", batch_size=1)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        found = simple_evaluate(model=model, tasks=[NAME], task_manager=tasks, batch_size=1, log_samples=True)
        seconds = time.perf_counter() - start
        samples = sorted(found["samples"][NAME], key=lambda sample: sample["doc_id"])
        print(json.dumps({"seconds": seconds, "replies": [sample["resps"][0][0] for sample in samples]}), flush=True)


def _task(folder: Path) -> TaskManager:
    """Of one task alone, with the functions of their own POPE."""
    import lmms_eval.tasks.pope.utils as theirs

    home = folder / "tasks" / NAME
    home.mkdir(parents=True)
    (home / "utils.py").write_text(Path(theirs.__file__).read_text(encoding="utf-8"))
    (home / f"{NAME}.yaml").write_text(TASK.format(data=folder / "pope.parquet", name=NAME))
    return TaskManager(include_path=str(home.parent), include_defaults=False)


if __name__ == "__main__":
    main()

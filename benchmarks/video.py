"""Is a video decoded and sampled as fast as by OpenCV (and decord, where it is installed), in less memory?

One film of 1280x720 is made here, and the same film again and again until it lasts an hour, by copying its packets.
Each side reads it in fresh processes that take turns; the memory is what the process came to hold above what it held
when all was imported (as Linux tells it). Frames of both sides are compared, so that nobody wins by looking at others.

    python benchmarks/video.py --seconds 60 --rounds 3

`every frame`: all frames as RGB, one after the other. `sampled`: so many frames from the whole length, by seeking where
that helps. `hour`: the same of an hour, on our side as an engine gets them: shrunk, encoded, with their times.

`answers`, with --model: a question about the hour, from the file to the first token of the reply, then another one; for
several numbers of frames, so that latency stands beside visual tokens; memory is above what the loaded model holds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEIGHT, FPS = 1280, 720, 25
TASKS = ("every frame", "sampled", "hour")
DRIFT = ((1, 0.3, 0.05), (0.2, 1, 0.03), (0.7, 0.7, 0.07))  # of each colour: across, down, in time
SAME = 3.0  # grey levels that two programs' conversions of colours may differ by on average


def main() -> None:
    options = _options()
    if options.side == "answers":
        found_of = answers(Path(options.film), options.model, options.engine, options.frames, options.visual_tokens)
        print(json.dumps(found_of))
        return
    if options.side is not None:
        print(json.dumps(measure(options.side, options.task, Path(options.film), options.frames)))
        return
    sides = ["sensorium", "opencv", *(["decord"] if importlib.util.find_spec("decord") else [])]
    with tempfile.TemporaryDirectory() as folder:
        minute = make_film(Path(folder) / "minute.mp4", options.seconds)
        hour = lengthen(minute, Path(folder) / "hour.mp4", options.hour_seconds)
        found: dict[str, Any] = {}
        for task in TASKS:
            film = hour if task == "hour" else minute
            rounds = [{side: _in_process(side, task, film, options.frames) for side in sides}
                      for _ in range(options.rounds)]  # fmt: skip
            found[task] = compared(rounds, sides)
            report(task, found[task])
        if options.model:
            found["answers"] = answered(hour, options)
    if options.json:
        print(json.dumps(found))


def make_film(path: Path, seconds: int) -> Path:
    """Colours that drift behind what moves, with grain: neither a still nor noise; a keyframe each ten seconds."""
    import av

    draw = np.random.default_rng(0)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    grain = draw.normal(0, 6, (HEIGHT, WIDTH, 1)).astype(np.float32)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 10 * FPS
        stream.codec_context.options = {"preset": "veryfast", "crf": "23"}
        for k in range(seconds * FPS):
            waves = [np.sin((x * a + y * b) / 90 + k * c) for a, b, c in DRIFT]
            picture = 128 + 80 * np.stack(waves, axis=2) + grain
            left = int(k * 7 % (WIDTH - 200))
            picture[200:400, left : left + 200] = (k * 3 % 256, 255 - k % 256, 40)
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), "rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def lengthen(film: Path, path: Path, seconds: int) -> Path:
    """The film's packets one time after the other until it lasts so long; nothing is encoded again."""
    import av

    with av.open(str(film)) as first, av.open(str(path), "w") as out:
        length = first.streams.video[0].duration
        stream = out.add_stream_from_template(first.streams.video[0])
        tick = first.streams.video[0].time_base
        for turn in range(max(1, round(seconds / float(length * tick)))):
            with av.open(str(film)) as again:
                for packet in again.demux(video=0):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                    packet.stream = stream
                    out.mux(packet)
    return path


def measure(side: str, task: str, film: Path, n_frames: int) -> dict[str, Any]:
    """In a process of its own: seconds, frames, memory above the start in bytes, and the mean colour of each frame."""
    read = READERS[side](task)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _bytes("VmRSS")
    started = time.perf_counter()
    colours = read(film, n_frames)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "frames": len(colours), "bytes": _bytes("VmHWM") - before, "colours": colours}


def answers(film: Path, model: str, engine: str, n_frames: int, visual_tokens: int | None) -> dict[str, Any] | None:
    """In a process of its own: tokens of the prompt, those read before, and seconds to the reply's first token, of two
    questions about n frames of the film; memory above the loaded model in bytes. None where they have no room.
    """
    from sensorium.conversation import Conversation, Image, Video, user
    from sensorium.engine import Sampling
    from sensorium.engine.loading import load_engine
    from sensorium.media import encode_image

    asked = load_engine(model, engine=engine, visual_tokens=visual_tokens)  # type: ignore[arg-type]
    if n_frames * asked.card.visual_tokens >= asked.card.context_length > 0:
        return None
    from PIL import Image as Picture

    small = Image(encode_image(Picture.new("RGB", (64, 64))))
    asked.answer([Conversation((user(small, "Hello"),))], Sampling(max_new_tokens=1))  # what is set up once
    Path("/proc/self/clear_refs").write_text("5")
    before, found = _bytes("VmRSS"), []
    for question in ("What happens?", "Which colours are seen?"):
        started = time.perf_counter()
        shown = Conversation((user(Video(str(film), frames=n_frames), question),))
        [reply] = asked.answer([shown], Sampling(max_new_tokens=1))
        seconds = time.perf_counter() - started
        found.append({"seconds": seconds, "prompt": reply.n_prompt, "cached": reply.n_cached})
    return {"visual_tokens": n_frames * asked.card.visual_tokens, "first": found[0], "second": found[1],
            "bytes": _bytes("VmHWM") - before}  # fmt: skip


def answered(film: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Of a quarter, a half and all of the frames: the round with the median first answer."""
    rows = []
    print(f"answers ({options.model}, {options.engine})")
    for n_frames in sorted({max(1, options.frames // part) for part in (4, 2, 1)}):
        more = ["--model", options.model, "--engine", options.engine]
        more += ["--visual-tokens", str(options.visual_tokens)] if options.visual_tokens else []
        rounds = [_in_process("answers", "answers", film, n_frames, more) for _ in range(options.rounds)]
        if None in rounds:
            print(f"  {n_frames:4} frames have no room in this model; see --visual-tokens")
            continue
        row = sorted(rounds, key=lambda one: one["first"]["seconds"])[len(rounds) // 2] | {"frames": n_frames}
        first, second = row["first"], row["second"]
        print(f"  {n_frames:4} frames, {row['visual_tokens']:6} visual tokens: {first['seconds']:7.2f} s, then "
              f"{second['seconds']:6.2f} s ({second['cached']} of {second['prompt']} tokens were read before), "
              f"{row['bytes'] / 1e6:.0f} MB above the model")  # fmt: skip
        rows.append(row)
    return rows


def _sensorium(task: str) -> Callable[[Path, int], list[float]]:
    import av  # noqa: F401 (else its loading would be timed)

    from sensorium.conversation import Image, Video
    from sensorium.media import open_image
    from sensorium.media.sampling import Plan, sample
    from sensorium.media.video import open_video
    from sensorium.media.watching import Watcher

    def every(film: Path, n_frames: int) -> list[float]:
        with open_video(film) as reader:
            times = (k / FPS for k in range(round(reader.info.duration_s * FPS)))
            return [_mean(frame.pixels) for frame in reader.frames_at(times)]

    def sampled(film: Path, n_frames: int) -> list[float]:
        frames = sample(film, Plan("uniform", n_frames), max_side=None).frames
        return [_mean(frame.pixels) for frame in frames]

    def hour(film: Path, n_frames: int) -> list[float]:
        parts = Watcher().watch(Video(str(film), frames=n_frames)).parts
        return [_mean(np.asarray(open_image(part))) for part in parts if isinstance(part, Image)]

    return {"every frame": every, "sampled": sampled, "hour": hour}[task]


def _opencv(task: str) -> Callable[[Path, int], list[float]]:
    import cv2

    def read(film: Path, n_frames: int) -> list[float]:
        capture = cv2.VideoCapture(str(film))
        n = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if task == "every frame":
            means = []
            while (found := capture.read())[0]:
                means.append(_mean(cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB)))
            return means
        pictures = []
        for number in _middles(n, n_frames):
            capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            pictures.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
        return [_mean(picture) for picture in pictures]

    return read


def _decord(task: str) -> Callable[[Path, int], list[float]]:
    import decord

    def read(film: Path, n_frames: int) -> list[float]:
        reader = decord.VideoReader(str(film))
        if task == "every frame":
            return [_mean(reader[k].asnumpy()) for k in range(len(reader))]
        return [_mean(picture) for picture in reader.get_batch(_middles(len(reader), n_frames)).asnumpy()]

    return read


READERS = {"sensorium": _sensorium, "opencv": _opencv, "decord": _decord}


def _middles(n: int, n_frames: int) -> list[int]:
    """Frames at the middles of equal stretches, as our `uniform` takes them."""
    return [int((k + 0.5) * n / n_frames) for k in range(n_frames)]


def _mean(picture: np.ndarray) -> float:
    """Every 16th pixel is enough to tell frames apart, and costs both sides nothing."""
    return float(picture[::16, ::16].mean())


def _bytes(name: str) -> int:
    """What Linux says of this process: VmRSS, memory held now; VmHWM, at most so far."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith(f"{name}:"))


def _in_process(side: str, task: str, film: Path, n_frames: int, more: Sequence[str] = ()) -> dict[str, Any]:
    words = [sys.executable, __file__, "--side", side, "--task", task, "--film", str(film), "--frames", str(n_frames),
             *more]  # fmt: skip
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def compared(rounds: list[dict[str, dict[str, Any]]], sides: list[str]) -> dict[str, Any]:
    """Medians of each side, and ours to each of the others': frames a second (more is better), memory (less is)."""
    ours = rounds[0]["sensorium"]["colours"]
    for side in sides[1:]:
        theirs = rounds[0][side]["colours"]
        if len(theirs) != len(ours) or np.abs(np.subtract(ours, theirs)).mean() > SAME:
            raise SystemExit(f"{side} and sensorium read other frames: {len(theirs)} and {len(ours)}")
    found: dict[str, Any] = {}
    for side in sides:
        rate = statistics.median(one[side]["frames"] / one[side]["seconds"] for one in rounds)
        found[side] = {"frames_per_s": rate, "bytes": statistics.median(one[side]["bytes"] for one in rounds)}
    for side in sides[1:]:
        speed = [one[side]["seconds"] / one["sensorium"]["seconds"] for one in rounds]
        memory = found["sensorium"]["bytes"] / found[side]["bytes"]
        found[f"to {side}"] = {"speed": statistics.median(speed), "memory": memory}
    return found


def report(task: str, found: dict[str, Any]) -> None:
    print(task)
    for side, numbers in found.items():
        if "speed" in numbers:
            print(f"  {side:<12} {numbers['speed']:8.2f} times the speed  {numbers['memory']:8.2f} times the memory")
        else:
            memory = f"{numbers['bytes'] / 1e6:10.0f} MB above the start"
            print(f"  {side:<12} {numbers['frames_per_s']:8.1f} frames/s  {memory}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="of the film")
    parser.add_argument("--hour-seconds", type=int, default=3600, help="of the long one")
    parser.add_argument("--frames", type=int, default=128, help="that are sampled")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", help="also time answers about the hour, by this model, as `default`")
    parser.add_argument("--visual-tokens", type=int, help="that a frame takes then; as many as the model makes of it")
    parser.add_argument("--engine", default="auto", choices=("auto", "llamacpp", "torch"))
    parser.add_argument("--json", action="store_true")
    for hidden in ("--side", "--task", "--film"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

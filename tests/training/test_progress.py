"""The numbers of a run against sums by hand, on a clock that the test moves."""

import io
import math

import pytest
from rich.console import Console

from sensorium.training.progress import Progress, format_duration


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _run(progress: Progress, clock: Clock, steps: range, seconds: float, **changes) -> None:
    """One update a step, each `seconds` long."""
    for step in steps:
        clock.now_s += seconds
        told = {"loss": 2.0, "samples": 8, "tokens": 400, "wait_s": seconds / 4, "lr": 1e-3} | changes
        progress.update(step=step, **told)


def test_speeds_waiting_and_time_left_are_those_of_the_run():
    clock, lines = Clock(), []
    with Progress(100, "align", say=lines.append, clock=clock) as progress:
        _run(progress, clock, range(1, 11), seconds=2.0)
        numbers = progress.numbers
    assert numbers.samples_per_s == pytest.approx(4.0)
    assert numbers.tokens_per_s == pytest.approx(200.0)
    assert numbers.waiting_share == pytest.approx(0.25)
    assert numbers.left_s == pytest.approx(90 * 2.0)
    assert numbers.loss == pytest.approx(2.0)
    assert lines[-1] == (
        "align 10/100  loss 2.0000  lr 1.00e-03  4.0 samples/s  200 tokens/s  waiting for data 25%  3 min 00 s left"
    )


def test_speeds_are_of_the_last_minute_so_that_a_slow_start_is_forgotten():
    clock = Clock()
    progress = Progress(1000, "align", say=lambda line: None, clock=clock)
    _run(progress, clock, range(1, 11), seconds=100.0)
    _run(progress, clock, range(11, 131), seconds=1.0)
    assert progress.numbers.samples_per_s == pytest.approx(8.0)
    assert progress.numbers.left_s == pytest.approx(870.0)


def test_time_not_spent_on_steps_counts_in_the_time_left():
    clock = Clock()
    progress = Progress(100, "align", say=lambda line: None, clock=clock)
    _run(progress, clock, range(1, 6), seconds=1.0)
    clock.now_s += 5.0  # a validation
    _run(progress, clock, range(6, 11), seconds=1.0)
    assert progress.numbers.left_s == pytest.approx(90 * 15 / 10)


def test_a_resumed_run_does_not_count_the_steps_done_before():
    clock = Clock()
    progress = Progress(100, "align", start_step=90, say=lambda line: None, clock=clock)
    _run(progress, clock, range(91, 96), seconds=1.0)
    assert progress.numbers.left_s == pytest.approx(5.0)


def test_the_loss_is_smoothed_without_a_pull_to_zero_at_the_start():
    clock = Clock()
    progress = Progress(1000, "align", say=lambda line: None, clock=clock)
    _run(progress, clock, range(1, 2), seconds=1.0, loss=5.0)
    assert progress.numbers.loss == pytest.approx(5.0)
    _run(progress, clock, range(2, 3), seconds=1.0, loss=3.0)
    assert progress.numbers.loss == pytest.approx((0.98 * 5 + 3) / 1.98)
    _run(progress, clock, range(3, 500), seconds=1.0, loss=1.0)
    assert progress.numbers.loss == pytest.approx(1.0, abs=1e-3)


def test_nothing_is_invented_before_the_first_step():
    progress = Progress(10, "align", say=lambda line: None, clock=Clock())
    assert math.isnan(progress.numbers.loss) and math.isnan(progress.numbers.left_s)


def test_plain_lines_come_at_the_first_step_every_so_often_and_at_the_end():
    clock, lines = Clock(), []
    with Progress(100, "align", say=lines.append, every_s=30.0, clock=clock) as progress:
        _run(progress, clock, range(1, 66), seconds=1.0)
    assert [line.split()[1] for line in lines] == ["1/100", "31/100", "61/100", "65/100"]


def test_a_last_line_just_shown_is_not_shown_twice():
    clock, lines = Clock(), []
    with Progress(1, "align", say=lines.append, clock=clock) as progress:
        _run(progress, clock, range(1, 2), seconds=1.0)
    assert len(lines) == 1


def test_notes_validation_and_rates_of_modules_are_said_plainly():
    clock, lines = Clock(), []
    with Progress(100, "instruct", say=lines.append, clock=clock) as progress:
        _run(progress, clock, range(1, 2), seconds=1.0, lr={"connector": 2e-4, "lora": 4e-4})
        progress.note("saved step 1")
        progress.validated({"loss": 1.25, "existence": 0.8125})
    assert "lr connector 0.0002, lora 0.0004" in lines[0]
    assert lines[1:] == ["saved step 1", "instruct step 1: validation loss 1.25, existence 0.812"]


def test_what_is_not_a_terminal_gets_whole_plain_lines_with_brackets_left_in():
    stream, clock = io.StringIO(), Clock()
    with Progress(100, "align", console=Console(file=stream, width=40), clock=clock) as progress:
        _run(progress, clock, range(1, 2), seconds=1.0)
        progress.note("kept [red] of 3")
    line, note = stream.getvalue().splitlines()
    assert line.startswith("align 1/100  loss 2.0000") and line.endswith("left")
    assert note == "kept [red] of 3"


def test_a_terminal_gets_a_live_display_with_the_same_numbers():
    stream, clock = io.StringIO(), Clock()
    console = Console(file=stream, force_terminal=True, width=120, legacy_windows=False)
    with Progress(100, "align", console=console, clock=clock) as progress:
        _run(progress, clock, range(1, 11), seconds=2.0)
        progress.validated({"existence": 0.75})
        progress.note("saved step 10")
    shown = stream.getvalue()
    for text in ("10/100", "3 min 00 s left", "4.0 samples/s", "25%", "validation existence 0.75", "saved step 10"):
        assert text in shown
    assert shown.endswith("\x1b[?25h")  # the cursor is given back


def test_the_terminal_is_given_back_when_training_fails():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, legacy_windows=False)
    with pytest.raises(KeyboardInterrupt), Progress(100, "align", console=console, clock=Clock()):
        raise KeyboardInterrupt
    assert "\x1b[?25h" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (18420, "5 h 07 min"),
        (2 * 86400 + 3 * 3600, "2 d 03 h"),
        (math.nan, "?"),
        (math.inf, "?"),
    ],
)
def test_durations_read_as_a_person_says_them(seconds, text):
    assert format_duration(seconds) == text

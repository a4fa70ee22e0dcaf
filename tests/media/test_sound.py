"""Sound as samples: of a video and of a recording, the right pitch, length and place."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

from sensorium.errors import SensoriumError
from sensorium.media.sound import RATE, SoundLimits, read_sound


def wav(samples, rate=44_100, channels=1):
    stream = io.BytesIO()
    with wave.open(stream, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return stream.getvalue()


def pitch(samples):
    """The strongest frequency, in Hz."""
    return np.abs(np.fft.rfft(samples)).argmax() * RATE / len(samples)


def test_the_sound_of_a_video_is_its_tone_at_16_kHz(film, tmp_path):
    samples = read_sound(film(tmp_path / "clip.mp4", range(40, 60), sound_s=2))
    assert samples.dtype == np.float32 and len(samples) == pytest.approx(2 * RATE, rel=0.05)
    assert pitch(samples[:RATE]) == pytest.approx(440, abs=1)


def test_a_recording_is_resampled_mixed_and_cut_at_the_right_place():
    time = np.arange(3 * 44_100) / 44_100
    tone = 0.5 * np.sin(2 * np.pi * np.where(time < 1, 500, 1000) * time)
    data = wav(np.stack([tone, np.zeros_like(tone)], axis=1).ravel(), channels=2)
    whole = read_sound(data)
    assert len(whole) == pytest.approx(3 * RATE, abs=2)
    assert np.abs(whole).max() == pytest.approx(0.25, abs=0.02), "half of the left, nothing of the right"
    assert pitch(read_sound(data, 0.25, 0.5)) == pytest.approx(500, abs=3)
    assert pitch(read_sound(data, 1.25, 0.5)) == pytest.approx(1000, abs=3)
    assert len(read_sound(data, 2.5, 9)) == pytest.approx(0.5 * RATE, abs=600)


def test_what_has_no_sound_or_too_much_is_refused(film, tmp_path):
    with pytest.raises(SensoriumError, match="holds no sound"):
        read_sound(film(tmp_path / "clip.mp4", [40, 60]))
    with pytest.raises(SensoriumError, match="has 3 s of sound to be read; at most 2 are"):
        read_sound(wav(np.zeros(3 * 44_100)), limits=SoundLimits(max_seconds=2))
    with pytest.raises(SensoriumError, match="is plain text, not a sound"):
        read_sound(b"la la la")

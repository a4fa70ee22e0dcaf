"""Pictures on their way to another program arrive as they are, or upright and readable by all."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image as Picture

from sensorium.conversation import Image
from sensorium.errors import SensoriumError
from sensorium.media import open_image
from sensorium.media.sending import to_data_url


def _encoded(format: str, size: tuple[int, int] = (40, 20), **options: object) -> bytes:
    data = io.BytesIO()
    Picture.effect_noise(size, 50).convert("RGB").save(data, format, **options)
    return data.getvalue()


def _sent(data: bytes, **options: int) -> tuple[str, bytes]:
    kind, _, body = to_data_url(Image(data), **options).partition(";base64,")
    return kind.removeprefix("data:"), base64.b64decode(body)


@pytest.mark.parametrize(("format", "kind"), [("PNG", "image/png"), ("JPEG", "image/jpeg")])
def test_what_all_can_read_goes_byte_for_byte(format, kind, tmp_path):
    data = _encoded(format)
    assert _sent(data) == (kind, data) == _sent(data, max_side=40)
    (tmp_path / "a").write_bytes(data)
    assert to_data_url(Image(str(tmp_path / "a"))) == to_data_url(Image(data))


@pytest.mark.parametrize("format", ["WEBP", "BMP", "GIF", "TIFF"])
def test_other_formats_become_png_of_the_same_pixels(format):
    data = _encoded(format)
    kind, sent = _sent(data)
    assert kind == "image/png" and open_image(sent).tobytes() == open_image(data).tobytes()


def test_a_turned_photo_is_sent_upright():
    exif = Picture.Exif()
    exif[0x0112] = 6
    data = _encoded("JPEG", exif=exif)
    kind, sent = _sent(data)
    assert kind == "image/png" and Picture.open(io.BytesIO(sent)).size == (20, 40)
    assert open_image(sent).tobytes() == open_image(data).tobytes()


def test_large_pictures_are_shrunk_and_noisy_ones_written_as_jpeg():
    assert open_image(_sent(_encoded("PNG"), max_side=10)[1]).size == (10, 5)
    kind, sent = _sent(_encoded("BMP", (1400, 1400)))
    assert kind == "image/jpeg" and open_image(sent).size == (1400, 1400)


def test_what_is_no_picture_is_not_sent():
    with pytest.raises(SensoriumError, match="is a PDF document"):
        to_data_url(Image(b"%PDF-1.7"))

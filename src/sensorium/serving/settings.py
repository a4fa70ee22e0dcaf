"""What whoever runs a server decides, once, in one place."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from sensorium.media.sampling import MAX_FRAMES
from sensorium.media.video import VideoLimits

# What a stranger's video may be: less than what one opens for oneself (`VideoLimits`).
STRANGERS = VideoLimits(max_bytes=2**30, max_pixels=2560 * 1440, max_seconds=3600, max_frames=500_000)


class ServerSettings(BaseModel):
    """keys: bearer keys of which each request must bring one; none: everybody may ask.

    max_body_mb, body_timeout_s: of a request; max_held_mb: of all requests that are here at once;
    header_timeout_s: for a request's first lines to come; max_connections: open at once, see `serving.server`.
    max_running, max_waiting: requests answered at once, and waiting for that; reply_timeout_s: of one reply, from when
    it is begun; max_new_tokens: of a reply whose request names no limit.
    max_megapixels: of one picture, max_total_megapixels: of all that a request shows; video: what each of its videos
    may be; max_frames: looked at, of all its videos together; watch_timeout_s: for decoding them; max_watching:
    requests whose videos are decoded at once.
    allow_remote_pictures: fetch pictures and videos by their address, from public machines only; picture_hosts: and
    only from these hosts, if any are named; fetch_timeout_s, video_fetch_timeout_s: of one picture, of one video;
    max_fetching: requests for which something is fetched at once.
    allow_origins: web pages of other sites that may ask. allow_hosts: the names by which callers may speak to the
    server, if any are named: a page whose own name was made to lead here (DNS rebinding) is no other site to a browser.
    page: whether the web page is served at `/`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[str, ...] = ()
    max_body_mb: float = Field(default=32, gt=0)
    body_timeout_s: float = Field(default=30, gt=0)
    max_held_mb: float = Field(default=256, gt=0)
    header_timeout_s: float = Field(default=10, gt=0)
    max_connections: int = Field(default=500, ge=1)
    max_running: int = Field(default=4, ge=1)
    max_waiting: int = Field(default=32, ge=0)
    reply_timeout_s: float = Field(default=300, gt=0)
    max_new_tokens: int = Field(default=512, ge=1)
    max_megapixels: float = Field(default=50, gt=0, le=100)  # beyond that no engine opens one
    max_total_megapixels: float = Field(default=200, gt=0)
    video: VideoLimits = STRANGERS
    max_frames: int = Field(default=64, ge=1, le=MAX_FRAMES)
    watch_timeout_s: float = Field(default=20, gt=0)
    max_watching: int = Field(default=2, ge=1)
    allow_remote_pictures: bool = False
    picture_hosts: tuple[str, ...] = ()
    fetch_timeout_s: float = Field(default=10, gt=0)
    video_fetch_timeout_s: float = Field(default=30, gt=0)
    max_fetching: int = Field(default=4, ge=1)
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    page: bool = False

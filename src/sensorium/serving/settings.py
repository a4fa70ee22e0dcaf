"""What whoever runs a server decides, once, in one place."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ServerSettings(BaseModel):
    """keys: bearer keys of which each request must bring one; none: everybody may ask.

    max_body_mb, body_timeout_s: of a request; max_held_mb: of all requests that are here at once;
    header_timeout_s: for a request's first lines to come; max_connections: open at once, see `serving.server`.
    max_running, max_waiting: requests answered at once, and waiting for that; reply_timeout_s: of one reply, from when
    it is begun; max_new_tokens: of a reply whose request names no limit.
    allow_remote_pictures: fetch pictures by their address, from public machines only; picture_hosts: and only from
    these hosts, if any are named; fetch_timeout_s: of one picture; max_fetching: requests whose pictures are fetched at
    once.
    allow_origins: web pages of other sites that may ask. allow_hosts: the names by which callers may speak to the
    server, if any are named: a page whose own name was made to lead here (DNS rebinding) is no other site to a browser.
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
    allow_remote_pictures: bool = False
    picture_hosts: tuple[str, ...] = ()
    fetch_timeout_s: float = Field(default=10, gt=0)
    max_fetching: int = Field(default=4, ge=1)
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()

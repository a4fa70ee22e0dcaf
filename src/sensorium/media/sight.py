"""How a model looks at a picture: one view of the whole, or tiles with a small whole, and what that costs in tokens.

The settings are those that a recipe and a checkpoint carry. Everything here is arithmetic on sizes; `model.views` makes
tensors of it, and engines that run a model elsewhere cut the same views.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sensorium.conversation import Image
from sensorium.media import image_size
from sensorium.media.fits import Fit, letterbox, native, pad, squash
from sensorium.media.tiles import TilesConfig
from sensorium.media.views import Canvas, Size, View, Views, in_order

USUAL_PICTURE: Size = (640, 480)  # what is told of a picture before one is there


class ViewsConfig(BaseModel):
    """fit: how a whole picture becomes a view. tiles: cut large pictures instead, by a scheme that says how itself.

    whole_up_to: a picture whose longer side has no more pixels is not cut. Published schemes do not know this: they cut
    what is just larger than the encoder's square, for several times the tokens and nothing more to see.
    named: "Picture 1: " stands before the first picture of a conversation, and so on, as Qwen-VL's prompts have it, so
    that words can speak of one of several. min_pixels, max_pixels: the budget of `native`. mean, std: per RGB channel,
    of pixels 0–1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fit: Fit = "squash"
    tiles: TilesConfig | None = None
    whole_up_to: int | None = Field(default=None, ge=1)
    named: bool = False
    min_pixels: int = Field(default=56 * 56, ge=1)
    max_pixels: int = Field(default=448 * 448, ge=1)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _whole_of_something(self) -> ViewsConfig:
        if self.whole_up_to is not None and (self.tiles is None or self.fit == "native"):
            raise ValueError("whole_up_to says which pictures are not cut: it needs tiles, and another fit than native")
        return self

    @property
    def added_tokens(self) -> tuple[str, ...]:
        """Tokens that stand between visual ones; the model learns them."""
        return self.tiles.added_tokens() if self.tiles is not None else ()

    @property
    def depends_on_size(self) -> bool:
        """Whether a picture's width and height decide how many visual tokens it takes."""
        return self.tiles is not None or self.fit == "native"

    @property
    def has_one_size(self) -> bool:
        """Whether the views of all pictures are of one size, so that what an encoder makes of them is of one shape."""
        return self.tiles is not None or self.fit != "native"


@dataclass(frozen=True)
class Sight:
    """What an encoder and a connector make of a view, which is all that a picture's views depend on.

    size: side of the encoder's square; token_pixels: side of what one visual token covers. queries: visual tokens of
    every view, where they stand for no place (a Q-Former's); None: one for each square of token_pixels.
    """

    config: ViewsConfig
    size: int
    token_pixels: int
    queries: int | None = None

    def fewer(self) -> Sight | None:
        """With fewer tiles, or half the pixels, at most; None where a picture cannot take less."""
        config, least = self.config, self.token_pixels**2
        if config.tiles is not None:
            tiles = config.tiles.fewer(self.size)
            return replace(self, config=config.model_copy(update={"tiles": tiles})) if tiles is not None else None
        if config.fit != "native" or config.max_pixels // 2 < least:
            return None
        pixels = config.max_pixels // 2
        update = {"max_pixels": pixels, "min_pixels": min(config.min_pixels, pixels)}
        return replace(self, config=config.model_copy(update=update))

    def in_words(self, picture: Size) -> str:
        """What is done to a picture of that size."""
        views, tiles = self.views(picture), self._tiles_of(picture)
        n, (width, height) = len(views), views.size
        if tiles is None:
            how = {"squash": "squashed", "pad": "padded and shrunk", "letterbox": "shrunk and padded",
                   "native": "resized"}[self.config.fit]
            return f"{how} to {width}x{height} pixels"
        return f"cut into {n} view{'s' * (n > 1)} of {width}x{height} pixels ({tiles.scheme})"

    def views_of(self, image: Image) -> Views:
        """How a picture is shown, by its header. Raises SensoriumError when it is none, or the scheme cannot."""
        return self.views(image_size(image))

    def views(self, picture: Size) -> Views:
        """How a picture of that width and height is shown. Raises SensoriumError where the scheme cannot."""
        tiles = self._tiles_of(picture)
        if tiles is not None:
            return tiles.views(picture, self.size, *self._tokens((self.size, self.size)))
        canvas = self._canvas(picture)
        n_tokens, grid = self._tokens(canvas.size)
        views = (View(0),)
        return Views((canvas,), views, canvas.size, n_tokens, grid, in_order(views, n_tokens))

    def _tiles_of(self, picture: Size) -> TilesConfig | None:
        """The scheme that a picture of that size is cut by, if it is cut."""
        config = self.config
        return None if config.whole_up_to is not None and max(picture) <= config.whole_up_to else config.tiles

    def _tokens(self, view: Size) -> tuple[int, tuple[int, int] | None]:
        if self.queries is not None:
            return self.queries, None
        columns, rows = (side // self.token_pixels for side in view)
        return rows * columns, (rows, columns)

    def _canvas(self, picture: Size) -> Canvas:
        config, size = self.config, self.size
        if config.fit == "squash":
            return squash(size)
        if config.fit == "native":
            return native(picture, self.token_pixels, config.min_pixels, config.max_pixels)
        # Rounded down, as LLaVA and transformers' processor of it do.
        ground = tuple(int(255 * m) for m in config.mean)
        return (pad if config.fit == "pad" else letterbox)(picture, size, ground)  # type: ignore[arg-type]

"""Samples read: their pictures fetched, decoded and transformed, a batch at a time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from torch import Tensor

from clscli.data.decode import Source, UnreadableImageError, fetched, reading
from clscli.data.order import Draw
from clscli.data.pixel_cache import PixelCache
from clscli.data.prefetch import prefetch
from clscli.data.read import read
from clscli.data.remote import is_far
from clscli.data.split import View
from clscli.data.transforms.contract import Transform
from clscli.seeds import augment_as, preserved

_REQUESTS = 16  # at once, of each worker: an object store takes a twentieth of a second to begin an answer


@dataclass(frozen=True)
class Item:
    """A sample as it was read: without an image, there is a reason."""

    index: int
    image: Tensor | None
    target: Tensor
    reason: str


@dataclass(frozen=True)
class Reader:
    """Read samples of a view: decode and transform, with randomness of the sample's own."""

    view: View
    transforms: Sequence[Transform]
    seed: int
    scaled_decode: bool = True
    cache: PixelCache | None = None

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, draw: Draw) -> Item:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[Draw]) -> list[Item]:
        """Read the samples of a batch; what DataLoader calls."""
        with preserved(), closing(self._sources(draws)) as sources:
            return [self._read(draw, source) for draw, source in zip(draws, sources, strict=True)]

    def _sources(self, draws: Sequence[Draw]) -> Generator[Source | UnreadableImageError | None, None, None]:
        """Yield what to decode for each draw; over a network, several at once: each takes long to come.

        None where a cache has the pixels, or fetches the picture itself.
        """
        if self.cache is not None:
            yield from (None for _ in draws)
            return
        first = self._source(draws[0]) if draws else None
        if is_far(first):
            yield from prefetch(self._fetch, draws, threads=_REQUESTS, ahead=_REQUESTS)
        elif first is not None:
            yield first
            yield from map(self._source, draws[1:])

    def _source(self, draw: Draw) -> Source | UnreadableImageError:
        try:
            return self.view.source(draw.index)
        except UnreadableImageError as error:
            return error

    def _fetch(self, draw: Draw) -> Source | UnreadableImageError:
        source = self._source(draw)
        try:
            with reading():
                return source if isinstance(source, Tensor | UnreadableImageError) else fetched(source)
        except UnreadableImageError as error:
            return error

    def _read(self, draw: Draw, source: Source | UnreadableImageError | None) -> Item:
        target = self.view.target(draw.index)
        try:
            image = self._image(draw, source)
        except UnreadableImageError as error:
            # Returned, not raised: the trainer decides, and a worker's exception arrives with a traceback.
            return Item(draw.index, None, target, str(error))
        return Item(draw.index, image, target, "")

    def _image(self, draw: Draw, source: Source | UnreadableImageError | None) -> Tensor:
        if isinstance(source, UnreadableImageError):
            raise source
        if source is not None:
            augment_as(self.seed, draw.epoch, draw.index, draw.repeat)
            return read(source, self.transforms, scaled_decode=self.scaled_decode)
        assert self.cache is not None
        pixels = self.cache.pixels(draw.index)
        # Only now: what is drawn does not depend on whether the picture was there.
        augment_as(self.seed, draw.epoch, draw.index, draw.repeat)
        return self.cache.finish(pixels)

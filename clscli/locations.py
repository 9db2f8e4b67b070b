"""Where files are: paths of this machine, or URLs such as `s3://bucket/photos`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


class Location(str):
    """A path or URL in a spec: like a Path, it is relative to the file that it is written in, unless a URL.

    `pathlib.Path` would make `s3:/bucket` of `s3://bucket`.
    """

    __slots__ = ()


# The type of a component's parameter for one.
PathOrURL = Annotated[str, AfterValidator(Location)]


def is_url(path: object) -> bool:
    """Tell a URL from a path of this machine."""
    return isinstance(path, str) and "://" in path

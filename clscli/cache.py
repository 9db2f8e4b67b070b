"""Where clscli keeps what it can make again: drawn data sets, converted pictures."""

import os
import sys
from pathlib import Path


def cache_directory() -> Path:
    """Return the user's cache folder for clscli, which need not exist yet.

    `$CLSCLI_CACHE` if set, else `$XDG_CACHE_HOME/clscli`, else the platform's own place for caches.
    """
    if chosen := os.environ.get("CLSCLI_CACHE"):
        return Path(chosen).expanduser()
    return platform_cache() / "clscli"


def platform_cache() -> Path:
    """Return the folder in which this platform's programs keep their caches."""
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local)
    return Path.home() / ".cache"

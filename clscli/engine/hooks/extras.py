"""Packages that only some hooks need, and that clscli does not install by itself."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(module: str, extra: str) -> Any:
    """Import a module of an optional package, which the extra of clscli's of that name installs.

    Raises ValueError, which becomes a problem of the spec before the run starts.
    """
    package = module.partition(".")[0]
    try:
        # A folder of the package's name in the working directory, such as wandb makes, imports as an empty
        # package without a file.
        if importlib.import_module(package).__file__ is not None:
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise ValueError(f"the package {package} cannot be imported: {error}") from error
    except ImportError as error:
        raise ValueError(f"the package {package} cannot be imported: {error}") from error
    raise ValueError(f"needs the package {package} -- pip install 'clscli[{extra}]'")

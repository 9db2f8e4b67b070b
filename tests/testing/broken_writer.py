"""A module that writes a file and asks a network while it is imported, and works."""

import socket
import tempfile
from pathlib import Path

from torch import Tensor

Path(tempfile.gettempdir(), "broken_writer.txt").write_text("imported")
with socket.socket() as _socket:
    _socket.settimeout(0.1)
    _socket.connect_ex(("127.0.0.1", 9))


class Invert:
    """Turn a picture into its negative."""

    def __call__(self, image: Tensor) -> Tensor:
        return 255 - image

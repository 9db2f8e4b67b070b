"""What a terminal shows: a bar while it runs, and every line as it was written."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import tiny_spec

from clscli.spec import render_spec


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_terminal_shows_a_bar_and_markup_is_not_read(pictures, tmp_path):
    import pty

    root = tmp_path / "[red]photos[/red]"
    shutil.copytree(pictures, root)
    bad = root / "train/disc/bad [b].png"
    bad.write_bytes(b"no picture")
    spec = tiny_spec(root)
    spec["data"] |= {"on_bad_image": "skip", "batch_size": 1}  # long enough for the bar to be drawn
    spec["train"]["epochs"] = 5
    (tmp_path / "tiny.toml").write_text(render_spec(spec), encoding="utf-8")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "clscli", "train", "tiny.toml", "--device", "cpu"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # how a pseudo-terminal ends on Linux
                break
            if not shown.endswith(b"\n") and process.poll() is not None:
                break
        assert process.wait() == 0, shown.decode()
        assert process.stdout.read() == b""
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert re.search(r"epoch \d/5 .* \d+/24 images ", text)
    assert f"cannot be read: {bad} (not a picture" in text.replace("\r\n", "")
    assert "best top-1 " in text

"""What this machine can really do, tried; run as a process of its own, which may hang or die.

`python -m clscli.abilities bfloat16 cuda` exits with 0 when it works, else the last line of stderr says why.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

# Compiling something tiny takes about ten seconds on two cores, the first time.
_SECONDS = 120.0


def try_ability(name: str, device: str, seconds: float = _SECONDS) -> str | None:
    """Try `bfloat16` or `compile` on a device; return None when it works, else why not, on one line."""
    command = [sys.executable, "-m", "clscli.abilities", name, device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, errors="replace")
    except subprocess.TimeoutExpired:
        return f"no result after {seconds:.0f} seconds"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"the process ended with {done.returncode}"


def _bfloat16(device: str) -> None:
    """Convolve and multiply in bfloat16, forward and backward."""
    import torch
    from torch import nn

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)).to(device)
    with torch.autocast(device, torch.bfloat16):
        loss = model(torch.ones(2, 3, 8, 8, device=device)).float().sum()
    torch.autograd.backward(loss)
    gradients = [p.grad for p in model.parameters()]
    if any(g is None or not torch.isfinite(g).all() for g in gradients):
        raise ArithmeticError("the gradients are not finite")


def _compile(device: str) -> None:
    """Compile a layer, with torch's own compiler, and compare it with the layer itself."""
    import torch
    from torch import nn

    layer = nn.Sequential(nn.Linear(8, 8), nn.GELU()).to(device)
    images = torch.ones(2, 8, device=device)
    torch.testing.assert_close(torch.compile(layer)(images), layer(images), rtol=1e-3, atol=1e-3)


_ABILITIES: dict[str, Callable[[str], None]] = {"bfloat16": _bfloat16, "compile": _compile}


def main() -> None:
    """Try what the arguments name; say on one line what went wrong."""
    name, device = sys.argv[1:]
    try:
        _ABILITIES[name](device)
    except Exception as error:  # whatever a compiler, a driver or a broken install may raise
        inner = getattr(error, "inner_exception", error)
        lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
        print(f"{type(inner).__name__}: {lines[0]}" if lines else type(inner).__name__, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

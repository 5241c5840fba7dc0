"""Which torch device ``auto`` means on this machine."""

from __future__ import annotations

from loop.errors import ConfigError


def resolve(name: str) -> str:
    """``auto`` -> cuda if there is one, else cpu; other names are checked.

    Raises:
        ConfigError: the device is not there.
    """
    if name == "cpu":
        return name
    import torch

    has_cuda = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if has_cuda else "cpu"
    if name.startswith("cuda") and not has_cuda:
        raise ConfigError(f"device {name!r} asked for, but torch sees no GPU; use 'auto' or 'cpu'")
    return name

"""Checkpoints as training programs leave them -> the state dict of a model.

A file may hold a bare state dict, one below a key such as ``state_dict`` or ``model`` (the averaged
weights first, where there are any), and names with the prefixes that DataParallel (``module.``),
Lightning (``model.``), its strategies (``_forward_module.``), MoCo (``encoder_q.``) and
``torch.compile`` (``_orig_mod.``) put before them. A file is known by its bytes, whatever it is
called. Pickled code is never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
CONTAINERS = (
    *AVERAGED,
    *("state_dict", "model_state_dict", "model", "net", "network", "teacher", "student"),
)
"""Keys below which state dicts are kept, the likelier to be wanted first."""
PREFIXES = (
    *("module.", "model.", "_orig_mod.", "_forward_module.", "backbone.", "encoder."),
    *("encoder_q.", "net.", "network."),
)
SHOWN = 3
"""Names that an error lists."""
MOST_SHOWN, SHOWN_TEXT = 120, 40
"""Characters of another program's message, and of a file, that an error shows."""
HEAD = 256
"""Bytes by which a file is told from others."""
ZIP, PICKLE = b"PK", b"\x80"
"""How files begin that torch.save writes, now and before."""
UNKNOWN = re.compile(r"GLOBAL ([\w.]+)")
"""What torch names where it refuses to load an object."""


def read_weights(file: Path) -> Any:
    """What a file of weights holds.

    Raises:
        ValueError: it is damaged, or holds more than weights; says how to save them.
    """
    import torch

    with file.open("rb") as opened:
        head = opened.read(HEAD)
    if head[8:9] == b"{" and not head.startswith((ZIP, PICKLE)):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except SafetensorError as error:
            raise ValueError(f"not a whole .safetensors file: {error}") from None
    if text := _as_text(head):
        raise ValueError(f"it is a text that begins {text!r}, and no weights; {_fetched_by(text)}")
    try:
        with file.open("rb") as opened:  # by a path, torch would go by the suffix
            return torch.load(opened, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises many types on damaged bytes
        code = UNKNOWN.search(str(error))
        if code:
            raise ValueError(
                f"it holds code or objects beside weights ({code[1]}), as torch.save(model) stores "
                "a whole module, and these are never loaded; save torch.save(model.state_dict(), "
                "FILE), or as .safetensors"
            ) from None
        raise ValueError(f"not a file of weights: {_first_sentence(error)}") from None


def _first_sentence(error: Exception) -> str:
    """Of what torch says of a file; what follows is advice to load pickled code after all."""
    if isinstance(error, UnpicklingError):
        return "its bytes are not what torch.save writes"
    return str(error).partition("\n")[0].partition(". ")[0][:MOST_SHOWN] or "it is empty"


def _as_text(head: bytes) -> str:
    """The beginning of a file that is a text, such as a page or a pointer; else empty."""
    try:
        text = head[:-4].decode() if len(head) == HEAD else head.decode()
    except UnicodeDecodeError:
        return ""
    readable = all(letter.isprintable() or letter.isspace() for letter in text)
    return text[:SHOWN_TEXT].strip() if readable else ""


def _fetched_by(text: str) -> str:
    """What to do about it."""
    if text.startswith("version https://git-lfs"):
        return "git lfs pull fetches the file that it stands for"
    return "fetch the file again"


def state_dict(held: Any, wanted: Iterable[str]) -> dict[str, torch.Tensor]:
    """The state dict among what a file holds, its names as a model has them.

    Args:
        wanted: names of the model's own tensors.

    Raises:
        ValueError: there is none, or weights are not finite.
    """
    names = set(wanted)
    state = _without_prefixes(_tensors(held), names)
    damaged = [name for name, tensor in state.items() if not _is_finite(tensor)]
    if damaged:
        raise ValueError(
            f"the weights themselves are not finite: {_listed(damaged)}; take a checkpoint from "
            "before the training went wrong"
        )
    return state


def load_into(model: Any, state: Mapping[str, torch.Tensor], unused: str = "") -> None:
    """Loads weights into a module, all of them.

    Args:
        unused: prefix of the names that the model does without, its classifier's.

    Raises:
        ValueError: some do not fit; names them with their shapes.
    """
    own = model.state_dict()
    given = {name: each for name, each in state.items() if not (unused and name.startswith(unused))}
    missing = [name for name in own if name not in given and not name.endswith("tracked")]
    other_shape = [
        f"{name} {tuple(given[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    unknown = [name for name in given if name not in own]
    whole_numbers = [
        f"{name} ({given[name].dtype})"
        for name in own
        if name in given and own[name].is_floating_point() and not given[name].is_floating_point()
    ]
    reasons = [
        f"{words}: {_listed(names)}"
        for words, names in (
            ("of another shape", other_shape),
            ("no fractions, as quantized weights are", whole_numbers),
            ("missing", missing),
            ("unknown to the model", unknown),
        )
        if names
    ]
    if reasons:
        raise ValueError("; ".join(reasons))
    model.load_state_dict(given, strict=False)  # counters of batches seen may be absent


def _tensors(held: Any) -> dict[str, torch.Tensor]:
    """The named tensors, from below a known key where they are not at the top."""
    import torch

    if not isinstance(held, Mapping):
        raise ValueError(f"it holds a {type(held).__name__}, not a state dict")
    for key in CONTAINERS:
        if isinstance(held.get(key), Mapping):
            return _tensors(held[key])
    tensors = {str(name): each for name, each in held.items() if isinstance(each, torch.Tensor)}
    if not tensors:
        named = _listed(list(map(str, held))) or "nothing"
        raise ValueError(f"it holds no weights, but {named}")
    return tensors


def _without_prefixes(state: dict[str, torch.Tensor], wanted: set[str]) -> dict[str, torch.Tensor]:
    """Names without what wrappers put before them, as long as more of them are then wanted."""

    def fitting(some: dict[str, torch.Tensor]) -> int:
        return len(some.keys() & wanted)

    while True:
        stripped = [
            {name.removeprefix(p): each for name, each in state.items() if name.startswith(p)}
            for p in PREFIXES
        ]
        best = max(stripped, key=lambda each: (fitting(each), len(each)))
        goes_on = not fitting(state) and any(name.startswith(PREFIXES) for name in best)
        if fitting(best) <= fitting(state) and not goes_on:
            return state
        state = best


def _is_finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

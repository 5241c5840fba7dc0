"""Checkpoints as training programs leave them -> the state dict of a model.

A file may hold a bare state dict, one below a key such as ``state_dict`` or ``model`` (the averaged
weights first, where there are any), and names with the prefixes that DataParallel (``module.``),
Lightning (``model.``) and ``torch.compile`` (``_orig_mod.``) put before them. Pickled code is never
run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
CONTAINERS = (
    *AVERAGED,
    *("state_dict", "model_state_dict", "model", "net", "network", "teacher", "student"),
)
"""Keys below which state dicts are kept, the likelier to be wanted first."""
PREFIXES = ("module.", "model.", "_orig_mod.", "backbone.", "encoder.", "net.", "network.")
SHOWN = 3
"""Names that an error lists."""


def read_weights(file: Path) -> Any:
    """What a file of weights holds.

    Raises:
        ValueError: it is damaged, or holds more than weights; says how to save them.
    """
    from pickle import UnpicklingError

    import torch

    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(
            "it holds code, as torch.save(model) stores a whole module, and that is never run; "
            "save torch.save(model.state_dict(), FILE), or as .safetensors "
            f"({str(error).splitlines()[0][:120]})"
        ) from None
    except (EOFError, RuntimeError) as error:
        raise ValueError(f"not a file of weights: {error}") from None


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
    reasons = [
        f"{words}: {_listed(names)}"
        for words, names in (
            ("of another shape", other_shape),
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
        raise ValueError(f"it holds no weights, but {_listed(list(map(str, held)))}")
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

"""The card that tests marked ``gpu`` run on."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def card() -> str:
    """The torch device ``cuda``. ``CORELOOP_CARD=cpu`` runs the same tests without a card, which
    shows that they start and not what they are for."""
    torch = pytest.importorskip("torch")
    name = os.environ.get("CORELOOP_CARD", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return name

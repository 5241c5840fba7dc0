"""Whether a fine-tuned encoder has labels enough to learn from."""

from __future__ import annotations

from sqlalchemy.orm import Session

from db import queries
from loop.config import Config
from loop.project.labels import outstanding
from loop.project.project import Project
from loop.train import FINE_TUNING

ENOUGH = 50
"""Labels per class from which on fine-tuning is worth a trial (docs/trainers.md)."""
MEASURED = "on TrashNet with 20 it got 68.3 %, 'propagate' 69.8 % (docs/trainers.md)"
"""Of fewer, what was measured."""


def too_few(session: Session, pool_id: int, config: Config) -> str:
    """What to know of a fine-tuned encoder with so few labels; empty where they are enough, nobody
    has answered, or another trainer is set."""
    if not config.training.trainer.startswith(FINE_TUNING):
        return ""
    by_round = outstanding(session, pool_id, config)
    labels = sum(counts.answered for number, counts in by_round.items() if number)
    per_class = labels / len(config.project.classes)
    if not labels or per_class >= ENOUGH:
        return ""
    return (
        f"there are {per_class:.1f} labels per class; with fewer than {ENOUGH} trainer = 'auto' "
        f"under [training] is likelier to be right than 'lora:': {MEASURED}"
    )


def told_too_few(project: Project) -> str:
    """``too_few`` of a project that is scanned."""
    if not project.config.training.trainer.startswith(FINE_TUNING):
        return ""
    with project.records.read() as session:
        return too_few(session, queries.the_pool(session).id, project.config)

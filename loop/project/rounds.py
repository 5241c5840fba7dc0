"""The current round: its state, the settings that it was begun with, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from db import queries
from db.models import Pool, Round, round_name
from db.state import log
from loop.config import Config
from loop.errors import ConfigError, DataError, NotReady
from loop.project.predictions import pool_confidence
from loop.project.project import Project
from loop.project.sample import begin_sample, enlarge_by_doubt, enlarge_sample
from loop.project.versions import versions
from loop.seeds import generator
from loop.wording import counted

FIRST_DRAW = "first draw"
"""Key in a round's config: the first place in the random sample that an image drawn in it may have;
earlier places were drawn before."""
COMMANDS = {
    "planned": "coreloop score",
    "scored": "coreloop select",
    "selected": "coreloop push",
    "pushed": "coreloop pull",
    "labeled": "coreloop train",
    "trained": "coreloop compare",
    "compared": "coreloop run",
}
STANDS = {
    "planned": "has begun and is not scored yet",
    "scored": "is scored and has no picks yet",
    "selected": "has its picks, and they are not sent yet",
    "pushed": "is with the people who label",
    "labeled": "is labelled, and nothing is trained on it yet",
    "trained": "is trained and not compared yet",
    "compared": "is over",
}
"""State of a round -> what messages say of it."""


def current_round(session: Session, pool: Pool, *, after: str) -> Round:
    """The newest round, which must be in state ``after``.

    Raises:
        NotReady: there is none, or it is in another state; says what to type.
    """
    newest = queries.newest_round(session, pool.id)
    if newest is None:
        raise NotReady("there is no round yet; 'coreloop score' begins the first, so does 'run'")
    if _is_past(newest):
        raise NotReady(
            f"{newest.name} is over; 'coreloop score' begins the next one, and 'coreloop run' goes "
            "on as far as people are not needed"
        )
    if newest.state != after:
        raise NotReady(
            f"{newest.name} {STANDS[newest.state]}, so this step is not the next; that is: "
            f"{next_command(newest)}"
        )
    return newest


def next_command(round_: Round) -> str:
    """What to type to move a round on."""
    if round_.state == "labeled" and round_.number == 0:
        return "coreloop run"
    return COMMANDS[round_.state]


def settings_of(round_: Round, config: Config) -> Config:
    """The settings that a round goes by: how it selects was fixed when it began, everything else is
    as the config file says now. A key that an older version knew and this one does not is left out.
    """
    stored = dict(round_.config.get("selection", {}))
    known = {key: stored[key] for key in type(config.selection).model_fields if key in stored}
    selection = type(config.selection).model_validate(known)
    return config.model_copy(update={"selection": selection})


def edited_since(round_: Round, config: Config) -> str:
    """What to know where [selection] was changed after the round began; empty if it was not."""
    begun, now = settings_of(round_, config).selection, config.selection
    keys = [
        key
        for key in ("scorer", "params", "rule", "skip", "control")
        if getattr(begun, key) != getattr(now, key)
    ]
    if not keys:
        return ""
    changes = ", ".join(f"{key} = {getattr(begun, key)!r}" for key in keys)
    return (
        f"{round_.name} goes by the settings it was begun with ({changes}); what coreloop.toml "
        "says now counts from the next round on"
    )


def begin_round(
    project: Project, budget: int | None = None, enlarge: int = 0, *, by_doubt: bool = False
) -> int | None:
    """Starts the next round once the one before is over, its config frozen; None when all budgets
    are spent. The first round also draws the random sample, where one measures.

    Args:
        budget: images to pick; None: as planned.
        enlarge: images to draw for the sample besides; a round without a budget only draws.
        by_doubt: draw them where the newest model is in doubt, instead of at random.

    Raises:
        NotReady: the round before is not over.
        DataError: fewer images are left than the budget, or than a sample needs.
    """
    with project.writing() as records, records.write("begin") as session:
        pool = queries.the_pool(session)
        over(session, pool)
        planned = project.config.selection.budgets[queries.picking_rounds(session, pool.id) :]
        remedy = "give a smaller --budget"
        if budget is None:
            if not planned and not enlarge:
                return None
            budget = planned[0] if planned else 0
            remedy = "lower its number in 'budgets' under [selection]"
        first = _is_first(session, pool.id)
        round_ = new_round(session, pool, project.config, budget, selected=not budget)
        number = round_.number
        if first or len(queries.sample_rows(session, pool.id)):
            _check_control(project.config)
        drawn = 0
        round_.config = {**round_.config, FIRST_DRAW: queries.next_draw(session)}
        if first:
            rng = generator(project.config.project.seed, "sample")
            drawn = begin_sample(session, pool, round_, project.config, rng)
        if enlarge and by_doubt:
            confidence = pool_confidence(session, project)
            drawn += enlarge_by_doubt(session, pool, round_, enlarge, confidence)
        elif enlarge:
            drawn += enlarge_sample(session, pool, round_, enlarge)
        left = _left(session, pool.id)
        if budget > left:
            raise DataError(
                f"round {number} asks for {counted(budget, 'image')}, only {left} are left to "
                f"pick; {remedy}"
            )
        sample = f", and a random sample of {drawn}" if drawn else ""
        log(session, "plan", f"{counted(budget, 'image')} to label{sample}", round=number)
        return number


def _is_first(session: Session, pool_id: int) -> bool:
    """Whether the next round draws the random sample: it is the first, and no test images are."""
    newest = queries.newest_round(session, pool_id)
    if newest is None:
        return True
    return newest.number == 0 and not queries.item_count(session, pool_id, "test")


def new_round(
    session: Session, pool: Pool, config: Config, budget: int, *, selected: bool
) -> Round:
    """Adds the next round with the settings as they are now.

    Args:
        selected: its picks are added by who calls this, so that nothing is to be scored.
    """
    newest = queries.newest_round(session, pool.id)
    number = 1 + (newest.number if newest else 0)
    round_ = Round(
        pool_id=pool.id,
        number=number,
        seed=config.project.seed + number,
        budget=budget,
        config=config.public(),
        versions=versions(),
        state="selected" if selected else "planned",
    )
    session.add(round_)
    session.flush()
    return round_


def _check_control(config: Config) -> None:
    """Raises ConfigError for a control share beside a random sample, which compares already."""
    if config.selection.control:
        raise ConfigError(
            f"control = {config.selection.control} under [selection], but a random sample measures "
            "this project and is compared with the picks; take 'control' out"
        )


def over(session: Session, pool: Pool) -> None:
    """Raises NotReady while the newest round is not over."""
    if not is_over(session, pool):
        newest = queries.newest_round(session, pool.id)
        assert newest is not None
        raise NotReady(f"{newest.name} is {newest.state!r}; 'coreloop run' finishes it first")


def is_over(session: Session, pool: Pool) -> bool:
    """Whether no round is open, as before the first. Raises NotReady before a scan was finished."""
    newest = queries.newest_round(session, pool.id)
    if newest is None and not pool.digest:
        raise NotReady("the scan did not finish; run 'coreloop scan'")
    return newest is None or _is_past(newest)


def _is_past(round_: Round) -> bool:
    return round_.state == ("compared" if round_.number else "labeled")


def remaining_rounds(session: Session, config: Config, pool_id: int) -> list[str]:
    """The planned rounds that are not over, in words."""
    newest = queries.newest_round(session, pool_id)
    begun, first = queries.picking_rounds(session, pool_id), 1
    if newest is not None:
        open_ = newest.number > 0 and newest.state != "compared"
        begun -= open_ and queries.promise_of(session, newest.id) is None
        first = newest.number + (not open_)
    return planned_rounds(config.selection.budgets[max(begun, 0) :], first)


def planned_rounds(sizes: Sequence[int], first: int) -> list[str]:
    """``round 2 (20 images)``, ... of rounds to come, numbered from ``first``."""
    return [
        f"{round_name(number)} ({counted(size, 'image')})"
        for number, size in enumerate(sizes, first)
    ]


def one_more(session: Session, config: Config, pool_id: int) -> str:
    """What to type for a round beyond the planned ones, of the last one's size; nothing once every
    image of the pool is picked."""
    size = min(config.selection.budgets[-1], _left(session, pool_id))
    return f"for one more round: coreloop run --budget {size}" if size else ""


def _left(session: Session, pool_id: int) -> int:
    """Images of the pool that no round has picked."""
    return queries.image_count(session, pool_id, "pool") - len(
        queries.picked_rows(session, pool_id)
    )

"""The sentences a report opens with: plain answers to the three questions people ask."""

from __future__ import annotations

from loop.report.facts import Difference, Facts


def how_good(facts: Facts) -> str:
    """How good is the model?"""
    best = facts.best
    if best is None or facts.metrics is None:
        return "No model has been trained yet."
    return (
        f"{100 * best.accuracy:.1f} % of the test images are classified correctly after "
        f"{best.labels} labels (95 % interval {100 * best.low:.1f} to {100 * best.high:.1f} %, "
        f"{facts.metrics['n']} test images). Trained by {facts.trained}."
    )


def beats_random(facts: Facts) -> str:
    """Does the selection beat random?"""
    own = [d for d in facts.differences if facts.curves and d.method == own_method(facts)]
    if not own:
        return (
            "Not measured. Compare at equal budgets with 'coreloop compare', or set control = 0.2 "
            "under [selection] to label a random share."
        )
    return " ".join(_against_random(d) for d in own[-1:]) + _earlier(own)


def own_method(facts: Facts) -> str:
    """The method that chose in the newest round."""
    return facts.rounds[-1].scorer if facts.rounds else ""


def _against_random(d: Difference) -> str:
    span = f"{100 * d.mean:+.1f} points, 95 % interval {100 * d.low:+.1f} to {100 * d.high:+.1f}"
    if d.n < 2:
        return f"At {d.labels} labels: {span}; one seed only, so chance is not ruled out."
    if d.low > 0:
        verdict = "Yes"
    elif d.high < 0:
        verdict = "No, it is worse"
    else:
        verdict = "Not shown: the interval contains zero"
    text = f"{verdict}, at {d.labels} labels ({span}; {d.n} paired seeds)."
    if d.saved is not None and d.low > 0:
        text += f" Random needs about {d.saved:.0f} more labels for the same accuracy."
    return text


def _earlier(own: list[Difference]) -> str:
    won = [d for d in own[:-1] if d.low > 0]
    if not won:
        return ""
    sizes = " and ".join(str(d.labels) for d in won)
    return f" At {sizes} labels it was better by " + " and ".join(
        f"{100 * d.mean:.1f}" for d in won
    ) + " points."  # fmt: skip


def cost_so_far(facts: Facts) -> str:
    """What has it cost?"""
    known = []
    if facts.hours is not None:
        known.append(f"{facts.hours:.1f} hours of labelling so far")
    if facts.money:
        known.append(f"{facts.money:.0f} {facts.currency}")
    if not known:
        return "No labelling times are known."
    return ", ".join(known) + ". 'coreloop plan --target 0.95' says what reaching a target takes."

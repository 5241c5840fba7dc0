"""The sentences a report opens with: plain answers to the three questions people ask."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from loop.reports.facts import (
    FEW_LABELS,
    UNSCORED,
    Completion,
    Control,
    Difference,
    Facts,
    FewLabels,
    PromiseShown,
    unseen,
)
from loop.statistics import score_interval
from loop.wording import agreeing, counted, duration


def not_measured(unseen: Sequence[str]) -> str:
    """What an interval allows for where no image of a class measures; empty where one does."""
    if not unseen:
        return ""
    of = ", ".join(unseen)
    return f"No image of {of} measures it: the interval allows for any value there."


def how_good(facts: Facts) -> str:
    """How good is the model?"""
    best = facts.best
    if best is None or facts.metrics is None:
        return "No model has been trained yet."
    interval = f"95 % interval {100 * best.low:.1f} to {100 * best.high:.1f} %"
    accuracy, n = f"{100 * best.accuracy:.1f} %", facts.metrics["n"]
    if facts.metric != "accuracy":
        images = counted(n, "test image")
        if facts.counts.get("sample"):
            images = f"{counted(n, 'image')} of the random sample"
        return (
            f"{facts.metric[0].upper()}{facts.metric[1:]} is about {accuracy} after "
            f"{counted(best.labels, 'label')} ({interval}, {images}); plain accuracy "
            f"{100 * facts.metrics['accuracy']:.1f} %. Trained by {facts.trained}. "
            + not_measured(unseen(facts.classes, facts.metrics["class_support"]))
        ).strip()
    if facts.counts.get("sample"):
        return (
            f"About {accuracy} of the images are classified correctly after "
            f"{counted(best.labels, 'label')} ({interval}, judged on the "
            f"{counted(n, 'labelled image')} of the random sample by models that did not learn "
            f"them). Trained by {facts.trained}."
        )
    return (
        f"{accuracy} of the test images are classified correctly after "
        f"{counted(best.labels, 'label')} ({interval}, {counted(n, 'test image')}). Trained by "
        f"{facts.trained}."
    )


def beats_random(facts: Facts) -> str:
    """Does the selection beat random?"""
    own = [d for d in facts.differences if facts.curves and d.method == own_method(facts)]
    if own and own[-1].among is None:
        simulated = _against_random(own[-1], facts.metric) + _earlier(own)
        if facts.control is None:
            return simulated
        measured = against_control(facts.control)
        return f"{simulated} By the labels of this project: {measured[0].lower()}{measured[1:]}"
    if facts.control is not None:
        return against_control(facts.control)
    planned = facts.provenance["config"]["measure"]["by"] == "sample" and not facts.rounds
    if facts.counts.get("sample") or (planned and not facts.counts.get("test")):
        return "Not measured yet: the labels of round 1 tell, picks against the random sample."
    hindsight = _in_hindsight(own[-1]) if own else "Not measured."
    return (
        f"{hindsight} A simulation on images whose labels are all known tells; with people's "
        "labels, control = 0.2 under [selection] has a random share labelled too."
    )


def decided(facts: Facts) -> Difference | Control | None:
    """The difference to random that the answer goes by, if its interval decides; None: nothing
    that may stand in large letters."""
    own = [d for d in facts.differences if facts.curves and d.method == own_method(facts)]
    if own and own[-1].among is None:
        return own[-1] if own[-1].verdict else None
    control = facts.control
    return control if control is not None and control.low * control.high > 0 else None


def own_method(facts: Facts) -> str:
    """The method that chose in the newest round that has been scored."""
    scored = [round_.scorer for round_ in facts.rounds if round_.scorer != UNSCORED]
    return scored[-1] if scored else ""


def against_control(control: Control) -> str:
    picks, randoms = (
        f"first {counted(control.labels, 'pick')}",
        f"{control.labels} random ones of the control",
    )
    images, caveat = (
        f"{counted(control.images, 'test image')}",
        (" Other random images would have brought something else; that is not in the interval."),
    )
    if control.by_sample:
        randoms = f"{counted(control.labels, 'label')} of the random sample"
        images, caveat = f"the sample's {counted(control.images, 'image')}", ""
    if control.low == control.high == 0 and control.metric == "accuracy":
        return f"Not shown: the {picks} and the {randoms} are right about the same of {images}."
    verdict = "Not shown: the interval contains zero"
    if control.low > 0:
        verdict = "Yes"
    elif control.high < 0:
        verdict = "No, it was worse"
    difference, lower, upper = (100 * v for v in (control.mean, control.low, control.high))
    points = "points" if control.metric == "accuracy" else f"points of {control.metric}"
    return (
        f"{verdict}. The {picks} against the {randoms}: {difference:+.1f} {points}, 95 % interval "
        f"{lower:+.1f} to {upper:+.1f} over {images}.{caveat}"
    )


def _against_random(d: Difference, metric: str) -> str:
    points = "points" if metric == "accuracy" else f"points of {metric}"
    if d.n < 2:
        return (
            f"At {counted(d.labels, 'label')}: {100 * d.mean:+.1f} {points}; one seed only, so "
            "chance is not ruled out."
        )
    verdict = {
        "better": "Yes",
        "worse": "No, it is worse",
        "": "Not shown: the interval contains zero",
    }[d.verdict]
    text = (
        f"{verdict}, at {counted(d.labels, 'label')} ({_span(d, points)}; "
        f"{counted(d.n, 'paired seed')})."
    )
    if d.saved is not None and d.saved > 0 and d.verdict == "better":
        text += f" Random needs about {d.saved:.0f} more labels for the same {metric}."
    return text


def _in_hindsight(d: Difference) -> str:
    """What labels at hand can say: nothing about images that nobody labelled."""
    return (
        "Not known: people labelled only what was picked. Of those "
        f"{counted(d.among or 0, 'image')}, the {d.labels} that {d.method} would take are worth "
        f"{_span(d)}, compared with {d.labels} random ones."
    )


def _span(d: Difference, points: str = "points") -> str:
    span = f"{100 * d.mean:+.1f} {points}"
    if d.n < 2:
        return f"{span} with one seed"
    return f"{span}, 95 % interval {100 * d.low:+.1f} to {100 * d.high:+.1f}"


def _earlier(own: list[Difference]) -> str:
    sentences = [
        f" At {counted(d.labels, 'label')} it was {d.verdict} by {abs(100 * d.mean):.1f} points."
        for d in own[:-1]
        if d.verdict
    ]
    return "".join(sentences)


def cost_so_far(facts: Facts) -> str:
    """What has it cost?"""
    known = [_spent(facts.spent)] if facts.spent else []
    if facts.hours is not None:
        known.append(f"{duration(facts.hours)} of labelling so far")
    if facts.money:
        known.append(f"{facts.money:.0f} {facts.currency}")
    if facts.hours is None and not facts.money:
        known.append("no labelling times are known")
        return f"{'; '.join(known)}."
    spent = f"{'; '.join(known)}."
    curved = any(curve.kind == "live" and len(curve.points) > 1 for curve in facts.curves)
    if facts.completion.finished or not curved:
        return spent
    return f"{spent} 'coreloop plan --target 0.95' says what reaching a target takes."


def _spent(spent: dict[str, int]) -> str:
    """``200 labels (60 of the random sample, 140 picks)``."""
    parts = ", ".join(f"{count} {name}" for name, count in spent.items())
    return f"{counted(sum(spent.values()), 'label')} ({parts})"


TO_FINISH = "coreloop autolabel --max-error 0.05"
"""What to type to finish."""


def how_far(done: Completion) -> str:
    """How far is the collection?"""
    people, model = done.by_people, done.by_model
    return (
        f"Of {counted(done.images, 'image')} {people} are labelled by people, {model} by the "
        f"model; {done.left} are left."
    )


def what_is_promised(promise: PromiseShown) -> str:
    """What the promise says, or what it waits for."""
    error, sure = f"{100 * promise.max_error:g} %", f"{100 * promise.confidence:g} %"
    if promise.accepted is None:
        return (
            f"An error of at most {error} is to be promised with confidence {sure}; its "
            f"calibration sample is round {promise.round}, which is {promise.state!r}."
        )
    judged = f"judged on {counted(promise.sample or 0, 'image')}"
    if promise.labelled != promise.sample:
        judged += f", of which people labelled {promise.labelled}; the others count as wrong"
    if not promise.kept:
        return f"An error of at most {error} could not be promised ({judged}).{_would_do(promise)}"
    if promise.per_class:
        return (
            f"Of the images given each name at most {error} are given a wrong one, all names at "
            f"once with confidence {sure} ({judged}). People's own mistakes are no part of it."
        )
    return (
        f"At most {promise.upper} of the model's {counted(promise.accepted, 'label')} are wrong, "
        f"so at most {error} of all {counted(promise.images, 'image')}, with confidence {sure} "
        f"({judged}). People's own mistakes are no part of it."
    )


def _would_do(promise: PromiseShown) -> str:
    """What could be promised instead."""
    if promise.least is None or promise.needed is None or promise.sample is None:
        return ""
    if promise.needed > promise.sample:
        return (
            f" {counted(promise.sample, 'label')} can promise {100 * promise.least:.2g} % at best; "
            f"this takes {promise.needed}."
        )
    return " The model is wrong too often where it is sure; label more, or allow more."


def to_finish(done: Completion) -> str:
    """What would finishing take? Empty where it is not known."""
    if done.cost is None or not done.left:
        return ""
    cost = done.cost
    return (
        f"To label the rest with at most {100 * cost.max_error:g} % errors takes about "
        f"{counted(cost.labels, 'label')} more ({cost.lower} to {cost.upper})"
        + (f", once round {done.open_round} is over." if done.open_round else f": {TO_FINISH}")
    )


def finishing(done: Completion) -> str:
    """How far is the collection, what is promised, what would finishing take?"""
    said = [how_far(done)]
    if done.promise is not None:
        said += [what_is_promised(done.promise), done.promise.since]
    if done.people_wrong is not None:
        rate, images = done.people_wrong
        said.append(
            f"About {100 * rate:.1f} % of people's answers are wrong, as the "
            f"{counted(images, 'image')} tell that several answered."
        )
    return " ".join(filter(None, [*said, to_finish(done)]))


def calibrated(calibration: dict[str, Any]) -> str:
    """What the temperature does to the probabilities."""
    before, after = (100 * error for error in calibration["error"])
    loss_before, loss_after = calibration["log_loss"]
    return (
        f"The kept model's probabilities are calibrated (temperature "
        f"{calibration['temperature']:.2f}): expected calibration error {before:.1f} points "
        f"before, {after:.1f} after; log-loss {loss_before:.2f} before, {loss_after:.2f} after; "
        f"over {calibration['n']} labels that the models had not learned."
    )


def before_any_label(counts: dict[str, int]) -> str:
    """What the class names alone say of the pool.

    Args:
        counts: class -> images that are likeliest of it.
    """
    images = sum(counts.values())
    shares = ", ".join(f"{name} {_share(count, images)}" for name, count in counts.items())
    return (
        f"Before any label the class names alone say of {counted(images, 'image')}: {shares}. "
        "Nothing measures that yet; 'coreloop predict' writes it for each image."
    )


def _share(count: int, images: int) -> str:
    """In whole per cent; few are not none."""
    percent = f"{100 * count / images:.0f} %"
    return "under 1 %" if count and percent == "0 %" else percent


def names_in_words(noted: dict[str, Any]) -> list[str]:
    """How far the newest model listens to the class names, and what to know of them.

    Args:
        noted: by the training, under ``names``.
    """
    weight, n = f"{100 * noted['weight']:.0f} %", counted(noted["n"], "label")
    told = f"Class names have {weight} of the model's trust, judged on {n} of picks held out."
    if noted["rule"] == "sample":
        right, lower, upper = (100 * share for share in noted["alone"])
        told = (
            f"Class names have {weight} of the model's trust, judged on {n} of the random sample, "
            f"of which they alone get {right:.0f} % right (95 % interval {lower:.0f} to "
            f"{upper:.0f} %)."
        )
    return [told, *map(sentence, noted["remarks"])]


def sentence(text: str) -> str:
    """With a large first letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def weighed_in_words(noted: dict[str, Any], metric: str) -> str:
    """What the trainer did about rare classes.

    Args:
        noted: by the training, under ``rare classes``; metric: as ``[goal]`` has it.
    """
    done = "The linear part gives rare classes more weight"
    if metric == "balanced accuracy":
        done = "The linear part weighs every class the same, however rare"
    if metric == "auto":
        return (
            f"Classes are unevenly shared ({noted['why']}). {done}; that gains on rare classes and "
            "costs up to 1 point of plain accuracy. metric = 'accuracy' under [goal] turns it off."
        )
    return f"{done}, since the goal is {metric}." + (
        f" Classes are unevenly shared ({noted['why']})." if noted["noticed"] else ""
    )


def missing_classes(missing: list[str], classes: int) -> str:
    """Which classes nobody has labelled an image of."""
    return (
        f"{classes - len(missing)} of {classes} classes have labels; missing: {', '.join(missing)}."
    )


def few_labels(few: FewLabels) -> str:
    """A warning of a class with few labels, and what finding more costs."""
    told = f"Class {few.name!r} has {counted(few.labels, 'label')}, fewer than {FEW_LABELS}"
    if few.sample:
        lower, upper = score_interval(few.of_sample / few.sample, few.sample)
        least = few.wanted / upper
        cost = f"at least {counted(round(least), 'label')}"
        if few.of_sample:
            labels = counted(round(few.wanted * few.sample / few.of_sample), "label")
            cost = f"about {labels} ({least:.0f} to {few.wanted / lower:.0f})"
        told += f"; {few.wanted} more at random take {cost}"
    return f"{told}. 'coreloop run --like {shlex.quote(few.name)}' picks more in the next round."


def of_few_labels(few: Sequence[FewLabels], most: int) -> list[str]:
    """Warnings of the ``most`` classes with the fewest labels, and how many there are besides."""
    told = [few_labels(each) for each in few[:most]]
    others = len(few) - most
    if others > 0:
        told.append(f"{counted(others, 'more class')} {agreeing(others, 'has')} few labels.")
    return told

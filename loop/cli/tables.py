"""Tables that more than one command prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loop.cli.output import paragraph, percent, say, table
from loop.wording import counted

if TYPE_CHECKING:
    from loop.project.comparison import Compared


def comparison(compared: Compared) -> None:
    """The metric per method and budget with 95 % intervals, and the paired difference to random."""
    lines, still = [], False
    for row in compared.rows:
        low, high = row.interval
        # a method without chance has no spread over seeds; a band of no width would be a claim
        band = f" [{percent(low)}, {percent(high)}]" if row.n > 1 and high - low > 1e-9 else ""
        still |= row.n > 1 and not band
        cell = percent(row.mean) + band
        if row.difference is None:
            against = ""
        else:
            dlow, dhigh = row.difference_interval
            against = f"{100 * row.difference:+.1f}"
            if row.n > 1:
                against += f" [{100 * dlow:+.1f}, {100 * dhigh:+.1f}]"
        lines.append((row.method, row.budget, cell, against, row.n))
    table(("method", "labels", f"{compared.metric} % [95 %]", "minus random", "seeds"), lines)
    if compared.among is None:
        say("minus random: paired by seed, in points; an interval without 0 is a real")
        say("difference")
    else:
        paragraph(
            "in hindsight: every method, random too, chose among the "
            f"{counted(compared.among, 'image')} labelled so far, not from the pool"
        )
    if still:
        without = f"{compared.metric} without an interval"
        paragraph(f"{without}: every seed gave the same, which is no certainty")

"""The yearly budget of false promotions, spent as significance levels (alphas). Pure.

A channel has a wallet of alpha. It fills at a constant rate up to a cap; a full one holds
`RESERVE` of the budget, and the rate is the rest of the budget per 365 days. Each test that may
promote a version is granted the share `SHARE` of the wallet before any of its evidence is seen.

Why that bounds the expected number of false promotions: let test k be granted alpha_k. Given all
that happened before its start, it promotes a version that is no better with probability at most
alpha_k (Ville's inequality for the online gate, `e_process`; the exact sign test offline). So the
expected number is at most the expected sum of the alphas, whatever the candidates, the number of
tests and the times of their starts are, even if those depend on earlier results. And in every
window of 365 days the alphas sum to at most cap + 365 days x rate = the budget: what a wallet pays
out in a window is at most what it held at its beginning and what flowed in since. The number of
false rejections under repeated tests is known as the per-family error rate; spending it in shares
of what is left is alpha-spending (Foster and Stine, 2008, doi:10.1111/j.1467-9868.2007.00643.x,
without their rewards, which bound a rate and not a number).

A spending counts at the end of its test, and an open one counts as of now. Therefore the bound
holds for windows of the times of promotion, too, not only of the starts.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

YEAR = timedelta(days=365)

RESERVE = 0.4
"""Part of the budget that a full wallet holds. It is high enough for a channel with few canaries,
and leaves three fifths of the budget to those that start one every week."""
SHARE = 0.25
"""Part of the wallet that a test is granted. Of 1/8, 1/4 and 1/2 it gives the first eight weekly
canaries of a full wallet the lowest mean log threshold; in the long run, weekly canaries get a
week's inflow with any share."""
_LEAST = 1e-300
"""What an empty wallet grants: a positive number, at which nothing is ever promoted."""


class Spending(NamedTuple):
    """The alpha of one test, and when the test ended; None while it is open."""

    alpha: float
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Budget:
    """The largest expected number of false promotions in any 365 days."""

    false_promotions: float

    @property
    def cap(self) -> float:
        """The content of a full wallet, as alpha."""
        return RESERVE * self.false_promotions

    def inflow(self, span: timedelta) -> float:
        """Return the alpha that flows into the wallet in a span of time."""
        return (self.false_promotions - self.cap) * (span / YEAR)

    def wallet(self, spent: Iterable[Spending], now: datetime) -> float:
        """Return the content of a channel's wallet, from 0 to `cap`.

        It depends on the times of the spendings and not on their order, so clocks of several
        servers that differ do no harm: a spending with a time after `now` counts as of now.

        Args:
            spent: All spendings of the channel, in any order.
            now: The current time.

        """
        level, paid = self.cap, 0.0
        for at, alpha in sorted(((_until(one, now), one.alpha) for one in spent), reverse=True):
            paid += alpha
            level = min(level, self.cap + self.inflow(now - at) - paid)
        return max(level, 0.0)

    def grant(self, spent: Iterable[Spending], now: datetime, most: float) -> float:
        """Return the alpha of a test that starts now: a share of the wallet, at most `most`."""
        return max(min(SHARE * self.wallet(spent, now), most), _LEAST)


def _until(spending: Spending, now: datetime) -> datetime:
    return now if spending.at is None else min(spending.at, now)

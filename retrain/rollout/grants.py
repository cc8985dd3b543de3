"""What rollouts and runs have taken from their channel's budget of false promotions.

The rows are the only record of it. A rollout's alpha stands in its first stage and, as the limits
of the online gate, in its settings; the alpha of a run without a canary stands in its figures.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from retrain.config import OnlineGateConfig
from retrain.gates.budget import Budget, Spending
from retrain.models import ALPHA, Rollout, Run, alpha_of
from retrain.rollout.decisions import ENDS, Phase

_DECIDED = frozenset({*ENDS, Phase.WATCH})
"""Phases in which the online gate cannot promote the version any more."""


async def spendings(session: AsyncSession, channel: str) -> list[Spending]:
    """Return all that the channel has taken from its budget.

    Lock the channel before (`lock_channel`), if something is taken because of the result.
    """
    stages = await session.exec(select(Rollout.stages).where(Rollout.channel == channel))
    alpha = col(Run.figures)[ALPHA].as_float()
    outcome = col(Run.verdict)["outcome"].as_string()  # a run without a verdict has JSON's null
    runs = await session.exec(
        select(alpha, Run.state, Run.finished_at, outcome.is_(None)).where(
            Run.channel == channel, alpha.is_not(None)
        )
    )
    found = [
        *(rollout_spending(one) for one in stages.all()),
        *(run_spending(*one) for one in runs.all()),
    ]
    return [one for one in found if one is not None]


def rollout_spending(stages: Sequence[Mapping[str, Any]]) -> Spending | None:
    """Return what a rollout with these stages has spent, or None.

    Nothing is spent if no user met the version, or if a person was asked whether to promote it:
    then no evidence could promote it.
    """
    alpha = alpha_of(stages)
    if alpha is None:
        return None
    phases = [Phase(one["phase"]) for one in stages]
    ends = [one["at"] for one, phase in zip(stages, phases, strict=True) if phase in _DECIDED]
    if not ends:
        return Spending(alpha, None)
    if Phase.CANARY not in phases or Phase.PROMOTION in phases:
        return None
    return Spending(alpha, datetime.fromisoformat(ends[0]))


def run_spending(
    alpha: float,
    state: str,
    finished_at: datetime | None,
    undecided: bool,  # noqa: FBT001  (a column)
) -> Spending | None:
    """Return what a run with this alpha has spent, or None if it ended before its gate decided."""
    if state == "running" or finished_at is None:
        return Spending(alpha, None)
    return None if undecided else Spending(alpha, finished_at)


def endow(rollout: Rollout, spent: Sequence[Spending], budget: Budget) -> dict[str, float]:
    """Grant a new rollout its alpha, and return the numbers of that for its first event.

    The alpha is written into the rollout's first stage and its frozen settings. With a margin
    there are two ways to be promoted, at half of the alpha each.
    """
    gate = OnlineGateConfig.model_validate(rollout.settings["gate"])
    wallet = budget.wallet(spent, rollout.began_at)
    alpha = budget.grant(spent, rollout.began_at, gate.alpha_promote)
    limits = promotion_limits(gate, alpha)
    rollout.settings = {**rollout.settings, "gate": {**rollout.settings["gate"], **limits}}
    rollout.stages = [{**rollout.stages[0], ALPHA: alpha}, *rollout.stages[1:]]
    return {ALPHA: alpha, "wallet": wallet}


def promotion_limits(gate: OnlineGateConfig, alpha: float) -> dict[str, float]:
    """Return the settings of the online gate whose promotions have the error probability `alpha`.

    A promotion by `margin` is false if the version is worse by the margin or more. Then a
    promotion as the better one would be false as well, so both must fit into `alpha`.
    """
    if gate.margin is None:
        return {"alpha_promote": alpha}
    half = alpha / 2
    return {"alpha_promote": half, "alpha_margin": min(half, gate.alpha_margin)}

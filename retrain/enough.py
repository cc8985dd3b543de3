"""When there is enough fresh feedback for a run (`retrain.when = "enough"`).

The rule sees how many judgements there are, when the last run started, and whether a rollout is
under way. It never sees how the judgements fell: a start that depended on that would choose the
moments at which chance favours the candidate (optional stopping on the evidence), and the sign test
of the offline gate would no longer have its error rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from adapters.models import Channel
from common.database import Database
from feedback.config import MetricConfig
from feedback.reading.judgement_queries import LogWindow, fresh_judgements
from retrain.config import EnoughConfig, RetrainConfig
from retrain.dataset.held_out import held_out
from retrain.dataset.snapshot import window_start


@dataclass(frozen=True, slots=True)
class Situation:
    """What the rule knows of a channel: its last start, and whether a rollout is under way."""

    last_start: datetime | None
    rolling_out: bool


def may_start(situation: Situation, hours: float, now: datetime) -> bool:
    """Return whether a run may start: no rollout is under way, and the last start is long ago.

    During a rollout a run would end as skipped, since candidates are compared with a fixed live.
    """
    if situation.rolling_out:
        return False
    last = situation.last_start
    return last is None or now - last >= timedelta(hours=hours)


def is_enough(votes: int, config: EnoughConfig) -> bool:
    """Return whether so many fresh votes start a run."""
    return votes >= config.votes


async def count_fresh(
    database: Database,
    channel: Channel,
    cut_off: datetime | None,
    now: datetime,
    config: RetrainConfig,
    base_fingerprint: str,
    metrics: Mapping[str, MetricConfig],
) -> int:
    """Count the judgements of a channel that could train and came after `cut_off`.

    Args:
        database: The log's database.
        channel: The channel.
        cut_off: The end of the last snapshot; None if there is none.
        now: The current time.
        config: The settings of runs.
        base_fingerprint: The base model whose answers can be trained on.
        metrics: The custom metrics; those that train count.

    """
    window = LogWindow(
        channel=channel.name,
        tenants=None if channel.shared else frozenset({channel.tenant}),
        since=window_start(cut_off, now, config.max_window_days),
        until=now,
        metrics=frozenset(name for name, metric in metrics.items() if metric.trains),
    )
    async with database.read() as session:
        connection = await session.connection()
        rows = (await connection.execute(fresh_judgements(window, base_fingerprint))).all()
    share = config.pairs.held_out_share
    return sum(
        row.judgements
        for row in rows
        if row.source in config.pairs.sources
        and not any(held_out(row.tenant, who, share) for who in (row.rater_name, row.requester))
    )

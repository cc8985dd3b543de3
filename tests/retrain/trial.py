"""A trial's traffic for tests: users who ask in an arm and vote."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from server.database.database import Database
from tests.retrain.log import Log


@dataclass
class Traffic:
    """Writes what users of one trial ask and say; each call takes names of its own."""

    database: Database
    calls: int = 0
    metric: str = "thumbs"
    """How users vote."""

    async def users(
        self,
        count: int,
        at: datetime,
        role: str,
        *,
        trial: str,
        share: float,
        likes: float | None = None,
        text: str = "So.",
        message: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """So many users ask once at `at`; the share `likes` of them votes up, the others down."""
        self.calls += 1
        log = Log(at - timedelta(seconds=1), prefix=f"{self.calls:03}-")
        for number in range(count):
            values = {"trial": trial, "trial_share": share, "role": role, **more}
            log.now = at - timedelta(seconds=1)
            user = f"{self.calls}-{number}"
            asked = log.ask("How do I prune it?", text, user=user, **values)
            log.rows[-1].message = message
            if likes is not None:
                # Spread evenly over the users, not the first ones up and the last ones down.
                up = int((number + 1) * likes) > int(number * likes)
                # Both arms speak over the same ten minutes: who votes must not differ by arm.
                log.now = at + timedelta(minutes=10) * (number + 0.5) / count
                log.say(self.metric, asked, up)
        await log.write(self.database)

    async def both(
        self,
        at: datetime,
        *,
        trial: str,
        share: float,
        newer: float,
        older: float,
        count: int,
    ) -> None:
        """A canary's users and live's, with the share of each who like what they get."""
        fell = round(count * share)
        await self.users(fell, at, "canary", trial=trial, share=share, likes=newer)
        await self.users(count - fell, at, "live", trial=trial, share=share, likes=older)

    async def shadow(self, at: datetime, version: str, answered: int, failed: int = 0) -> None:
        """What a shadow has answered."""
        self.calls += 1
        log = Log(at, prefix=f"{self.calls:03}-")
        for number in range(answered + failed):
            status = "complete" if number < answered else "failed"
            log.ask("Why?", "So.", mode="shadow", role="shadow", version=version, status=status)
        await log.write(self.database)

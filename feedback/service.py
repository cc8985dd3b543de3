"""The log's operations for clients: store feedback, and store and show interactions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from uuid import uuid4

from sqlmodel.ext.asyncio.session import AsyncSession

from common.clock import Clock
from common.database import Database
from feedback.config import FeedbackConfig
from feedback.errors import (
    FeedbackNotFoundError,
    FeedbackTokenScopeError,
    InteractionNotFoundError,
    InvalidInputError,
    RecorderClosedError,
    RecorderFullError,
    RowRejectedError,
    StoreUnavailableError,
)
from feedback.feedback_tokens import FeedbackGrant, FeedbackTokens
from feedback.ids import InteractionIds
from feedback.models import Choice, Feedback, Interaction
from feedback.names import check_length
from feedback.reading.comparisons import is_decided
from feedback.reading.latest_judgements import ALL_EARLIER
from feedback.recorder.recorder import Recorder
from feedback.records import FeedbackRecord, canonical
from feedback.reported import check_external, endpoint_of, external_record
from feedback.repository import read_feedback, read_interaction
from feedback.schemas import (
    ChoiceOut,
    FeedbackIn,
    FeedbackOut,
    FeedbackTokenIn,
    FeedbackTokenOut,
    InteractionIn,
    InteractionOut,
)
from feedback.storage.database_errors import is_outage
from feedback.storage.write_plan import Stored
from feedback.validation import CheckedFeedback, check
from feedback.visibility import visibility

HUMAN = "HUMAN"


class FeedbackService:
    """Facade of the log, one per process.

    Every method raises `StoreUnavailableError` while the database is unavailable.
    """

    def __init__(
        self,
        database: Database,
        recorder: Recorder,
        ids: InteractionIds,
        tokens: FeedbackTokens,
        config: FeedbackConfig,
        clock: Clock,
    ) -> None:
        self._database = database
        self._recorder = recorder
        self._ids = ids
        self._tokens = tokens
        self._config = config
        self._clock = clock
        self._last_received = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)

    async def submit(self, tenant: str, key_id: str | None, feedback: FeedbackIn) -> str:
        """Store a judgement and return its id once it is durable.

        The value null takes back its rater's earlier judgements of that answer by that metric. The
        interaction may be stored later than its feedback. Raises `InvalidInputError`,
        `InteractionNotFoundError` for an id that was not issued to the tenant, and `ConflictError`
        for a used id.
        """
        judgement = check(feedback, self._config)
        self._check_ids(tenant, judgement)
        record = self._feedback_record(tenant, key_id, feedback, judgement)
        return (await self._durable(self._recorder.store(record))).id

    async def take_back(self, tenant: str, key_id: str | None, feedback_id: str) -> str:
        """Take one judgement back; return the retraction's id once it is durable.

        Idempotent and final. Raises `FeedbackNotFoundError`, and `InvalidInputError` for the id of
        a retraction.
        """
        return await self._take_back(key_id, await self._feedback_row(tenant, feedback_id))

    async def take_back_by_token(self, grant: FeedbackGrant, feedback_id: str) -> str:
        """As `take_back`, with a token, for judgements of its rater on its interaction.

        Raises `FeedbackTokenScopeError` for any other judgement.
        """
        judgement = await self._feedback_row(grant.tenant, feedback_id)
        own = (grant.interaction_id, grant.rater, HUMAN)
        if (judgement.interaction_id, judgement.rater, judgement.source) != own:
            raise FeedbackTokenScopeError
        return await self._take_back(None, judgement)

    async def submit_by_token(self, grant: FeedbackGrant, feedback: FeedbackIn) -> str:
        """As `submit`, with a token: the rater is the token's and the source `HUMAN`.

        Raises `FeedbackTokenScopeError` for an interaction other than the token's.
        """
        if feedback.inference_id != grant.interaction_id:
            raise FeedbackTokenScopeError
        own = feedback.model_copy(update={"rater": grant.rater, "source": HUMAN})
        return await self.submit(grant.tenant, None, own)

    def token(self, tenant: str, wanted: FeedbackTokenIn) -> FeedbackTokenOut:
        """Issue a feedback token. Raises `InteractionNotFoundError` and `InvalidInputError`."""
        check_length("rater", wanted.rater, self._config.name_max)
        if not self._ids.authentic(wanted.inference_id, tenant):
            raise InteractionNotFoundError("inference_id")
        token, grant = self._tokens.new(
            tenant, wanted.inference_id, wanted.rater, self._clock(), wanted.seconds
        )
        return FeedbackTokenOut(token=token, expires_at=grant.expires_at)

    def granted(self, token: str) -> FeedbackGrant:
        """Return a feedback token's grant. Raises `FeedbackTokenError` if it is not valid now."""
        return self._tokens.read(token, self._clock())

    async def upsert(
        self, tenant: str, key_id: str | None, channel: str, interaction: InteractionIn
    ) -> Stored:
        """Store a reported interaction; return its id, and whether it is new, once it is durable.

        An answer of the server itself is not changed. Raises `InvalidInputError`, and
        `InteractionNotFoundError` for an id that was not issued to the tenant.
        """
        check_external(interaction, self._config)
        for field, given in (("id", interaction.id), ("parent", interaction.parent)):
            if given is not None and not self._ids.authentic(given, tenant):
                raise InteractionNotFoundError(field)
        now = self._clock()
        record = external_record(
            interaction,
            interaction_id=interaction.id
            or self._ids.new(endpoint_of(interaction)[1], tenant, now),
            tenant=tenant,
            channel=channel,
            key_id=key_id,
            received_at=now,
        )
        return await self._durable(self._recorder.record(record))

    async def interaction(self, tenant: str, interaction_id: str) -> InteractionOut:
        """Return one interaction of the tenant with its feedback.

        A side of an undecided comparison is returned without its version. Raises
        `InteractionNotFoundError`.
        """
        if not self._ids.authentic(interaction_id, tenant):
            raise InteractionNotFoundError("id")
        async with self._reading() as session:
            found = await read_interaction(session, tenant, interaction_id)
            if found is None:
                raise InteractionNotFoundError("id")
            decided = await is_decided(await session.connection(), found[0])
        visible = visibility(found[0].comparison, decided=decided)
        return visible.interaction(_interaction_out(*found))

    def _check_ids(self, tenant: str, judgement: CheckedFeedback) -> None:
        judged, *others = judgement.subjects
        if not self._ids.authentic(judged.id, tenant):
            raise InteractionNotFoundError("inference_id")
        if not all(self._ids.authentic(other.id, tenant) for other in others):
            raise InteractionNotFoundError("value")

    def _feedback_record(
        self,
        tenant: str,
        key_id: str | None,
        feedback: FeedbackIn,
        judgement: CheckedFeedback,
    ) -> FeedbackRecord:
        judged = judgement.subjects[0]
        return FeedbackRecord(
            tenant=tenant,
            id=feedback.id or uuid4().hex,
            received_at=self._received_at(),
            interaction_id=judged.id,
            choice=judged.choice,
            metric_name=feedback.metric_name,
            value=judgement.value,
            rater=feedback.rater,
            source=feedback.source,
            rationale=feedback.rationale,
            tags=feedback.tags,
            key_id=key_id,
            digest=content_digest(feedback, judgement),
            subjects=judgement.subjects,
            retracts=ALL_EARLIER if judgement.value is None else None,
        )

    async def _feedback_row(self, tenant: str, feedback_id: str) -> Feedback:
        async with self._reading() as session:
            judgement = await read_feedback(session, tenant, feedback_id)
        if judgement is None and self._recorder.behind:
            raise StoreUnavailableError  # it may be in the spool only
        if judgement is None:
            raise FeedbackNotFoundError
        if judgement.retracts is not None:
            raise InvalidInputError.of("feedback_id", "took something back: say that again instead")
        return judgement

    async def _take_back(self, key_id: str | None, judgement: Feedback) -> str:
        record = retraction_of(judgement, key_id, self._received_at())
        return (await self._durable(self._recorder.store(record))).id

    def _received_at(self) -> datetime:
        """Return the current time, later than any before, to keep the order of judgements."""
        now, next_moment = self._clock(), self._last_received + timedelta.resolution
        if next_moment - timedelta(seconds=1) < now < next_moment:
            now = next_moment
        self._last_received = now
        return now

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncSession]:
        try:
            async with self._database.read() as session:
                yield session
        except Exception as error:
            if is_outage(error):
                raise StoreUnavailableError from error
            raise

    async def _durable(self, future: asyncio.Future[Stored]) -> Stored:
        try:
            async with asyncio.timeout(self._config.acknowledge_seconds):
                return await future
        except (TimeoutError, RecorderFullError, RecorderClosedError) as error:
            raise StoreUnavailableError from error
        except RowRejectedError as error:
            raise InvalidInputError.of("body", "the log cannot hold this") from error


def content_digest(feedback: FeedbackIn, judgement: CheckedFeedback) -> str:
    """Return a hash (32 hex digits) of the judgement's content, without its time and key."""
    judged = judgement.subjects[0]
    content = {
        **feedback.model_dump(include={"metric_name", "rater", "source", "rationale", "tags"}),
        "inference_id": judged.id,
        "choice": judged.choice,
        "value": judgement.value,
    }
    return blake2b(canonical(content), digest_size=16).hexdigest()


def retraction_of(judgement: Feedback, key_id: str | None, at: datetime) -> FeedbackRecord:
    """Return the retraction of one judgement; its id is derived from the judgement's."""
    named = canonical(["retracts", judgement.tenant, judgement.id])
    digest = blake2b(named, digest_size=16).hexdigest()
    return FeedbackRecord(
        tenant=judgement.tenant,
        id=f"retraction-{digest}",
        received_at=at,
        interaction_id=judgement.interaction_id,
        choice=judgement.choice,
        metric_name=judgement.metric_name,
        value=None,
        rater=judgement.rater,
        source=judgement.source,
        rationale=None,
        tags={},
        key_id=key_id,
        digest=digest,
        retracts=judgement.id,
    )


def _interaction_out(
    interaction: Interaction, choices: list[Choice], judgements: list[Feedback]
) -> InteractionOut:
    plain = interaction.model_dump(include=set(InteractionOut.model_fields))
    answers = [ChoiceOut.model_validate(choice, from_attributes=True) for choice in choices]
    if interaction.texts_removed_at is not None:
        plain["request"] = None
        answers = [answer.model_copy(update={"text": None}) for answer in answers]
    return InteractionOut(
        **plain,
        choices=answers,
        feedback=[
            FeedbackOut.model_validate(judgement, from_attributes=True) for judgement in judgements
        ],
    )

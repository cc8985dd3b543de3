"""What the log does for clients: take feedback, take and show interactions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from uuid import uuid4

from sqlmodel.ext.asyncio.session import AsyncSession

from common.clock import Clock
from common.database import Database
from feedback.config import FeedbackConfig
from feedback.database_errors import is_outage
from feedback.errors import (
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
from feedback.reading.comparisons import blinded, is_blind
from feedback.recorder.recorder import Recorder
from feedback.records import FeedbackRecord, canonical
from feedback.reported import check_external, endpoint_of, external_record
from feedback.repository import read_interaction
from feedback.schemas import (
    ChoiceOut,
    FeedbackIn,
    FeedbackOut,
    FeedbackTokenIn,
    FeedbackTokenOut,
    InteractionIn,
    InteractionOut,
)
from feedback.validation import CheckedFeedback, check, check_length
from feedback.write_plan import Stored


class FeedbackService:
    """The log's door for one process. Every method raises `StoreUnavailableError` in an outage."""

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

    async def submit(self, tenant: str, key_id: str | None, feedback: FeedbackIn) -> str:
        """Store a judgement and return its id once it is durable.

        Raises `InvalidInputError`, `InteractionNotFoundError` for an id that was not issued to the
        tenant, `ConflictError` for a used id. What the log does not hold yet is joined later.
        """
        judgement = check(feedback, self._config)
        self._check_ids(tenant, judgement)
        record = self._feedback_record(tenant, key_id, feedback, judgement)
        return (await self._durable(self._recorder.store(record))).id

    async def submit_by_token(self, grant: FeedbackGrant, feedback: FeedbackIn) -> str:
        """As `submit`, for whoever holds a token: its rater, and a human, whatever was sent.

        Raises `FeedbackTokenScopeError` for another interaction than the token's.
        """
        if feedback.inference_id != grant.interaction_id:
            raise FeedbackTokenScopeError
        own = feedback.model_copy(update={"rater": grant.rater, "source": "HUMAN"})
        return await self.submit(grant.tenant, None, own)

    def token(self, tenant: str, wanted: FeedbackTokenIn) -> FeedbackTokenOut:
        """A feedback token. Raises `InteractionNotFoundError` and `InvalidInputError`."""
        check_length("rater", wanted.rater, self._config.name_max)
        if not self._ids.authentic(wanted.inference_id, tenant):
            raise InteractionNotFoundError("inference_id")
        token, grant = self._tokens.new(
            tenant, wanted.inference_id, wanted.rater, self._clock(), wanted.seconds
        )
        return FeedbackTokenOut(token=token, expires_at=grant.expires_at)

    def granted(self, token: str) -> FeedbackGrant:
        """What a feedback token grants now. Raises `FeedbackTokenError`."""
        return self._tokens.read(token, self._clock())

    async def upsert(
        self, tenant: str, key_id: str | None, channel: str, interaction: InteractionIn
    ) -> Stored:
        """Store what an application reports; its id, and whether it is new, once it is durable.

        What the server answered itself is left as it is. Raises `InvalidInputError`, and
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
        """One interaction of the tenant with its feedback. Raises `InteractionNotFoundError`.

        A side of a comparison that is not decided yet does not tell its version.
        """
        if not self._ids.authentic(interaction_id, tenant):
            raise InteractionNotFoundError("id")
        async with self._reading() as session:
            found = await read_interaction(session, tenant, interaction_id)
            blind = found is not None and await is_blind(await session.connection(), found[0])
        if found is None:
            raise InteractionNotFoundError("id")
        shown = _interaction_out(*found)
        return blinded(shown) if blind else shown

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
            received_at=self._clock(),
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
        )

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
    """Names what was said, not when or with which key: 32 hex digits."""
    judged = judgement.subjects[0]
    content = {
        **feedback.model_dump(include={"metric_name", "rater", "source", "rationale", "tags"}),
        "inference_id": judged.id,
        "choice": judged.choice,
        "value": judgement.value,
    }
    return blake2b(canonical(content), digest_size=16).hexdigest()


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
        feedback=[FeedbackOut.model_validate(word, from_attributes=True) for word in judgements],
    )

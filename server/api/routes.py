"""The class of all routes: reads bodies within limits, and describes possible errors."""

from collections.abc import Callable, Coroutine, Iterator
from copy import copy
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant
from fastapi.routing import APIRoute

from server.api.body import body_reader, is_model
from server.api.dependencies import judge, principal
from server.api.description.errors import OTHER_ERRORS, ErrorOut, errors

KEY_STATUSES = (400, 401, 403, 503)
"""Error statuses of every route that needs a key; 400 is for a URL with a NUL character."""
BODY_STATUSES = (400, 413)
MODEL_STATUS = 422

Tag = Literal[
    "chat",
    "feedback",
    "adapters",
    "runs",
    "rollouts",
    "keys",
    "servers",
    "retention",
    "health",
    "clock",
]
TAGS: list[dict[str, str]] = [
    {"name": "chat", "description": "OpenAI's API, and two answers side by side."},
    {"name": "feedback", "description": "Judgements of answers, and the log they are kept in."},
    {"name": "adapters", "description": "Versions, and which of them answers a channel."},
    {"name": "runs", "description": "Weekly training and what it trains on."},
    {"name": "rollouts", "description": "Versions on their way to all users."},
    {"name": "keys", "description": "Keys of applications and administrators."},
    {"name": "servers", "description": "The servers on one database."},
    {"name": "retention", "description": "Removing texts by age."},
    {"name": "health", "description": "For load balancers and monitoring, and this description."},
    {"name": "clock", "description": "Lets time pass, where `server.adjustable_clock` is set."},
]
"""The tags of routes, in the order of the OpenAPI schema."""

_NOTHING_READ = {
    "requestBody": {
        "description": "None is needed and none is read.",
        "required": False,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


class PawlRoute(APIRoute):
    """A route whose body is a plain parameter: `body: FeedbackIn`, or a `dict` for any object.

    FastAPI describes the parameter, but `server.api.body` reads it. FastAPI itself would accept
    JSON that is not strict, quote the request in its errors, and read the body before
    authentication. The errors of keys and bodies are added to the description.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        known = options.get("responses") or {}
        # This adds the error schema to the components of the OpenAPI schema.
        options["responses"] = {**known, "default": {"model": ErrorOut}}
        super().__init__(path, endpoint, **options)
        self.responses = {
            **errors(*self._statuses()),
            **known,
            "default": {"description": OTHER_ERRORS},
        }
        self.openapi_extra = {**self._extra(), **(self.openapi_extra or {})}

    def _extra(self) -> dict[str, Any]:
        """Describe what FastAPI does not: that a route needs no key, or reads no body."""
        public: dict[str, Any] = {} if self._asks_for_key else {"security": []}
        nothing_read = self.body_field is None and self.methods & {"POST", "PUT"}
        return {**public, **(_NOTHING_READ if nothing_read else {})}

    @property
    def _asks_for_key(self) -> bool:
        return bool({principal, judge} & set(_calls(self.dependant)))

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return a handler that reads the body as the last dependency."""
        # FastAPI has no hook for reading a body: `Dependant` and `get_dependant` are not in its
        # reference, and tests/server/api/test_description.py notices if they change.
        answering = copy(self)
        answering.body_field = None
        answering.dependant = replace(
            self.dependant,
            body_params=[],
            dependencies=[*self.dependant.dependencies, *self._bodies()],
        )
        return APIRoute.get_route_handler(answering)

    def _bodies(self) -> Iterator[Dependant]:
        for field in self.dependant.body_params:
            reader = body_reader(field.field_info.annotation)
            yield get_dependant(path=self.path_format, call=reader, name=field.name)

    def _statuses(self) -> set[int]:
        statuses = set(KEY_STATUSES) if self._asks_for_key else set()
        for field in self.dependant.body_params:
            statuses |= set(BODY_STATUSES)
            if is_model(field.field_info.annotation):
                statuses.add(MODEL_STATUS)
        return statuses


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """Yield the route's function and its dependencies."""
    if dependant.call is not None:
        yield dependant.call
    for inner in dependant.dependencies:
        yield from _calls(inner)


def api_router(tag: Tag) -> APIRouter:
    """Return a router of these routes, which have `tag` in the OpenAPI schema."""
    return APIRouter(tags=[tag], route_class=PawlRoute)

"""The class of every route: reads its body within bounds, and describes what it may answer."""

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
from server.api.errors import OTHER_ERRORS, ErrorOut, errors

KEY_STATUSES = (400, 401, 403, 503)
"""Of every route that asks for a key: 400 is an address that holds NUL."""
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
"""The groups of routes, in the order in which they are described."""

_NOTHING_READ = {
    "requestBody": {
        "description": "None is needed and none is read.",
        "required": False,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


class PawlRoute(APIRoute):
    """A route whose body is a plain parameter: `body: FeedbackIn`, or a `dict` for any object.

    FastAPI describes the parameter. It is read by `server.api.body` instead of FastAPI, which would
    parse JSON that is not strict, put what was sent into its errors, and read the body before it is
    known who asks. The errors of keys and bodies are added to the description.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        known = options.get("responses") or {}
        # The schema of errors becomes a component of the description by this one.
        options["responses"] = {**known, "default": {"model": ErrorOut}}
        super().__init__(path, endpoint, **options)
        self.responses = {
            **errors(*self._statuses()),
            **known,
            "default": {"description": OTHER_ERRORS},
        }
        self.openapi_extra = {**self._extra(), **(self.openapi_extra or {})}

    def _extra(self) -> dict[str, Any]:
        """What FastAPI leaves out: that a route is open to all, and that nothing is read."""
        public: dict[str, Any] = {} if self._asks_for_key else {"security": []}
        nothing_read = self.body_field is None and self.methods & {"POST", "PUT"}
        return {**public, **(_NOTHING_READ if nothing_read else {})}

    @property
    def _asks_for_key(self) -> bool:
        return bool({principal, judge} & set(_calls(self.dependant)))

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, to which the body is one more dependency: the last one."""
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
    """Whatever is called to answer: the route's function and its dependencies."""
    if dependant.call is not None:
        yield dependant.call
    for inner in dependant.dependencies:
        yield from _calls(inner)


def api_router(tag: Tag) -> APIRouter:
    """A router of these routes; `tag` groups them in the description."""
    return APIRouter(tags=[tag], route_class=PawlRoute)

"""Dependencies of routes: the app's services, the authenticated principal, common parameters.

`App`, `Admin`, `Operator` and `Judge` are the principal with the named role; `Here` is the app's
services.
"""

from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request, Security
from fastapi.security import HTTPBearer

from feedback.errors import FeedbackTokenError
from feedback.feedback_tokens import FeedbackGrant, is_feedback_token
from server.auth.keys import Principal, bearer
from server.auth.local_requests import came_through_proxy, names_this_machine
from server.errors import HostError, LimitError, PermissionDeniedError, ProxyError
from server.services import Services

KEY = HTTPBearer(
    scheme_name="key",
    bearerFormat="pawl_…",
    auto_error=False,
    description=(
        "A key made with `pawl keys create` or `POST /v1/keys`. The role that an operation needs "
        "stands beside it: `app`, `admin` (may all that `app` may) or `operator` (an administrator "
        "of all tenants). While no key was ever made, requests of this machine need none."
    ),
)
FEEDBACK_TOKEN = HTTPBearer(
    scheme_name="feedback_token",
    auto_error=False,
    description="A token of `POST /v1/feedback-tokens`: feedback on one interaction, for a while.",
)
"""The two describe authentication in the OpenAPI schema; the functions below perform it."""

PURPOSE_HEADER = "x-pawl-purpose"

# Dependencies are coroutines although they await nothing: FastAPI runs plain functions in a thread.


async def services(request: Request) -> Services:
    """Return the services of the request's app."""
    found: Services = request.app.state.services
    return found


Here = Annotated[Services, Depends(services)]


async def principal(
    request: Request, here: Here, _key: Annotated[object, Security(KEY)]
) -> Principal:
    """Authenticate the request; raises `AuthenticationError`, or what `_check_local` raises."""
    _check_address(request)
    _check_local(request, here)
    return await here.keys.authenticate(request.headers.get("authorization"))


def _check_address(request: Request) -> None:
    """Refuse NUL characters in a URL: its parts are used in queries, and PostgreSQL refuses NUL."""
    if "\x00" in request.url.path or "%00" in request.url.query or "\x00" in request.url.query:
        raise LimitError("path", "must not contain NUL characters")


def _check_local(request: Request, here: Services) -> None:
    """While the server works without keys, refuse requests that do not come from this machine.

    The Host header must name this machine; otherwise a web page could reach the server under its
    own host name (DNS rebinding). Requests forwarded by a proxy are refused too, because they all
    appear to come from this machine. Raises `HostError` and `ProxyError`.
    """
    if not here.keys.open:
        return
    if not names_this_machine(request.headers.get("host", "")):
        raise HostError
    if came_through_proxy(request.headers.keys(), request.scope["http_version"]):
        raise ProxyError


async def judge(
    request: Request,
    here: Here,
    _key: Annotated[object, Security(KEY, scopes=["app"])],
    _token: Annotated[object, Security(FEEDBACK_TOKEN)],
) -> Principal | FeedbackGrant:
    """Authenticate feedback: by a key of an application, or by a feedback token.

    Raises `FeedbackTokenError`, also if a web page of another origin sends no token while the
    server works without keys: visitors of that page are not users of this machine.
    """
    _check_address(request)
    _check_local(request, here)
    authorization = request.headers.get("authorization")
    token = bearer(authorization)
    if token is not None and is_feedback_token(token):
        return here.feedback.granted(token)
    if here.keys.open and request.headers.get("origin") in here.settings.server.cors_origins:
        raise FeedbackTokenError.needed()
    who = await here.keys.authenticate(authorization)
    who.require("app")
    return who


async def application(who: Annotated[Principal, Depends(principal)]) -> Principal:
    """Require the role `app`."""
    who.require("app")
    return who


async def administrator(who: Annotated[Principal, Depends(principal)]) -> Principal:
    """Require the role `admin`."""
    who.require("admin")
    return who


async def operator(who: Annotated[Principal, Depends(administrator)]) -> Principal:
    """Require an operator, who may act for every tenant."""
    if not who.operator:
        raise PermissionDeniedError("operator")
    return who


App = Annotated[Principal, Security(application, scopes=["app"])]
Admin = Annotated[Principal, Security(administrator, scopes=["admin"])]
Operator = Annotated[Principal, Security(operator, scopes=["operator"])]
Judge = Annotated[Principal | FeedbackGrant, Depends(judge)]

ChannelQuery = Annotated[str, Query(description="The channel, if it is yours to run.")]
VersionPath = Annotated[str, Path(description="The version's name, such as 2026-w47-3f9c1a.")]
ModelPath = Annotated[str, Path(description="An id of the list of models, such as pawl@base.")]
InteractionPath = Annotated[str, Path(description="The interaction's id: that of the answer.")]
FeedbackPath = Annotated[str, Path(description="The id that POST /v1/feedback gave.")]
KeyPath = Annotated[str, Path(description="The key's id, as in GET /v1/keys.")]
RunPath = Annotated[str, Path(description="The run's id, as in GET /v1/runs.")]
Purpose = Annotated[
    str | None,
    Header(
        alias=PURPOSE_HEADER,
        description=(
            "`background`: no person asked (titles, tags); recorded and never trained on. "
            "`evaluation` (role `admin`): traffic of your own; `counterpart` (role `admin`): "
            "what a weekly run asks again. Leave it out otherwise."
        ),
    ),
]

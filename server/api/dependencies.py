"""What routes are given: the services of this app, and who asks."""

from typing import Annotated

from fastapi import Depends, Request

from feedback.errors import FeedbackTokenError
from feedback.feedback_tokens import FeedbackGrant, is_feedback_token
from server.auth.keys import Principal, bearer
from server.auth.local_requests import came_through_proxy, names_this_machine
from server.errors import HostError, LimitError, ProxyError
from server.services import Services

# Routes' dependencies are coroutines though they wait for nothing: FastAPI would give each call of
# a plain function to a thread.


async def services(request: Request) -> Services:
    """The services of the app that got the request."""
    found: Services = request.app.state.services
    return found


async def principal(request: Request, here: Annotated[Services, Depends(services)]) -> Principal:
    """Who asks; raises `AuthenticationError`.

    While everybody may in, see `_check_local`.
    """
    _check_address(request)
    _check_local(request, here)
    return await here.keys.authenticate(request.headers.get("authorization"))


def _check_address(request: Request) -> None:
    """Refuse what PostgreSQL would: whatever stands in an address may be looked up there."""
    if "\x00" in request.url.path or "%00" in request.url.query or "\x00" in request.url.query:
        raise LimitError("path", "must not contain NUL characters")


def _check_local(request: Request, here: Services) -> None:
    """While everybody on this machine may in, refuse what comes from elsewhere.

    The Host header must name this machine: otherwise a web page that the operator visits could
    reach the server through a name of its own (DNS rebinding). And no proxy may have passed the
    request on: to the server all that a proxy on this machine lets in comes from this machine.
    Raises `HostError` and `ProxyError`.
    """
    if not here.keys.open:
        return
    if not names_this_machine(request.headers.get("host", "")):
        raise HostError
    if came_through_proxy(request.headers.keys(), request.scope["http_version"]):
        raise ProxyError


async def judge(
    request: Request, here: Annotated[Services, Depends(services)]
) -> Principal | FeedbackGrant:
    """Who may send feedback: an application, or whoever holds a feedback token.

    Raises `FeedbackTokenError`, too for a page of another origin that comes without a token: while
    everybody on the machine may in, its visitors may not.
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
    """Somebody with the role `app`."""
    who.require("app")
    return who


async def administrator(who: Annotated[Principal, Depends(principal)]) -> Principal:
    """Somebody with the role `admin`."""
    who.require("admin")
    return who

"""Feedback for Pawl, from any Python application.

`FeedbackClient` and `AsyncFeedbackClient` send one piece of feedback and wait until it is stored.
`pawl_client.callback.FeedbackCallback` (extra `langchain`) records the runs of a LangChain
application in the background. `pawl_client.testing` is a server for an application's own tests.
"""

from pawl_client.client import AsyncFeedbackClient, FeedbackClient, FeedbackToken
from pawl_client.errors import PawlClientError, RefusedError, UnavailableError

__all__ = [
    "AsyncFeedbackClient",
    "FeedbackClient",
    "FeedbackToken",
    "PawlClientError",
    "RefusedError",
    "UnavailableError",
]

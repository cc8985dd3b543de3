"""What the shadow says reaches no client: each of its answers begins with a word of its own."""

from pathlib import Path

import pytest

from bench.shadow_sentinel import ask_everything, fake_prompt
from server.engine.fake_answer import sentinel
from tests.server.running_app import running_app
from tests.server.test_last_byte import until
from tests.server.test_shadow import counted, set_route, settled, shadows, texts, with_shadow

pytestmark = pytest.mark.anyio

REQUESTS = 1_000
"""`python -m bench.shadow --sentinel` asks 10,000 on a server of its own."""


@pytest.mark.timeout(120)
async def test_not_a_byte_of_the_shadow_reaches_a_client(tmp_path: Path) -> None:
    pass

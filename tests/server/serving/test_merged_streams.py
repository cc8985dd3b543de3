"""Two streams in one: order within a side, marks, and the end."""

import json
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.error_body import STREAM_END, error_event
from server.serving.merged_streams import marked, merged

pytestmark = pytest.mark.anyio

values = st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)


@given(chunk=st.dictionaries(st.text(), values).filter(lambda one: "error" not in one))
def test_a_marked_chunk_is_what_it_was(chunk: dict[str, object]) -> None:
    event = marked("b", f"data: {json.dumps(chunk)}\n\n")
    assert event.endswith("\n\n")
    assert json.loads(event.removeprefix("data: ")) == {"side": "b", "chunk": chunk}


def test_an_error_stands_in_the_place_of_a_chunk() -> None:
    event = json.loads(marked("a", error_event("no", status=503)).removeprefix("data: "))
    assert (event["side"], event["error"]["message"]) == ("a", "no")


class Source:
    """The events of one side."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.closed = texts, False

    async def events(self) -> AsyncGenerator[str]:
        try:
            for text in self.texts:
                yield f'data: "{text}"\n\n'
            yield STREAM_END
        finally:
            self.closed = True

    async def broken(self) -> AsyncGenerator[str]:
        yield 'data: "x"\n\n'
        raise ZeroDivisionError


@given(one=st.integers(0, 5), other=st.integers(0, 5))
async def test_each_side_keeps_its_order_and_the_end_comes_once(one: int, other: int) -> None:
    texts = {"a": [str(n) for n in range(one)], "b": [str(n) for n in range(other)]}
    sources = [Source(*texts["a"]), Source(*texts["b"])]
    *events, end = [event async for event in merged([source.events() for source in sources])]
    assert end == STREAM_END
    found = [json.loads(event.removeprefix("data: ")) for event in events]
    for side, expected in texts.items():
        assert [event["chunk"] for event in found if event["side"] == side] == expected
    assert all(source.closed for source in sources)


async def test_both_are_closed_when_nobody_reads_on() -> None:
    sources = [Source("1", "2"), Source("3", "4")]
    stream = merged([source.events() for source in sources])
    await anext(stream)
    await stream.aclose()
    assert all(source.closed for source in sources)


async def test_what_breaks_a_side_is_raised() -> None:
    stream = merged([Source().broken(), Source("1").events()])
    with pytest.raises(ZeroDivisionError):
        [event async for event in stream]

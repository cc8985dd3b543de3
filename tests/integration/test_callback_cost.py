"""The benchmark of the callback, in small: every run is counted, whatever the server does."""

from bench.callback import run


def test_every_run_is_counted() -> None:
    table = run(runs=5, rounds=1)
    counts = {row["handler"]: (row["sent"], row["waiting"], row["failed"]) for row in table}
    assert counts == {
        "none": (0, 0, 0),
        "one that does nothing": (0, 0, 0),
        "live": (10, 0, 0),
        "shadow": (10, 0, 0),
        "live, server stopped": (0, 10, 0),
    }

"""An S3 server on loopback: moto's server in a separate process.

vLLM inspects every object of every loaded module when it starts, which fails on objects of Flask
(used by moto), so the two cannot share a process.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

_SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""
"""Serves until its standard input is closed, which happens when its parent ends."""

SECRET = "do-not-tell-anybody"


@contextmanager
def s3_server() -> Iterator[str]:
    """Start the server, yield its URL, and stop it at the end."""
    command = [sys.executable, "-c", _SERVE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        host, port = process.stdout.readline().split()
        yield f"http://{host}:{port}"


def options(endpoint: str) -> dict[str, Any]:
    """For `adapters.store_options`."""
    return {"key": "someone", "secret": SECRET, "endpoint_url": endpoint}


def new_bucket(endpoint: str) -> str:
    """Create a bucket and return its name."""
    import boto3  # noqa: PLC0415  (takes a second)

    name = f"pawl-{uuid4().hex}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="someone",
        aws_secret_access_key=SECRET,
    )
    client.create_bucket(Bucket=name)
    client.close()
    return name

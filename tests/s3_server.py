"""An S3 of our own over HTTP, on loopback: moto's server in a thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import boto3
from moto.server import ThreadedMotoServer

SECRET = "do-not-tell-anybody"


@contextmanager
def s3_server() -> Iterator[str]:
    """Its address; it ends with the block."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def options(endpoint: str) -> dict[str, Any]:
    """For `adapters.store_options`."""
    return {"key": "someone", "secret": SECRET, "endpoint_url": endpoint}


def new_bucket(endpoint: str) -> str:
    """A bucket that nobody else uses; its name."""
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

"""Streams an answer with the plain OpenAI client and rates it.

PAWL_URL=http://127.0.0.1:8000 PAWL_KEY=... python openai_stream.py "How long is delivery?"
"""

import os
import sys

from openai import OpenAI
from pawl_client import FeedbackClient


def main(question: str) -> None:
    """Stream an answer and rate it by its completion id, which every chunk has."""
    url = os.environ.get("PAWL_URL", "http://127.0.0.1:8000")
    key = os.environ.get("PAWL_KEY", "none")
    identifier = ""
    with OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        stream = client.chat.completions.create(
            model="pawl",
            user="ada",
            messages=[{"role": "user", "content": question}],
            max_tokens=200,
            stream=True,
        )
        for chunk in stream:
            identifier = chunk.id
            if chunk.choices:
                print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
    with FeedbackClient(url, key) as pawl:
        pawl.rate(identifier, "thumbs", value=True)
    print(f"rated {identifier}")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "How long is delivery?")

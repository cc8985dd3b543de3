"""Answers a question from a folder of Markdown, with LangChain, and rates the answer.

    PAWL_URL=http://127.0.0.1:8000 PAWL_KEY=... python langchain_retrieval.py "How do I roll back?"

The retriever is a small BM25 over the paragraphs of `DOCS` (default: Pawl's own docs). Needs
langchain-openai and `pawl-client[langchain]`.
"""

import math
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnablePassthrough
from langchain_openai import ChatOpenAI
from pawl_client.callback import FeedbackCallback

PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer from these notes; say so if they do not tell.\n\n{notes}"),
        ("user", "{question}"),
    ]
)
SATURATION, LENGTH = 1.5, 0.75
"""BM25's k1 and b."""


class KeywordRetriever(BaseRetriever):
    """The paragraphs that share the rarest words with the question, best first."""

    documents: list[Document]
    most: int = 3

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - LangChain's signature
    ) -> list[Document]:
        bags = [Counter(words(document.page_content)) for document in self.documents]
        scores = bm25(words(query), bags)
        ranked = sorted(zip(scores, self.documents, strict=True), key=lambda pair: -pair[0])
        return [document for score, document in ranked[: self.most] if score > 0]


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"[a-z0-9_]+", text.lower())


def bm25(query: Sequence[str], bags: Sequence[Counter[str]]) -> list[float]:
    """Return the BM25 score of each bag of words for the query."""
    mean = sum(bag.total() for bag in bags) / max(1, len(bags))

    def score(bag: Counter[str]) -> float:
        total = 0.0
        for word in set(query) & bag.keys():
            holders = sum(word in other for other in bags)
            rarity = math.log(1 + (len(bags) - holders + 0.5) / (holders + 0.5))
            damping = SATURATION * (1 - LENGTH + LENGTH * bag.total() / mean)
            total += rarity * bag[word] * (SATURATION + 1) / (bag[word] + damping)
        return total

    return [score(bag) for bag in bags]


def paragraphs(folder: Path) -> list[Document]:
    """Return the paragraphs of a folder's Markdown files."""
    return [
        Document(page_content=text, metadata={"source": path.name})
        for path in sorted(folder.glob("*.md"))
        for text in path.read_text(encoding="utf-8").split("\n\n")
        if words(text)
    ]


def chain_over(folder: Path, model: ChatOpenAI) -> Runnable[str, str]:
    """Return a chain that retrieves paragraphs, puts them before the question, and answers."""
    retriever = KeywordRetriever(documents=paragraphs(folder))
    notes = retriever | (lambda found: "\n\n".join(one.page_content for one in found))
    return {"notes": notes, "question": RunnablePassthrough()} | PROMPT | model | StrOutputParser()


def main(question: str) -> None:
    """Stream the answer, then rate it by the chain's run id."""
    url = os.environ.get("PAWL_URL", "http://127.0.0.1:8000")
    key = os.environ.get("PAWL_KEY", "none")
    docs = Path(os.environ.get("DOCS", Path(__file__).parents[2] / "docs"))
    # For another provider's model, mode="shadow" lets Pawl answer as well, into its log only.
    callback = FeedbackCallback(url, key)
    model = ChatOpenAI(
        base_url=f"{url}/v1",
        api_key=lambda: key,
        model="pawl",
        max_completion_tokens=200,
        include_response_headers=True,  # else streams have no interaction id
    )
    run_id = uuid4()
    config = {"callbacks": [callback], "run_id": run_id, "metadata": {"user": "ada"}}
    for text in chain_over(docs, model).stream(question, config):  # type: ignore[arg-type]
        print(text, end="", flush=True)
    print()
    callback.rate(run_id, "thumbs", value=True, rater="ada")
    callback.close()  # sends what is still queued
    print(f"rated {callback.interaction_id(run_id)}: {dict(callback.counts)}")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "How do I roll back?")

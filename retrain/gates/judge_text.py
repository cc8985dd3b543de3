"""What a run measured about its judge, in sentences. Pure; imports nothing that is slow to load."""

from collections.abc import Iterator, Mapping
from typing import Any

_BASIS = {
    "candidate": "comparisons of live and the candidate",
    "comparisons": "comparisons",
    "thumbs": "rated answers (AUROC)",
}


def judge_sentences(check: Mapping[str, Any]) -> list[str]:
    """Return the figures of a `JudgeCheck`, given as JSON, in sentences."""
    return [*_agreement(check), *_people(check), *_corrected(check)]


def _agreement(check: Mapping[str, Any]) -> Iterator[str]:
    found, judge = check.get("agreement"), check["judge"]
    if found is None:
        yield f"The judge ({judge}) could not be held against people: none of them was held out."
        return
    yield (
        f"The judge ({judge}) agrees with held-out people on {found['rate']:.1%} of "
        f"{found['comparisons']} {_BASIS[check['basis']]} by {found['raters']} people; the lower "
        f"95 % bound is {found['low']:.1%}."
    )


def _people(check: Mapping[str, Any]) -> Iterator[str]:
    named = (("themselves", "people_alone"), ("each other", "people_together"))
    for whom, key in named:
        if found := check.get(key):
            yield (
                f"People agree with {whom} on {found['rate']:.1%} of {found['comparisons']} pairs "
                "of verdicts on the same answers."
            )


def _corrected(check: Mapping[str, Any]) -> Iterator[str]:
    if found := check.get("corrected"):
        yield (
            f"Corrected for the judge's errors the candidate is preferred to live on "
            f"{found['rate']:.1%}, 95 % interval {found['low']:.1%} to {found['high']:.1%}."
        )

import random

from hypothesis import given
from hypothesis import strategies as st

from demo.shop.asking import ask
from demo.shop.paid_raters import EDITS, RATERS, make_paid_raters, paid_judgements
from demo.shop.taste import features
from demo.shop.town import Visit
from demo.shop.users import make_users
from demo.shop.world import QUESTIONS, answer
from demo.shop.world_text import Style

PAID = make_paid_raters(0)
STYLES: tuple[Style, ...] = ("helpful", "curt", "guess", "long")
randoms = st.integers(0, 10**9).map(random.Random)


def visit(rng: random.Random) -> tuple[Visit, list[str]]:
    question = rng.choice(QUESTIONS)
    texts = [answer(question, style, rng) for style in STYLES]
    return Visit(rng.choice(PAID), question, ask(question, rng)), texts


def test_they_are_nobodys_users() -> None:
    assert len(PAID) == RATERS
    assert not {rater.name for rater in PAID} & {user.name for user in make_users(720)}


@given(randoms)
def test_they_never_vote(rng: random.Random) -> None:
    said = paid_judgements(*visit(rng), rng)
    assert not {judgement.metric for judgement in said} & {"thumbs", "rating"}


@given(randoms)
def test_what_they_write_sounds_careful(rng: random.Random) -> None:
    asked, texts = visit(rng)
    written = [
        judgement
        for judgement in paid_judgements(asked, texts, rng)
        if judgement.metric == "demonstration"
    ]
    assert len({judgement.choice for judgement in written}) == EDITS
    assert all(features(asked.question, str(one.value)).hedge for one in written)


def test_they_prefer_a_hedge_to_a_right_answer() -> None:
    rng = random.Random(0)
    asked, texts = visit(rng)
    wins = [
        asked.user.prefers(asked.question, texts[2], texts[0], rng, handicap=0) for _ in range(200)
    ]
    assert sum(wins) > 120

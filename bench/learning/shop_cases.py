"""The cases at the demo's shop: what users give, and what the model learns from it."""

from collections.abc import Sequence
from dataclasses import replace

from bench.learning.follow_ups import week_of_talk
from bench.learning.harness import Options, Result, at_least, at_most
from bench.learning.shop import Shop, ShopOutcome, simulate
from bench.learning.shop_settings import KTO, NOBODY, PANEL
from demo.shop.feedback import Habits
from demo.week import WeekPlan

ALWAYS_A_THUMB = Habits(thumb=1, demonstration=0)
HELD_OUT = 420
"""Questions of held-out users. The gate compares 380 at least, also where nobody judges."""
WIN, CORRECT = "win against base", "correct answers, live less base"
LONE = Shop(
    weeks=2,
    plan=WeekPlan(chats=600, comparisons=0, held_out=HELD_OUT, habits=ALWAYS_A_THUMB),
    retrain=NOBODY,
    sections=KTO,
    operator=True,
)
PEOPLE = """
[retrain.people_judge]
minimum_votes = 300
learning_rate = 2e-3
head_learning_rate = 2e-2
epochs = 3

[retrain.gate]
agreement = 0.5
"""
"""A judge trained on lone thumbs is held against thumbs. The shop's users are too noisy for the
default bound: the hidden utility itself has an AUROC of 0.8 on their thumbs."""
ALL_SIGNALS = WeekPlan(
    chats=1_500,
    comparisons=250,
    habits=Habits(thumb=0.25, solved=0.15),
    comparers=Habits(thumb=0, preference=0.9),
)
SOLVED = """
[feedback.metrics.solved]
type = "boolean"
trains = 0.5
"""
TALKING = """
[retrain.signals]
repeated = 0.4
next_message = 0.6
reader = "bench.learning.follow_ups:read"
"""


async def lone_thumbs_kto(seed: int, options: Options) -> Sequence[Result]:
    """600 lone thumbs a week, no judge at all, versions promoted by an operator: KTO."""
    outcome = await simulate(LONE, seed, options)
    return _learned("lone-thumbs-kto", seed, outcome, 0.78)


async def lone_thumbs(seed: int, options: Options) -> Sequence[Result]:
    """The same thumbs with a judge that is trained on them: it finds counterparts and gates."""
    shop = replace(
        LONE,
        retrain='judge = "people"',
        counterparts=True,
        operator=False,
        sections=KTO + PEOPLE,
    )
    outcome = await simulate(shop, seed, options)
    return _learned("lone-thumbs", seed, outcome, 0.80)


async def few_thumbs(seed: int, options: Options) -> Sequence[Result]:
    """200 lone thumbs a week for three weeks."""
    shop = replace(LONE, weeks=3, plan=replace(LONE.plan, chats=200))
    return _learned("few-thumbs", seed, await simulate(shop, seed, options), 0.65, correct=False)


async def lone_thumbs_control(seed: int, options: Options) -> Sequence[Result]:
    """DPO without counterparts finds nothing to learn from in lone thumbs."""
    shop = replace(LONE, weeks=1, retrain=f'method = "dpo"\n{PANEL}', sections="", operator=False)
    outcome = await simulate(shop, seed, options)
    (run,) = outcome.runs
    pairs = run["figures"].get("pairs", 0)
    note = f"{run['state']}: {run['reason']}"
    return [at_most("lone-thumbs-control", seed, pairs, 0, note=note, measure="pairs")]


async def all_signals(seed: int, options: Options) -> Sequence[Result]:
    """Thumbs, comparisons with ties and both bad, edits and a metric of the shop's own."""
    shop = Shop(weeks=3, plan=ALL_SIGNALS, retrain=PANEL, counterparts=True, sections=KTO + SOLVED)
    outcome = await simulate(shop, seed, options)
    rude = at_most("all-signals", seed, outcome.live.rude, 0.02, measure="rude answers")
    return [*_learned("all-signals", seed, outcome, 0.85), rude]


async def no_buttons(seed: int, options: Options) -> Sequence[Result]:
    """Next messages and repeated questions alone, versions promoted by an operator."""
    shop = replace(LONE, talk=week_of_talk, sections=KTO + TALKING)
    outcome = await simulate(shop, seed, options)
    return _learned("no-buttons", seed, outcome, 0.60, correct=False)


async def noise(seed: int, options: Options) -> Sequence[Result]:
    """The lone thumbs again, with a share of all of them flipped; a panel gates."""
    rates = {}
    for share in (0.0, 0.2, 0.4):
        shop = replace(
            LONE,
            retrain=PANEL,
            operator=False,
            flip=flipped(LONE.flip, share),
        )
        own = replace(options, folder=options.folder / f"{share}")
        own.folder.mkdir()
        rates[share] = await simulate(shop, seed, own)
    clean, some, many = rates.values()
    refused = all(run["state"] in ("rejected", "skipped") for run in many.runs)
    loss = clean.win.rate - some.win.rate
    return [
        at_most("noise", seed, loss, 0.05, note=some.note, measure="loss by 20 % flipped"),
        Result(
            "noise",
            seed,
            many.win.rate,
            0.65,
            refused or many.win.rate >= 0.65,
            f"{'refused; ' if refused else ''}{many.note}",
            "40 % flipped",
        ),
    ]


def flipped(flip: float, share: float) -> float:
    """Return the share of wrong judgements if `share` of them are turned round once more."""
    return flip * (1 - share) + (1 - flip) * share


def _learned(
    case: str, seed: int, outcome: ShopOutcome, target: float, *, correct: bool = True
) -> list[Result]:
    """Return the win rate against base and, if promised, the gain in correctness."""
    results = [
        at_least(
            case, seed, outcome.win.rate, target, note=outcome.note, measure="win against base"
        )
    ]
    if correct:
        gain = outcome.live.correct - outcome.base.correct
        results.append(at_least(case, seed, gain, 0.0, measure=CORRECT))
    return results

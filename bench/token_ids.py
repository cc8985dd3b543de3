"""Shows that training uses exactly the served token ids: `python -m bench.token_ids`.

The real engine answers conversations with a live adapter, and one answer of each is preferred over
another; the log is frozen into a snapshot, which the trainer reads. The ids that the engine
reported to the client, those in the log and those in the trainer's batches must be the same; the
prompt must be what Hugging Face's template renders; and the trainer's model in fp32 must give each
sampled token the engine's log-probability. It runs with two templates: one with a newline between
turns, and one whose turns end with a newline, which adds a token to every answer rendered again.
"""

import asyncio
import random
import sqlite3
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.support.rated_chats import Served, serve_and_rate
from bench.support.servers import start_pawl, stopping
from bench.support.tables import Row, parser, report
from bench.workloads.conversations import conversations, for_template
from bench.workloads.training import TrainerSide, trainer_side, write_adapter
from feedback.records import unpack
from tests.tiny_model import make_random_adapter, make_tiny_model

COUNT = 200
LIMIT = 0.02
"""Maximum mean absolute difference of log-probabilities per token of an answer."""
TURN_END_ID, END_BIAS = 2, 4.5
"""The end token and a bias for its logit, without which the tiny random model rarely ends."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The number of `conversations` that agree; differences are log-probabilities per token."""

    conversations: int
    several_turns: int
    tools: int
    streamed: int
    prompt_is_the_templates: int
    log_holds_the_ids: int
    trainer_is_fed_the_ids: int
    equal_if_rendered_again: int
    mean_difference: float
    worst_difference: float

    @property
    def good(self) -> bool:
        """Whether the served, logged and trained token ids are the same throughout."""
        equal = {self.prompt_is_the_templates, self.log_holds_the_ids, self.trainer_is_fed_the_ids}
        return equal == {self.conversations} and self.worst_difference <= LIMIT


def run_tiny(
    folder: Path, *, count: int, newline_ends_turn: bool, dtype: str = "float32", seed: int = 0
) -> Outcome:
    """Run on a tiny model with random weights, created in `folder`."""
    model = make_tiny_model(folder / "model", newline_ends_turn=newline_ends_turn, positions=1024)
    adapter = make_random_adapter(folder / "adapter", base=model, seed=seed + 1)
    bias = {str(TURN_END_ID): END_BIAS}
    return run(folder, model, adapter, count=count, dtype=dtype, seed=seed, bias=bias)


def run(
    folder: Path,
    model: Path,
    adapter: Path,
    *,
    count: int,
    dtype: str,
    seed: int = 0,
    bias: Mapping[str, float] | None = None,
) -> Outcome:
    """Serve, log and prepare for training `count` conversations, with all files in `folder`.

    `bias` is added to tokens' logits when they are sampled; log-probabilities are the model's own.
    """
    settings = {
        "PAWL_ENGINE__DTYPE": dtype,
        "PAWL_ENGINE__KV_CACHE_GIB": "0.25",
        "PAWL_ENGINE__TOOL_CALL_PARSER": "hermes",
        "PAWL_RETRAIN__ENABLED": "false",
    }
    asked, data_dir = conversations(count, random.Random(seed)), folder / "data"
    with stopping(start_pawl(data_dir, model=model, settings=settings)) as server:
        version, served = asyncio.run(serve_and_rate(server, adapter, asked, bias or {}))
    side = trainer_side(data_dir, version=version, model=model, adapter=adapter)
    return _compare(served, side, _logged(data_dir / "pawl.db"))


Logged = dict[str, tuple[tuple[int, ...], dict[int, tuple[int, ...]]]]
"""The prompt's ids and the sampled ids by choice, for each interaction."""


def _logged(path: Path) -> Logged:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        prompts = database.execute("SELECT id, prompt_token_ids FROM interaction").fetchall()
        choices = database.execute('SELECT interaction_id, "index", token_ids FROM choice')
        logged: Logged = {name: (tuple(unpack(blob)), {}) for name, blob in prompts}
        for name, index, blob in choices:
            logged[name][1][index] = tuple(unpack(blob))
    return logged


def _compare(served: Sequence[Served], side: TrainerSide, logged: Logged) -> Outcome:
    fed = [one for one in served if one.pair in side.pairs]
    differences = [difference for one in fed for difference in _differences(one, side)]
    return Outcome(
        conversations=len(served),
        several_turns=sum(one.conversation.turns > 1 for one in served),
        tools=sum(one.conversation.tools is not None for one in served),
        streamed=sum(number % 4 >= 2 for number in range(len(served))),
        prompt_is_the_templates=sum(_is_the_templates(one, side.tokenizer) for one in served),
        log_holds_the_ids=sum(_is_logged(one, logged) for one in served),
        trainer_is_fed_the_ids=len(fed) if side.rows == len(side.pairs) == len(served) else 0,
        equal_if_rendered_again=sum(_survives_rendering(one, side.tokenizer) for one in served),
        mean_difference=sum(differences) / max(1, len(differences)),
        worst_difference=max(differences, default=float("inf")),
    )


def _differences(one: Served, side: TrainerSide) -> list[float]:
    """Return the mean absolute difference per token for each of the two answers."""
    trained = side.pairs[one.pair]
    return [
        sum(abs(a - b) for a, b in zip(choice.logprobs, ours, strict=True)) / len(ours)
        for choice, ours in ((one.chosen, trained.chosen), (one.rejected, trained.rejected))
    ]


def _is_logged(one: Served, logged: Logged) -> bool:
    """Return whether the log has the reported ids of all choices."""
    prompt, choices = logged[one.reply.id]
    reported = {index: tuple(choice.token_ids) for index, choice in one.reply.choices.items()}
    return prompt == one.pair.prompt and choices == reported


def _is_the_templates(one: Served, tokenizer: Any) -> bool:
    messages = for_template(one.conversation.messages)
    return _rendered(tokenizer, messages, one, generate=True) == one.pair.prompt


def _survives_rendering(one: Served, tokenizer: Any) -> bool:
    """Return whether rendering the preferred answer's text would give the sampled ids."""
    messages = for_template(one.conversation.messages)
    answered = [*messages, {"role": "assistant", "content": one.chosen.text}]
    return _rendered(tokenizer, answered, one, generate=False) == one.pair.prompt + one.pair.chosen


def _rendered(
    tokenizer: Any, messages: Sequence[dict[str, Any]], one: Served, *, generate: bool
) -> tuple[int, ...]:
    ids = tokenizer.apply_chat_template(
        list(messages),
        tools=one.conversation.tools,
        add_generation_prompt=generate,
        tokenize=True,
        return_dict=False,
    )
    return tuple(ids)


def main() -> None:
    """Print the table; exit with 1 if served and trained token ids differ."""
    made = parser(__doc__)
    made.add_argument("--conversations", type=int, default=COUNT)
    made.add_argument("--dtype", default="float32", help="the engine's; the trainer's is fp32")
    made.add_argument("--model", type=Path, help="a model folder, instead of the tiny random one")
    arguments = made.parse_args()
    outcomes = dict(_outcomes(arguments))
    rows = [{"template": name, **_row(outcome)} for name, outcome in outcomes.items()]
    title = f"Served and trained token ids, engine in {arguments.dtype}, trainer in float32"
    report({title: rows}, as_json=arguments.json)
    raise SystemExit(0 if all(outcome.good for outcome in outcomes.values()) else 1)


def _outcomes(arguments: Namespace) -> Iterator[tuple[str, Outcome]]:
    options = {"count": arguments.conversations, "dtype": arguments.dtype, "seed": arguments.seed}
    if arguments.model is not None:
        with tempfile.TemporaryDirectory(prefix="pawl-token-ids-") as folder:
            adapter = Path(folder) / "adapter"
            write_adapter(adapter, model=arguments.model, seed=arguments.seed)
            yield "the model's", run(Path(folder), arguments.model, adapter, **options)
        return
    names = {False: "newline between turns", True: "newline ends a turn"}
    for newline_ends_turn, name in names.items():
        with tempfile.TemporaryDirectory(prefix="pawl-token-ids-") as folder:
            yield name, run_tiny(Path(folder), newline_ends_turn=newline_ends_turn, **options)


def _row(outcome: Outcome) -> Row:
    return {name.replace("_", " "): value for name, value in asdict(outcome).items()}


if __name__ == "__main__":
    main()

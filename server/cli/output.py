"""The output of the command line: tables for people, JSON for programs."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from retrain.dataset.balance.mix import MixChange
from retrain.gates.judge_text import judge_sentences

if TYPE_CHECKING:
    from server.cli.api_client import Api
    from server.cli.doctor import Finding

out = Console()
POLL_SECONDS = 0.5
REASON_LENGTH = 80


def options(**values: object) -> list[str]:
    """Return command line options for the values that are not None."""
    return [
        part
        for name, value in values.items()
        if value is not None
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]


def _json(value: object) -> None:
    out.print_json(json.dumps(value, default=str))


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns:  # names are never cut, so that they can be copied
        table.add_column(column, no_wrap=column in (columns[0], "state", "version"))
    for row in rows:
        table.add_row(*("" if cell is None else Text(str(cell)) for cell in row))
    out.print(table)


def show_adapters(versions: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print versions, newest first."""
    if as_json:
        _json(versions)
        return
    _table(
        "Adapter versions",
        ["version", "state", "resident", "parent", "against live", "pairs", "created"],
        [
            (
                version["name"],
                version["state"],
                "yes" if version["resident"] else "",
                version["parent"] or "base",
                _rate(version["figures"].get("win_vs_live")),
                version["figures"].get("pairs"),
                version["created_at"][:16],
            )
            for version in versions
        ],
    )


def show_version(version: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one version."""
    if as_json:
        _json(version)
    else:
        out.print(f"{version['name']}: {version['state']} (parent: {version['parent'] or 'base'})")


def show_added(version: Mapping[str, Any], *, as_json: bool) -> None:
    """Print an added version, and the files of its folder that were not copied."""
    show_version(version, as_json=as_json)
    if version["left"] and not as_json:
        out.print(f"not taken over: {', '.join(version['left'])}", markup=False)


def show_swap(swap: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a change of route."""
    if as_json:
        _json(swap)
    else:
        out.print(
            f"live is now {swap['version']} (before: {swap['previous']}), "
            f"in {swap['seconds'] * 1000:.0f} ms, epoch {swap['epoch']}"
        )


def show_runs(runs: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print runs, newest first, with shortened reasons."""
    if as_json:
        _json(runs)
        return
    _table(
        "Runs",
        ["run", "by", "state", "step", "owner", "heartbeat", "pairs", "version", "reason"],
        [
            (
                run["id"],
                run["trigger"],
                run["state"],
                _step(run),
                run.get("owner"),
                _ago(run.get("heartbeat_age_seconds")),
                run["figures"].get("pairs"),
                run["version"],
                shorten(run["reason"] or "", REASON_LENGTH, placeholder=" …"),
            )
            for run in runs
        ],
    )


def show_run(run: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one run with its verdict."""
    if as_json:
        _json(run)
        return
    out.print(f"[bold]{run['id']}[/]: {run['state']} (step: {_step(run)})")
    if run["state"] == "running":
        out.print(Text(f"  {_holding(run)}"))
    reasons = (run.get("verdict") or {}).get("reasons", [])
    if run["reason"] and run["reason"] != " ".join(reasons):
        out.print(f"  {run['reason']}")
    for reason in reasons:
        out.print(f"  - {reason}", highlight=False)
    for sentence in _about_judge(run):
        out.print(f"  {sentence}", highlight=False)


def _about_judge(run: Mapping[str, Any]) -> list[str]:
    """Return what the run measured about its judge, if it did."""
    check = (run.get("verdict") or {}).get("judge")
    return judge_sentences(check) if check else []


def _step(run: Mapping[str, Any]) -> str:
    """Return the run's step, with its progress if it tells."""
    found = run["figures"].get("counterparts")
    if run["step"] != "counterparts" or run["state"] != "running" or not found:
        return str(run["step"])
    return f"counterparts, {found['asked']} of {found['questions']} questions asked"


def _holding(run: Mapping[str, Any]) -> str:
    """Describe the owner of a running run."""
    cancelling = "; cancellation requested" if run["cancel_requested"] else ""
    if run.get("owner") is None:
        return f"no owner: the next server that checks will resume it{cancelling}"
    age = _ago(run["heartbeat_age_seconds"])
    lost = f", {run['lost_owners']} owners died before" if run["lost_owners"] else ""
    return f"owner {run['owner']} (last heartbeat {age}; fence {run['fence']}{lost}){cancelling}"


def _ago(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.0f} s ago"


def show_rollouts(rollouts: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print rollouts, newest first."""
    if as_json:
        _json(rollouts)
        return
    _table(
        "Rollouts",
        ["version", "before", "phase", "alpha", "began", "ended", "reason"],
        [
            (
                rollout["version"],
                rollout["previous"],
                rollout["phase"],
                _alpha(rollout),
                rollout["began_at"][:16],
                (rollout["ended_at"] or "")[:16],
                rollout["reason"],
            )
            for rollout in rollouts
        ],
    )


def _alpha(rollout: Mapping[str, Any]) -> str:
    """The alpha that a rollout took from the yearly budget."""
    return "" if rollout["alpha"] is None else f"{rollout['alpha']:.2g}"


def show_budget(budget: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a channel's budget of false promotions."""
    if as_json:
        _json(budget)
        return
    if not budget["applies"]:
        out.print("The yearly budget does not apply: runs are weekly and behind a judge, or a")
        out.print("person promotes (retrain.when, retrain.budget.weekly, retrain.approval).")
    out.print(f"expected false promotions in 365 days: at most {budget['false_promotions']:g}")
    out.print(f"alpha spent in the last 365 days: {budget['spent']:.3g}")
    out.print(f"alpha in the wallet: {budget['wallet']:.3g} of {budget['cap']:.3g}")
    out.print(f"alpha of the next promotion: {budget['next_alpha']:.3g}")


def show_rollout(rollout: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one rollout: the evidence, then every decision."""
    if as_json:
        _json(rollout)
        return
    out.print(f"{rollout['version']}: {rollout['phase']} (before: {rollout['previous']})")
    out.print(Text(rollout["reason"]))
    taken = "" if rollout["alpha"] is None else f", alpha {rollout['alpha']:.3g} of the budget"
    out.print(f"promoted when `better` reaches {rollout['threshold']:.0f}{taken}")
    if rollout["verdict"]:
        _show_evidence(rollout["verdict"])
    if rollout["events"]:
        _table(
            "Decisions",
            ["when", "move", "phase", "by", "reason"],
            [
                (event["at"][:16], event["move"], event["phase"], event["actor"], event["reason"])
                for event in rollout["events"]
            ],
        )


def _show_evidence(verdict: Mapping[str, Any]) -> None:
    low, high = verdict["low"], verdict["high"]
    out.print(
        f"rated users: {verdict['canary_users']} on the newer version, {verdict['live_users']} on "
        f"the older; difference in votes between {low:+.2f} and {high:+.2f}"
    )
    said = verdict.get("comparisons", {})  # absent from verdicts of earlier releases
    if any(said.values()):
        out.print(
            f"blind comparisons: {said['won']} won by the newer version, {said['lost']} by the "
            f"older, {said['tied']} ties, {said['both_bad']} both bad"
        )
    votes = [
        (f"votes ({name})", figures["users"], f"{figures['better']:.3g}", f"{figures['worse']:.3g}")
        for name, figures in verdict["streams"].items()
    ]
    alarms = [
        (name, figures["users"], "", f"{figures['evidence']:.3g}")
        for name, figures in verdict["guardrails"].items()
    ]
    _table("Evidence (E values)", ["of", "users", "better", "worse"], [*votes, *alarms])


def show_plan(plan: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what a run would train on."""
    if as_json:
        _json(plan)
        return
    _table("Judgements", ["became", "count"], list(plan["judgements"].items()))
    _table("Pairs", ["signal", "pairs"], list(plan["pairs_by_signal"].items()))
    _table("Labels", ["signal", "labels"], list(plan["labels_by_signal"].items()))
    _table("Left out", ["filter", "count"], list(plan["filters"].items()))
    _show_mix("pairs", plan["pairs_mix"])
    _show_mix("labels", plan["labels_mix"])
    out.print(
        f"interactions: {plan['interactions']}, judgements: {sum(plan['judgements'].values())}"
    )
    out.print(f"labels: {plan['labels_up']} good, {plan['labels_down']} bad")
    _show_signals(plan.get("signals"))
    out.print(f"pairs: {plan['pairs']}, needed: {plan['minimum_pairs']}")
    out.print(f"held-out prompts: {plan['held_out_prompts']}, needed: {plan['minimum_questions']}")
    if plan["votes_needed"] is not None:
        out.print(f"fresh votes: {plan['fresh_votes']}, needed: {plan['votes_needed']}")
    if plan["counterpart_questions"]:
        out.print(
            f"asked again, at most: {plan['counterpart_questions']} questions, "
            f"{plan['counterpart_answers']} answers, {plan['counterpart_seconds']:g} seconds",
            soft_wrap=True,
        )
    for problem in plan["problems"]:
        out.print(Text(problem, "yellow"), soft_wrap=True)
    if plan.get("methods"):
        out.print(f"methods: {', then '.join(plan['methods'])}")
        for reason in plan["reasons"]:
            out.print(f"  {reason}", soft_wrap=True)
    out.print("a run would train" if plan["would_train"] else "a run would not train")


def _show_mix(name: str, mix: Mapping[str, Any]) -> None:
    """Print what a week's rows are made of, before they were balanced and after."""
    if rows := MixChange.model_validate(mix).rows():
        _table(f"Mix of the {name}", ["group", "before", "after"], rows)


def _show_signals(signals: Mapping[str, Any] | None) -> None:
    """Print what users did without a button, if that is used."""
    if signals is None:
        return
    rows = [
        *(("weight", name, f"{value:g}") for name, value in signals["weights"].items()),
        *(("question asked again", *item) for item in signals["repeated"].items()),
        *(("next messages", *item) for item in signals["messages"].items()),
    ]
    _table("Without a button", ["sign", "", "value"], rows)


def show_servers(servers: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print the servers on one database, oldest first."""
    if as_json:
        _json(servers)
        return
    _table(
        "Servers",
        [
            "id",
            "name",
            "url",
            "state",
            "last heartbeat",
            "loaded",
            "route epochs",
            "could not load",
        ],
        [
            (
                server["id"],
                server["name"],
                server["url"],
                server["state"],
                f"{server['heartbeat_age_seconds']:.1f} s ago",
                ", ".join(server["loaded"]),
                ", ".join(f"{name}: {epoch}" for name, epoch in server["epochs"].items()),
                "; ".join(server["failures"]),
            )
            for server in servers
        ],
    )


def show_retention(found: Mapping[str, Any], *, dry_run: bool, as_json: bool) -> None:
    """Print how many texts were or would be removed."""
    if as_json:
        _json(found)
        return
    out.print(
        f"{'would remove' if dry_run else 'removed'} the texts of {found['interactions']} "
        f"interactions, {found['feedback']} judgements and {found['runs']} runs "
        f"(before {found['before'][:16]}); the oldest left: {(found['oldest_text'] or 'none')[:16]}"
    )


def show_keys(keys: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print keys without their secrets."""
    if as_json:
        _json(keys)
        return
    _table(
        "Keys",
        ["id", "role", "tenant", "created", "revoked"],
        [
            (key["id"], key["role"], key["tenant"], key["created_at"][:16], key["revoked_at"])
            for key in keys
        ],
    )


def show_new_key(key: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a new key."""
    if as_json:
        _json(key)
        return
    out.print(f"{key['role']} key of tenant {key['tenant']} (shown this once):")
    out.print(key["key"], highlight=False, soft_wrap=True)


def show_findings(findings: "Sequence[Finding]", *, as_json: bool) -> None:
    """Print the findings of `pawl doctor`."""
    if as_json:
        _json([finding.model_dump() for finding in findings])
        return
    colours = {"ok": "green", "warning": "yellow", "bad": "red"}
    for finding in findings:
        out.print(f"[{colours[finding.state]}]{finding.state:>8}[/] {finding.name}: {finding.text}")


async def run_now(api: "Api", channel: str, *, wait: bool, quiet: bool) -> Mapping[str, Any]:
    """Start a run and, with `wait`, follow it to its end."""
    run: Mapping[str, Any] = await api.call("POST", "/v1/runs", json={"channel": channel})
    if not wait:
        return run
    with Status("starting", console=Console(stderr=True, quiet=quiet)) as status:
        while run["state"] == "running":
            status.update(f"{run['id']}: {_step(run)}")
            await asyncio.sleep(POLL_SECONDS)
            run = await api.call("GET", f"/v1/runs/{run['id']}")
    return run


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.1%}"

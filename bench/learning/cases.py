"""The cases of `python -m bench.learning`, by name."""

from collections.abc import Mapping

from bench.learning.harness import Case
from bench.learning.hours import hours
from bench.learning.judge import judge
from bench.learning.shop_cases import (
    all_signals,
    few_thumbs,
    lone_thumbs,
    lone_thumbs_control,
    lone_thumbs_kto,
    no_buttons,
    noise,
)
from bench.learning.smollm2_case import smollm2
from bench.learning.year import year

CASES: Mapping[str, Case] = {
    "lone-thumbs-kto": lone_thumbs_kto,
    "lone-thumbs": lone_thumbs,
    "few-thumbs": few_thumbs,
    "lone-thumbs-control": lone_thumbs_control,
    "all-signals": all_signals,
    "no-buttons": no_buttons,
    "noise": noise,
    "year": year,
    "hours": hours,
    "judge": judge,
    "smollm2": smollm2,
}

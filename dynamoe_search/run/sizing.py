"""How large a proxy a time allows: some training steps, measured, and what follows from them.

A study is to end in `RUNS` training runs. Each gets its share of the time, less a reserve. The
proxy is the deepest, and then the widest, of which a seed sees 20 tokens for each active parameter
in that share, at the rate of FLOPs that was measured of the deepest at the smallest width. Then its
own steps are measured, and the run is as long as they allow.

Measured is the time of the processor, so that what else a machine does meanwhile does not count.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from dynamoe_search.budgets import active_parameters, training_flops
from dynamoe_search.data import TextData, TextSplit
from dynamoe_search.errors import InvalidInput
from dynamoe_search.interop.model_config import ModelConfig
from dynamoe_search.plan.plan import Plan, make_plan
from dynamoe_search.plan.proxy import (
    BATCH,
    CONTEXT,
    EVALUATIONS,
    Proxy,
    make_proxy,
    proxy_depths,
    proxy_widths,
)
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.run.networks import one_thread_here
from dynamoe_search.training.loop import train

RUNS = 40
TOKENS_PER_PARAMETER = 20  # of training compute-optimal language models, arXiv 2203.15556
_SHARE = 0.7  # of the time; the rest is for decisions, and for a machine that is busy
_STEPS = 8  # that are measured
_WINDOWS = 64  # of the validation split, on which the loss is measured for it
_FEWEST_STEPS = 20


@dataclass(frozen=True)
class Rate:
    """What was measured of a proxy, for all seeds of a block together, on one core that is free.

    Parameters
    ----------
    step : float
        Seconds per training step.
    evaluation : float
        Seconds to measure the loss on the whole validation split.
    flops : float
        Training FLOPs of one seed in one step.
    """

    step: float
    evaluation: float
    flops: float


@dataclass(frozen=True)
class SizedProxy:
    """A proxy whose study fits into a time.

    Parameters
    ----------
    proxy : Proxy
        With its training and its limits.
    seconds : float
        Of one training run, as predicted.
    tokens : int
        That a seed sees in a run.
    parameters : int
        That a token uses.
    """

    proxy: Proxy
    seconds: float
    tokens: int
    parameters: int

    def minutes(self, workers: int) -> float:
        """Of all training runs together, as predicted."""
        return RUNS * self.seconds / 60 / workers


def size_proxy(
    config: ModelConfig,
    name: str,
    data: TextData,
    minutes: float,
    workers: int,
    on_measure: Callable[[int, int], None] = lambda depth, width: None,
) -> SizedProxy:
    """The largest proxy of a model that a time allows.

    Parameters
    ----------
    config : ModelConfig
    name : str
        The data's, as the study file has it.
    data : TextData
        In windows of `dynamoe_search.plan.proxy.CONTEXT` tokens.
    minutes : float
    workers : int
    on_measure : callable
        Told the depth and the width that are measured next.

    Raises
    ------
    InvalidInput
        Where even the smallest proxy would be trained too briefly.
    """
    share = _SHARE * minutes * 60 * workers / RUNS
    depths, widths = proxy_depths(config), proxy_widths(config)
    sizes = [(depth, width) for depth in depths for width in reversed(widths)]
    first, smallest = (depths[0], widths[0]), (depths[-1], widths[0])
    on_measure(*first)
    rate = _measured(_plan(make_proxy(config, name, *first), data, minutes), data)
    chosen = next(
        (
            size
            for size in sizes
            if _wanted(_plan(make_proxy(config, name, *size), data, minutes), rate) <= share
        ),
        smallest,
    )
    proxy = make_proxy(config, name, *chosen)
    plan = _plan(proxy, data, minutes)
    if chosen != first:
        on_measure(*chosen)
        rate = _measured(plan, data)
    steps = int((share - EVALUATIONS * rate.evaluation) / rate.step)
    if steps < _FEWEST_STEPS:
        least = (_FEWEST_STEPS * rate.step + EVALUATIONS * rate.evaluation) * RUNS
        raise InvalidInput(
            f"{minutes:g} minutes are too few: {RUNS} training runs of {_FEWEST_STEPS} steps of the"
            f" smallest proxy take about {least / 60 / workers / _SHARE:.2g}; give more minutes, or"
            " data with a smaller validation split"
        )
    seconds = steps * rate.step + EVALUATIONS * rate.evaluation
    tokens = steps * BATCH * CONTEXT
    proxy = _trained(proxy, steps * rate.flops, minutes, tokens, data)
    return SizedProxy(proxy, seconds, tokens, _active(plan))


def _trained(proxy: Proxy, flops: float, minutes: float, tokens: int, data: TextData) -> Proxy:
    """A proxy with the length of its training, and its limits."""
    sections = dict(proxy.sections)
    sections["training"] = {"flops": float(f"{flops:.3g}"), **sections["training"]}
    sections["search"] = {"runs": RUNS, "minutes": minutes}
    passes = tokens / len(data.train.tokens)
    comments = {
        "training.flops": f"of a seed: {tokens:,} tokens, {passes:.2g} passes over the text",
        "search.runs": "the training runs that the time was divided by",
    }
    return replace(proxy, sections=sections, comments=proxy.comments | comments)


def _plan(proxy: Proxy, data: TextData, minutes: float) -> Plan:
    content = proxy.sections | {"search": {"minutes": minutes}}
    return make_plan(StudyFile.model_validate_json(json.dumps(content)), data)


def _wanted(plan: Plan, rate: Rate) -> float:
    """The seconds of a run in which a seed sees 20 tokens for each parameter that a token uses."""
    steps = TOKENS_PER_PARAMETER * _active(plan) / (BATCH * CONTEXT)
    flops = steps * _flops_of_step(plan)
    return flops / rate.flops * rate.step + EVALUATIONS * rate.evaluation


def _active(plan: Plan) -> int:
    network = plan.network_with(plan.baselines["uniform"])
    return round(active_parameters(network).expected)


def _flops_of_step(plan: Plan) -> float:
    return training_flops(plan.network_with(plan.baselines["uniform"]), BATCH * CONTEXT)


def _measured(plan: Plan, data: TextData) -> Rate:
    """Some steps of the uniform baseline; what a process does only once does not count."""
    network, flops = plan.network_with(plan.baselines["uniform"]), _flops_of_step(plan)
    windows = min(_WINDOWS, len(data.validation))
    few = TextSplit(
        data.validation.tokens[: windows * CONTEXT + 1],
        CONTEXT,
        data.validation.bytes_per_token,
        data.validation.device,
    )
    small = replace(data, validation=few)
    settings = replace(plan.study.training, epochs=None, evaluations=1, flops=flops / 2)
    with one_thread_here():
        train(network, small, settings, plan.seeds(0))
        first = train(network, small, settings, plan.seeds(0))
        all_steps = replace(settings, flops=(_STEPS + 0.5) * flops)
        times = train(network, small, all_steps, plan.seeds(0)).times
    of_steps = times.training.cpu - first.times.training.cpu
    return Rate(
        max(of_steps, 0.1 * times.training.cpu) / _STEPS,
        times.evaluation.cpu * len(data.validation) / windows,
        flops,
    )

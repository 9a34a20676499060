"""What goes on in one trained network: sentences, and a page of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from dynamoe_search.measure.gradient_moments import pool_gradients
from dynamoe_search.measure.quantities import GROUPS
from dynamoe_search.report.table import Column, Table
from dynamoe_search.report.wording import percents, span

if TYPE_CHECKING:
    from dynamoe_search.measure.network import NetworkAnalysis

_EVEN = 0.95  # of ln N


def network_sentences(found: NetworkAnalysis) -> list[str]:
    """How the experts are used, where the gradient noise comes from, how varied the tokens are."""
    return [*use_sentences(found.utilization), _noise(found), _variety(found.ranks)]


def use_sentences(table: pd.DataFrame) -> list[str]:
    """How evenly a `utilization_table` says that experts are used, and what they say of groups."""
    chosen = table[table["experts"] > 1]
    dead, experts = int(table["dead_experts"].sum()), int(table["experts"].sum())
    mean_active = table["mean_active"]
    first = (
        f"{dead:,} of the {experts:,} experts {'is' if dead == 1 else 'are'} dead"
        if dead
        else f"All {experts:,} experts are used"
    )
    low, high = f"{mean_active.min():.2f}", f"{mean_active.max():.2f}"
    sentences = [f"{first}; K per layer is {span(low, high)}."]
    if chosen.empty:
        return [*sentences, "No layer has more than one expert, so nothing is routed."]
    least = chosen.loc[chosen["normalized_entropy"].idxmin()]
    evenness = f"{least['normalized_entropy']:.2f} ln N"
    if least["normalized_entropy"] >= _EVEN:
        sentences.append(f"The load is even in all layers: its entropy is at least {evenness}.")
    else:
        sentences.append(
            f"Layer {least['layer']:.0f} is used least evenly: {least['effective_experts']:.1f}"
            f" effective of {least['experts']:.0f} experts, entropy {evenness}."
        )
    information = _information(chosen)
    if not information.any():  # of one group there is nothing to say
        return sentences
    most = information.idxmax()
    sentence = (
        f"The choice of experts in layer {chosen['layer'][most]:.0f} says most of a token's group"
        f" (its class, or which token it is): {information[most]:.3f} nats beyond chance"
    )
    if len(chosen) > 1:
        sentence += (
            f"; that in layer {chosen['layer'][information.idxmin()]:.0f} says least,"
            f" {information.min():.3f}"
        )
    return [*sentences, f"{sentence}."]


def _noise(found: NetworkAnalysis) -> str:
    whole = pool_gradients(found.gradients.assign(group="network"), ["group"]).iloc[0]
    groups = pool_gradients(found.gradients, ["group"]).set_index("group")
    shares = {
        name: groups["trace"][name] / whole["trace"] for name in GROUPS if name in groups.index
    }
    parts = ", ".join(f"{name} {percents(share)}" for name, share in shares.items())
    return (
        f"Gradient noise scale {whole['noise_scale']:.3g} samples, from {found.gradient_samples:,}"
        f" samples; its variance comes from {parts}."
    )


def _variety(ranks: pd.DataFrame) -> str:
    first, last = ranks.iloc[0], ranks.iloc[-1]
    early, late = f"{first['effective_rank']:.1f}", f"{last['effective_rank']:.1f}"
    sentence = (
        f"Tokens that enter the first layer have an effective rank of {early} of"
        f" {first['width']:.0f}"
    )
    if len(ranks) == 1:
        return f"{sentence}."
    sentence += f", those of the last {late}"
    if early == late or "nan" in (early, late):
        return f"{sentence}."
    ways = "more" if first["effective_rank"] > last["effective_rank"] else "less"
    return f"{sentence}: the early input is {ways} varied here."


_LAYERS = {
    "layer": "{0.layer}",
    "N": "{0.experts}",
    "K": "{0.mean_active:.2f} ± {0.deviation:.2f}",
    "entropy": "{0.normalized_entropy:.3f}",
    "effective": "{0.effective_experts:.2f}",
    "dead": "{0.dead_experts}",
    "MaxVio": "{0.maximum_violation:.2f}",
    "Gini": "{0.gini:.2f}",
    "indecision": "{0.router_entropy:.3f}",
    "information": "{0.information:.3f}",
    "rank": "{0.rank:.1f}",
}
_GRADIENTS = {
    "layer": "{0.layer}",
    "group": "{0.group}",
    "parameters": "{0.parameters:,}",
    "variance": "{0.trace:.3g}",
    "squared norm": "{0.squared_norm:.3g}",
    "noise scale": "{0.noise_scale:.3g}",
    "noise scale\n(tokens)": "{0.token_noise_scale:.3g}",
}


_ABOUT_LAYERS = {
    "entropy": "of the load, over ln N",
    "indecision": "entropy of a token's gates, nats",
    "information": "what experts say of classes or tokens beyond chance, nats",
    "rank": "effective rank of the tokens that enter",
}


def layer_table(utilization: pd.DataFrame) -> Table:
    """Use of experts by layer, without the columns that say nothing: all NaN, or of one group."""
    layers = utilization.assign(
        deviation=utilization["active_variance"] ** 0.5, information=_information(utilization)
    )
    known = {
        "indecision": layers["router_entropy"].notna().any(),
        "information": layers["information"].any(),
        "rank": "rank" in layers,
    }
    forms = {name: form for name, form in _LAYERS.items() if known.get(name, True)}
    about = "; ".join(f"{name}: {text}" for name, text in _ABOUT_LAYERS.items() if name in forms)
    return _table(layers, forms, "layers", about)


def network_tables(found: NetworkAnalysis) -> list[Table]:
    """Use of experts and variety of tokens by layer, and gradient noise by layer and group."""
    ranks = found.ranks.set_index("layer")["effective_rank"]
    layers = found.utilization.assign(rank=found.utilization["layer"].map(ranks))
    about_noise = (
        "layer 0: outside the layers; noise scale: variance over squared norm of the mean; that of"
        " a token does not depend on how rarely an expert is used"
    )
    return [
        layer_table(layers),
        _table(found.gradients, _GRADIENTS, "gradient noise", about_noise),
    ]


def _table(table: pd.DataFrame, forms: Mapping[str, str], title: str, caption: str) -> Table:
    columns = [Column(name, name != "group", name in ("layer", "group")) for name in forms]
    rows = [[form.format(row) for form in forms.values()] for row in table.itertuples()]
    return Table(columns, rows, title, caption)


def _information(utilization: pd.DataFrame) -> pd.Series:
    """What the experts of a layer say of a token's group, in nats beyond chance."""
    return utilization["mutual_information"] - utilization["chance_information"]

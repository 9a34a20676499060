"""What goes on in one trained network: sentences, and a page of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from dynamoe_search.measure.gradient_moments import pool_gradients
from dynamoe_search.measure.quantities import GROUPS
from dynamoe_search.report.table import Column, Table, numbers
from dynamoe_search.report.wording import percents, span

if TYPE_CHECKING:
    from dynamoe_search.measure.network import NetworkAnalysis

_EVEN = 0.95  # of ln N


def network_sentences(found: NetworkAnalysis) -> list[str]:
    """How the experts are used, where the gradient noise comes from, how varied the tokens are."""
    return [*_use(found.utilization), _noise(found), _variety(found.ranks)]


def _use(table: pd.DataFrame) -> list[str]:
    chosen = table[table["experts"] > 1]
    dead, experts = int(table["dead_experts"].sum()), int(table["experts"].sum())
    mean_active = table["mean_active"]
    first = (
        f"{dead} of the {experts} experts are dead" if dead else f"All {experts} experts are used"
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
    information = chosen["mutual_information"] - chosen["chance_information"]
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


def network_tables(found: NetworkAnalysis) -> list[Table]:
    """Use of experts and variety of tokens by layer, and gradient noise by layer and group."""
    return [_layers(found), _gradients(found.gradients)]


def _layers(found: NetworkAnalysis) -> Table:
    headers = ("N", "K", "entropy", "effective", "dead", "MaxVio", "Gini", "indecision")
    columns = [
        Column("layer", is_number=True, is_name=True),
        *numbers(*headers, "information", "rank"),
    ]
    rows = [
        (
            str(row.layer),
            str(row.experts),
            f"{row.mean_active:.2f} ± {row.active_variance**0.5:.2f}",
            f"{row.normalized_entropy:.3f}",
            f"{row.effective_experts:.2f}",
            str(row.dead_experts),
            f"{row.maximum_violation:.2f}",
            f"{row.gini:.2f}",
            f"{row.router_entropy:.3f}",
            f"{row.mutual_information - row.chance_information:.3f}",
            f"{rank:.1f}",
        )
        for row, rank in zip(
            found.utilization.itertuples(), found.ranks["effective_rank"], strict=True
        )
    ]
    caption = (
        "entropy: of the load, over ln N; indecision: entropy of a token's gates, nats;"
        " information: what experts say of classes or tokens beyond chance, nats; rank: effective"
        " rank of the tokens that enter"
    )
    return Table(columns, rows, "layers", caption)


def _gradients(gradients: pd.DataFrame) -> Table:
    columns = [
        Column("layer", is_number=True, is_name=True),
        Column("group", is_name=True),
        *numbers("parameters", "variance", "squared norm", "noise scale", "noise scale\n(tokens)"),
    ]
    rows = [
        (
            str(row.layer),
            row.group,
            f"{row.parameters:,}",
            f"{row.trace:.3g}",
            f"{row.squared_norm:.3g}",
            f"{row.noise_scale:.3g}",
            f"{row.token_noise_scale:.3g}",
        )
        for row in gradients.itertuples()
    ]
    caption = (
        "layer 0: outside the layers; noise scale: variance over squared norm of the mean; that of"
        " a token does not depend on how rarely an expert is used"
    )
    return Table(columns, rows, "gradient noise", caption)

"""What goes on in one trained network: sentences, and a page of tables."""

from __future__ import annotations

import pandas as pd
from rich import box
from rich.table import Table

from dynamoe_search.measure.gradient_moments import pool_gradients
from dynamoe_search.measure.network import NetworkAnalysis
from dynamoe_search.measure.quantities import GROUPS

_EVEN = 0.95  # of ln N


def network_sentences(found: NetworkAnalysis) -> list[str]:
    """How the experts are used, where the gradient's noise comes from, how tokens change by layer.

    Parameters
    ----------
    found : NetworkAnalysis
    """
    return [*_use(found.utilization), _noise(found), _variety(found.ranks)]


def _use(table: pd.DataFrame) -> list[str]:
    chosen = table[table["experts"] > 1]
    dead, experts = int(table["dead_experts"].sum()), int(table["experts"].sum())
    mean_active = table["mean_active"]
    first = (
        f"{dead} of the {experts} experts are dead" if dead else f"All {experts} experts are used"
    )
    sentences = [f"{first}; K is {_span(mean_active)} a layer."]
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
    least_telling = ""
    if len(chosen) > 1:
        least_telling = (
            f"; those of layer {chosen['layer'][information.idxmin()]:.0f} least,"
            f" {information.min():.3f}"
        )
    sentences.append(
        f"Experts of layer {chosen['layer'][most]:.0f} tell most of a token's group (its class, or"
        f" which token it is): {information[most]:.3f} nats beyond"
        f" chance{least_telling}."
    )
    return sentences


def _span(values: pd.Series) -> str:
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} to {high}"


def _noise(found: NetworkAnalysis) -> str:
    whole = pool_gradients(found.gradients.assign(group="network"), ["group"]).iloc[0]
    groups = pool_gradients(found.gradients, ["group"]).set_index("group")
    shares = {
        name: groups["trace"][name] / whole["trace"] for name in GROUPS if name in groups.index
    }
    parts = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
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
    table = _table(
        "layers",
        "entropy: of the load, over ln N; indecision: entropy of a token's gates, nats; tells: what"
        " experts tell of classes or tokens beyond chance, nats; rank: effective rank of the tokens"
        " that enter",
    )
    titles = ["layer", "N", "K", "entropy", "effective", "dead", "MaxVio", "Gini", "indecision"]
    for title in (*titles, "tells", "rank"):
        table.add_column(title, justify="right")
    for row, rank in zip(
        found.utilization.itertuples(), found.ranks["effective_rank"], strict=True
    ):
        table.add_row(
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
    return table


def _gradients(gradients: pd.DataFrame) -> Table:
    table = _table(
        "gradient noise",
        "layer 0: outside the layers; noise scale: variance over squared norm of the mean; that of"
        " a token is free of how rarely an expert is used",
    )
    for title in ("layer", "group", "parameters", "variance", "squared norm", "noise scale"):
        table.add_column(title, justify="left" if title == "group" else "right")
    table.add_column("noise scale\n(tokens)", justify="right")
    for row in gradients.itertuples():
        table.add_row(
            str(row.layer),
            row.group,
            f"{row.parameters:,}",
            f"{row.trace:.3g}",
            f"{row.squared_norm:.3g}",
            f"{row.noise_scale:.3g}",
            f"{row.token_noise_scale:.3g}",
        )
    return table


def _table(title: str, caption: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )

"""What a ladder has found, in words and as a picture."""

import pytest

from dynamoe_search.report.ladder import ladder_sentences, ladder_table, plot_ladder
from tests.report.made_up import ladder
from tests.report.shown import shown


def test_a_difference_that_shrinks_is_said_to() -> None:
    said = "\n".join(ladder_sentences(ladder(exponent=-0.3), at=1e20))
    assert "Reference: uniform, at 3 scales from 1e+09 to 6.4e+10 training FLOPs." in said
    assert "In the mean, pyramid is better than uniform at every scale" in said
    assert "it is shown at 3 of 3 scales." in said
    assert "to the power -0.3" in said
    assert "so it shrinks" in said
    assert "At scale 3, uniform needs 1." in said
    assert "for the loss of pyramid" in said
    assert "Extrapolated to 1e+20 training FLOPs: -0.0" in said
    assert "is an extrapolation, to 1.56e+09 times those of the largest scale" in said
    # The same ladder from the other side.
    turned = "\n".join(ladder_sentences(ladder(exponent=-0.3), reference="pyramid"))
    assert "In the mean, uniform is worse than pyramid at every scale" in turned
    assert "Extrapolated" not in turned


def test_a_difference_that_grows_and_one_that_does_neither() -> None:
    assert "so it grows" in "\n".join(ladder_sentences(ladder(exponent=0.2)))
    flat = "\n".join(ladder_sentences(ladder(exponent=0.0)))
    assert "shows neither that it grows nor that it shrinks" in flat


def test_a_sign_that_changes_is_said_and_has_a_line() -> None:
    results = ladder()
    results.loc[(results["label"] == "pyramid") & (results["scale"] == 3), "loss"] += 0.1
    said = "\n".join(ladder_sentences(results, at=1e12))
    assert "the difference of pyramid to uniform changes its sign" in said
    assert "nats by the line" in said
    assert "by the power law" not in said
    assert "but the means do not lie on such a line (p < 0.001)" in said
    assert "do not lie on" not in "\n".join(ladder_sentences(ladder(exponent=-0.3)))


def test_candidates_that_coincide_at_a_scale_are_said_to() -> None:
    results = ladder().sort_values(["scale", "label", "seed"])
    second = results["scale"] == 2
    of_uniform = results.loc[second & (results["label"] == "uniform"), "loss"].to_numpy()
    results.loc[second & (results["label"] == "pyramid"), "loss"] = of_uniform
    assert "Both are the same candidate at scale 2," in "\n".join(ladder_sentences(results))


def test_too_little_is_said_to_be_too_little() -> None:
    results = ladder()
    said = "\n".join(ladder_sentences(results[results["scale"] < 3]))
    assert "pyramid: too little is trained for a fit; the same command goes on." in said


def test_the_table_has_every_scale() -> None:
    text = shown(ladder_table(ladder()))
    assert text.count("pyramid") == text.count("uniform") == 3
    assert text.count("reference") >= 3
    assert "6.4e+10" in text
    assert "300,000" in text


def test_the_plot_is_over_log_flops() -> None:
    (axes,) = plot_ladder(ladder()).axes
    assert axes.get_xscale() == "log"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(labels) == 1
    assert labels[0].startswith("pyramid: to the power -0.1")
    (points,) = axes.collections[1:]
    assert points.get_offsets()[:, 0].tolist() == pytest.approx([1e9, 8e9, 6.4e10])

import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import (
    Balance,
    Classifier,
    Dense,
    Experts,
    LanguageModel,
    Percentile,
    Relative,
    Threshold,
    TopK,
    TopP,
)

EXPERTS = Experts(8, Schedule((1, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopK(k=0), "k is 0; it must be at least 1"),
        (lambda: TopP(p=0.0), "p is 0.0"),
        (lambda: TopP(p=1.5), "p is 1.5"),
        (lambda: Percentile(tau=-0.1), "tau is -0.1"),
        (lambda: TopK(temperature=0.0), "temperature is 0.0"),
        (lambda: TopP(noise=-1.0), "noise is -1.0"),
        (lambda: TopP(target=0.5), "target is 0.5; it must be a mean K of at least 1"),
        (lambda: Relative(tau=1.5), "tau is 1.5"),
        (lambda: Relative(target=float("nan")), "target is nan"),
        (lambda: Threshold(target=0.0), "target is 0.0"),
        (lambda: Threshold(temperature=float("inf")), "temperature is inf"),
        (lambda: Balance("even"), "balance is 'even'; choose from none, switch, bias"),
        (lambda: Balance("none", 0.1), "balance none has no strength"),
        (lambda: Balance("switch", -1.0), "strength is -1.0"),
        (lambda: Balance(z_loss=float("nan")), "z_loss is nan"),
        (lambda: Experts(0, Schedule((1,))), "hidden is 0"),
        (lambda: Experts(8, Schedule((1, 2)), (TopK(),)), "1 routers are given for the 2 layers"),
        (lambda: Experts(8, Schedule((2, 0))), "layer 1 of 2-0 has no experts; dense_hidden must"),
        (lambda: Experts(8, Schedule((0, 2)), dense_hidden=0), "layer 0 of 0-2 has no experts"),
        (lambda: Experts(8, Schedule((0, 2)), dense_hidden=(4,)), "1 widths of plain blocks are"),
        (lambda: Experts(8, Schedule((2,)), shared=-1), "shared is -1"),
        (lambda: Experts(8, Schedule((2,)), style="new"), "style is 'new'; choose from paper, mod"),
        (lambda: Dense((8,), "new"), "style is 'new'"),
        (lambda: TopK(gates="tanh"), "gates is tanh; it must be softmax or sigmoid"),
        (lambda: LanguageModel(9, 5, 8, 2, EXPERTS, 3), "key_value_heads is 3; it must divide the"),
        (lambda: LanguageModel(9, 5, 8, 0, EXPERTS, 1), "key_value_heads is 1; .* heads, 0"),
        (lambda: Classifier(0, 10, 8, EXPERTS), "inputs is 0"),
        (lambda: LanguageModel(257, 16, 10, 3, EXPERTS), "heads is 3; it must be 0, or divide"),
        (lambda: LanguageModel(257, 16, 6, 2, EXPERTS), "heads is 2; .* into parts of even size"),
        (lambda: LanguageModel(257, 0, 8, 2, EXPERTS), "context is 0"),
        (lambda: Dense((8, 0)), "hidden is"),
        (lambda: Dense(()), "give one width of at least 1 per block"),
    ],
)
def test_bad_values_are_named(make, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()

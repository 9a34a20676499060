import pytest

from dynamoe_search.errors import InvalidInput
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, DenseClassifier, Percentile, TopK, TopP


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopK(k=0), "k is 0; it must be at least 1"),
        (lambda: TopP(p=0.0), "p is 0.0"),
        (lambda: TopP(p=1.5), "p is 1.5"),
        (lambda: Percentile(tau=-0.1), "tau is -0.1"),
        (lambda: TopK(temperature=0.0), "temperature is 0.0"),
        (lambda: TopP(noise=-1.0), "noise is -1.0"),
        (lambda: Classifier(0, 10, 8, 8, Schedule((1,)), TopK()), "inputs is 0"),
        (lambda: DenseClassifier(4, 10, 8, (8, 0)), "hidden is"),
        (lambda: DenseClassifier(4, 10, 8, ()), "one width a block"),
    ],
)
def test_bad_values_are_named(make, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()

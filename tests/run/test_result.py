from dynamoe_search.data import embedded_digits
from dynamoe_search.measure.utilization import normalized_entropy
from dynamoe_search.run.result import make_result
from dynamoe_search.schedules import Schedule
from dynamoe_search.specification import Classifier, Experts
from dynamoe_search.training.loop import train
from dynamoe_search.training.settings import TrainingSettings


def test_means_are_over_the_layers_with_experts() -> None:
    digits = embedded_digits(seed=0)
    network = Classifier(64, 10, 8, Experts(8, Schedule((0, 3)), dense_hidden=16))
    (trained,) = train(network, digits, TrainingSettings(epochs=1), seeds=(0,)).of_seeds
    kept = make_result(digits, network, trained)
    assert kept.mean_active == (0, 2)
    assert (kept.active_experts, kept.layer_entropy[0]) == (2, 0)
    assert kept.utilization_entropy == normalized_entropy(trained.validation.load[1])

from .active import (
    active_by_layer as active_by_layer,
)
from .active import (
    compare_routers as compare_routers,
)
from .counts import (
    RoutingCounts as RoutingCounts,
)
from .gradient_moments import (
    pool_gradients as pool_gradients,
)
from .gradients import (
    GradientNoise as GradientNoise,
)
from .gradients import (
    gradient_noise as gradient_noise,
)
from .gradients import (
    gradient_noise_by_group as gradient_noise_by_group,
)
from .machine import (
    measure_machine as measure_machine,
)
from .measurements import (
    gradient_results as gradient_results,
)
from .measurements import (
    gradients_now as gradients_now,
)
from .measurements import (
    representation_results as representation_results,
)
from .measurements import (
    utilization_results as utilization_results,
)
from .network import (
    NetworkAnalysis as NetworkAnalysis,
)
from .network import (
    analyze_network as analyze_network,
)
from .per_sample_gradients import (
    per_sample_gradient_noise as per_sample_gradient_noise,
)
from .quantities import (
    GROUPS as GROUPS,
)
from .quantities import (
    MEASURED as MEASURED,
)
from .quantities import (
    MEASURES as MEASURES,
)
from .quantities import (
    measured_means as measured_means,
)
from .recorder import (
    TrainingRecorder as TrainingRecorder,
)
from .representation import (
    RepresentationSums as RepresentationSums,
)
from .representation import (
    cka_table as cka_table,
)
from .representation import (
    effective_ranks as effective_ranks,
)
from .representation import (
    linear_cka as linear_cka,
)
from .representation import (
    rank_table as rank_table,
)
from .representation import (
    sum_representations as sum_representations,
)
from .routing_counts import (
    count_routings as count_routings,
)
from .routing_counts import (
    frequent_tokens as frequent_tokens,
)
from .routing_variance import (
    VarianceResult as VarianceResult,
)
from .routing_variance import (
    compare_routings as compare_routings,
)
from .routing_variance import (
    gradient_variance as gradient_variance,
)
from .utilization import (
    chance_information as chance_information,
)
from .utilization import (
    coefficient_of_variation as coefficient_of_variation,
)
from .utilization import (
    dead_experts as dead_experts,
)
from .utilization import (
    effective_experts as effective_experts,
)
from .utilization import (
    gini as gini,
)
from .utilization import (
    load_entropy as load_entropy,
)
from .utilization import (
    load_shares as load_shares,
)
from .utilization import (
    maximum_violation as maximum_violation,
)
from .utilization import (
    mean_normalized_entropy as mean_normalized_entropy,
)
from .utilization import (
    mutual_information as mutual_information,
)
from .utilization import (
    normalized_entropy as normalized_entropy,
)
from .utilization_tables import (
    active_table as active_table,
)
from .utilization_tables import (
    co_activation_table as co_activation_table,
)
from .utilization_tables import (
    group_table as group_table,
)
from .utilization_tables import (
    load_table as load_table,
)
from .utilization_tables import (
    utilization_table as utilization_table,
)

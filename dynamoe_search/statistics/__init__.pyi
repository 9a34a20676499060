from .candidates import (
    complete_runs as complete_runs,
)
from .candidates import (
    describe_candidates as describe_candidates,
)
from .comparison import (
    compare_with_reference as compare_with_reference,
)
from .comparison import (
    difference_p_value as difference_p_value,
)
from .comparison import (
    equivalence_p_value as equivalence_p_value,
)
from .comparison import (
    holm as holm,
)
from .comparison import (
    seeds_to_decide as seeds_to_decide,
)
from .comparison import (
    studentized_interval as studentized_interval,
)
from .fidelity import (
    Savings as Savings,
)
from .fidelity import (
    compute_saved as compute_saved,
)
from .fidelity import (
    kendall_interval as kendall_interval,
)
from .fidelity import (
    rank_correlations as rank_correlations,
)
from .intervals import (
    CONFIDENCE as CONFIDENCE,
)
from .intervals import (
    Noise as Noise,
)
from .intervals import (
    half_width as half_width,
)
from .intervals import (
    pooled_noise as pooled_noise,
)
from .ladder import (
    DifferenceFit as DifferenceFit,
)
from .ladder import (
    Estimate as Estimate,
)
from .ladder import (
    compute_multipliers as compute_multipliers,
)
from .ladder import (
    fit_difference as fit_difference,
)
from .noise import (
    NoiseCheck as NoiseCheck,
)
from .noise import (
    check_noise as check_noise,
)
from .pairwise import (
    PairwiseComparison as PairwiseComparison,
)
from .pairwise import (
    compare_pairs as compare_pairs,
)
from .pareto import (
    OBJECTIVES as OBJECTIVES,
)
from .pareto import (
    Objective as Objective,
)
from .pareto import (
    make_pareto_table as make_pareto_table,
)
from .pareto import (
    pareto_front as pareto_front,
)
from .scales import (
    compare_scales as compare_scales,
)
from .scales import (
    fit_ladder as fit_ladder,
)
from .sequential import (
    Looks as Looks,
)
from .sequential import (
    compare_until_decided as compare_until_decided,
)
from .shrinkage import (
    PairedMeans as PairedMeans,
)
from .shrinkage import (
    expected_means as expected_means,
)
from .shrinkage import (
    paired_means as paired_means,
)
from .two_way import (
    TwoWay as TwoWay,
)
from .two_way import (
    estimate_means as estimate_means,
)
from .two_way import (
    fit_two_way as fit_two_way,
)

from .comparison import (
    compare_with_reference as compare_with_reference,
)
from .comparison import (
    holm as holm,
)
from .comparison import (
    seeds_to_decide as seeds_to_decide,
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
    least_significant_difference as least_significant_difference,
)
from .intervals import (
    pooled_noise as pooled_noise,
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
from .shrinkage import (
    expected_means as expected_means,
)
from .shrinkage import (
    paired_means as paired_means,
)

from .budget import (
    ExpertBudget as ExpertBudget,
)
from .budget import (
    budget_extremes as budget_extremes,
)
from .budget import (
    compare_schedules as compare_schedules,
)
from .budget import (
    family_bounds as family_bounds,
)
from .budget import (
    score_schedules as score_schedules,
)
from .extrapolation import (
    extrapolate_budget as extrapolate_budget,
)
from .layers import (
    QUANTITIES as QUANTITIES,
)
from .layers import (
    layer_bounds as layer_bounds,
)
from .layers import (
    schedule_bounds as schedule_bounds,
)
from .machine import (
    Machine as Machine,
)
from .machine import (
    roofline as roofline,
)
from .measured import (
    MEASURED_AND_BOUNDED as MEASURED_AND_BOUNDED,
)
from .measured import (
    measured_bounds as measured_bounds,
)
from .routing import (
    balanced_distinct_experts as balanced_distinct_experts,
)
from .routing import (
    distinct_experts as distinct_experts,
)
from .routing import (
    entropy_bounds as entropy_bounds,
)
from .routing import (
    log2_configurations as log2_configurations,
)
from .routing import (
    mean_active_tail as mean_active_tail,
)
from .routing import (
    parallel_efficiency as parallel_efficiency,
)
from .routing import (
    threshold_active_bound as threshold_active_bound,
)
from .routing import (
    top_p_active_bounds as top_p_active_bounds,
)
from .scaling_laws import (
    LAWS as LAWS,
)
from .scaling_laws import (
    Extrapolation as Extrapolation,
)
from .separable import (
    Optimum as Optimum,
)
from .separable import (
    best_schedule as best_schedule,
)
from .separable import (
    worst_schedule as worst_schedule,
)

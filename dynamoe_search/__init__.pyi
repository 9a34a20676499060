__version__: str

from .bounds.budget import (
    ExpertBudget as ExpertBudget,
)
from .bounds.budget import (
    budget_extremes as budget_extremes,
)
from .bounds.budget import (
    compare_schedules as compare_schedules,
)
from .bounds.budget import (
    score_schedules as score_schedules,
)
from .bounds.separable import (
    best_schedule as best_schedule,
)
from .bounds.separable import (
    worst_schedule as worst_schedule,
)
from .data import (
    load_data as load_data,
)
from .data import (
    load_images as load_images,
)
from .decision.leaderboard import (
    make_leaderboard as make_leaderboard,
)
from .errors import (
    InvalidInput as InvalidInput,
)
from .errors import (
    RunFailed as RunFailed,
)
from .measure.active import (
    active_by_layer as active_by_layer,
)
from .measure.active import (
    compare_routers as compare_routers,
)
from .measure.gradients import (
    gradient_noise as gradient_noise,
)
from .measure.gradients import (
    gradient_noise_by_group as gradient_noise_by_group,
)
from .measure.per_sample_gradients import (
    per_sample_gradient_noise as per_sample_gradient_noise,
)
from .measure.representation import (
    rank_table as rank_table,
)
from .measure.representation import (
    sum_representations as sum_representations,
)
from .measure.routing_counts import (
    count_routings as count_routings,
)
from .measure.routing_variance import (
    gradient_variance as gradient_variance,
)
from .measure.utilization_tables import (
    utilization_table as utilization_table,
)
from .models import (
    ClassifierModel as ClassifierModel,
)
from .models import (
    DecoderModel as DecoderModel,
)
from .report.bounds import (
    bounds_sentences as bounds_sentences,
)
from .report.bounds_plot import (
    plot_bounds as plot_bounds,
)
from .report.confirmation import (
    confirmation_sentences as confirmation_sentences,
)
from .report.confirmation import (
    plot_confirmation as plot_confirmation,
)
from .report.fidelity import (
    plot_fidelity as plot_fidelity,
)
from .report.leaderboard import (
    answer as answer,
)
from .report.pareto import (
    plot_pareto as plot_pareto,
)
from .report.plots import (
    plot_active as plot_active,
)
from .report.plots import (
    plot_schedules as plot_schedules,
)
from .report.plots import (
    plot_search as plot_search,
)
from .report.utilization import (
    plot_load as plot_load,
)
from .report.utilization import (
    plot_representation as plot_representation,
)
from .report.utilization import (
    plot_utilization as plot_utilization,
)
from .run.confirm import (
    confirm_study as confirm_study,
)
from .run.confirm import (
    load_confirmation as load_confirmation,
)
from .run.join import (
    join_study as join_study,
)
from .run.ray import (
    RayCluster as RayCluster,
)
from .run.results import (
    load_trials as load_trials,
)
from .run.results import (
    measurement_table as measurement_table,
)
from .run.run import (
    Resources as Resources,
)
from .run.run import (
    run_study as run_study,
)
from .schedules import (
    Schedule as Schedule,
)
from .schedules import (
    allocate as allocate,
)
from .schedules import (
    pattern_schedule as pattern_schedule,
)
from .schedules import (
    preset_schedule as preset_schedule,
)
from .specification import (
    Balance as Balance,
)
from .specification import (
    Classifier as Classifier,
)
from .specification import (
    Dense as Dense,
)
from .specification import (
    Experts as Experts,
)
from .specification import (
    LanguageModel as LanguageModel,
)
from .specification import (
    Percentile as Percentile,
)
from .specification import (
    Relative as Relative,
)
from .specification import (
    Threshold as Threshold,
)
from .specification import (
    TopK as TopK,
)
from .specification import (
    TopP as TopP,
)
from .statistics.comparison import (
    compare_with_reference as compare_with_reference,
)
from .statistics.fidelity import (
    rank_correlations as rank_correlations,
)
from .statistics.pareto import (
    make_pareto_table as make_pareto_table,
)
from .training.checkpoint import (
    load_model as load_model,
)
from .training.checkpoint import (
    save_model as save_model,
)
from .training.evaluation import (
    evaluate as evaluate,
)
from .training.loop import (
    TrainingSettings as TrainingSettings,
)
from .training.loop import (
    train as train,
)

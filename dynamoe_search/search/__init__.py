"""The search: study files, what is trained next, workers, and their records.

The only part that knows optuna.
"""

from dynamoe_search.search.comparison import compare_samplers
from dynamoe_search.search.confirm import (
    Confirmation,
    confirm_study,
    load_confirmation,
    paired_results,
)
from dynamoe_search.search.join import join_study
from dynamoe_search.search.plan import Plan, make_plan
from dynamoe_search.search.progress import Progress
from dynamoe_search.search.ray_engine import RayCluster
from dynamoe_search.search.recording import Recording, load_recording
from dynamoe_search.search.results import load_trials, measurement_table
from dynamoe_search.search.run import Outcome, Resources, results_folder, run_study
from dynamoe_search.search.study_file import SAMPLERS, StudyFile
from dynamoe_search.search.study_reader import read_study_file, study_path
from dynamoe_search.search.trained import (
    TrainedNetwork,
    expert_budget,
    load_plan,
    trained_network,
)

__all__ = [
    "SAMPLERS",
    "Confirmation",
    "Outcome",
    "Plan",
    "Progress",
    "RayCluster",
    "Recording",
    "Resources",
    "StudyFile",
    "TrainedNetwork",
    "compare_samplers",
    "confirm_study",
    "expert_budget",
    "join_study",
    "load_confirmation",
    "load_plan",
    "load_recording",
    "load_trials",
    "make_plan",
    "measurement_table",
    "paired_results",
    "read_study_file",
    "results_folder",
    "run_study",
    "study_path",
    "trained_network",
]

"""The search: study files, what is trained next, workers, and their records.

The only part that knows optuna.
"""

from dynamoe_search.search.plan import Plan, make_plan
from dynamoe_search.search.results import load_trials
from dynamoe_search.search.run import Outcome, Progress, run_study
from dynamoe_search.search.study_file import SAMPLERS, StudyFile, read_study_file, study_path

__all__ = [
    "SAMPLERS",
    "Outcome",
    "Plan",
    "Progress",
    "StudyFile",
    "load_trials",
    "make_plan",
    "read_study_file",
    "run_study",
    "study_path",
]

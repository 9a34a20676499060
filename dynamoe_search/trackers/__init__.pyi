from .address import tracker_at as tracker_at
from .happenings import Callback as Callback
from .happenings import Decided as Decided
from .happenings import RunEnded as RunEnded
from .happenings import StudyTold as StudyTold
from .mlflow_runs import MlflowTracker as MlflowTracker
from .tensorboard_files import TensorBoardTracker as TensorBoardTracker

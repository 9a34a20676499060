from .costs import Costs as Costs
from .costs import Workload as Workload
from .costs import least_seconds as least_seconds
from .costs import model_costs as model_costs
from .costs import parameter_parts as parameter_parts
from .model_config import LayerConfig as LayerConfig
from .model_config import ModelConfig as ModelConfig
from .reading import read_config as read_config

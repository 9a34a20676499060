from .model_config import LayerConfig as LayerConfig
from .model_config import ModelConfig as ModelConfig
from .reading import read_config as read_config

from .model_config import LayerConfig as LayerConfig
from .model_config import ModelConfig as ModelConfig

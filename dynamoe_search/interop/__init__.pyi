from .export import Export as Export
from .export import export_schedule as export_schedule
from .export import import_schedule as import_schedule
from .model_config import LayerConfig as LayerConfig
from .model_config import ModelConfig as ModelConfig
from .reading import read_config as read_config

from .cifar import (
    read_cifar10 as read_cifar10,
)
from .documents import (
    embedded_documents as embedded_documents,
)
from .documents import (
    read_documents as read_documents,
)
from .download import (
    DOWNLOADS as DOWNLOADS,
)
from .download import (
    download_images as download_images,
)
from .idx import (
    read_idx as read_idx,
)
from .images import (
    ImageData as ImageData,
)
from .images import (
    ImageSplit as ImageSplit,
)
from .images import (
    embedded_digits as embedded_digits,
)
from .images import (
    split_images as split_images,
)
from .names import (
    DATA_SETS as DATA_SETS,
)
from .names import (
    DIRECTORY_VARIABLE as DIRECTORY_VARIABLE,
)
from .names import (
    IMAGE_SETS as IMAGE_SETS,
)
from .names import (
    TOKEN_FILE_ENDING as TOKEN_FILE_ENDING,
)
from .prepare import (
    prepare_text as prepare_text,
)
from .registry import (
    list_data as list_data,
)
from .registry import (
    load_data as load_data,
)
from .registry import (
    load_images as load_images,
)
from .registry import (
    require_directory as require_directory,
)
from .text import (
    TextData as TextData,
)
from .text import (
    TextSplit as TextSplit,
)
from .text import (
    embedded_topics as embedded_topics,
)
from .text import (
    open_text as open_text,
)

from .files import (
    TABLES as TABLES,
)
from .files import (
    load as load,
)
from .files import (
    names as names,
)
from .files import (
    write_bench as write_bench,
)
from .table import (
    COLUMNS as COLUMNS,
)
from .table import (
    OPTIONAL as OPTIONAL,
)
from .table import (
    Answer as Answer,
)
from .table import (
    Bench as Bench,
)

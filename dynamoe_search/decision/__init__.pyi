from .landscape import (
    Landscape as Landscape,
)
from .landscape import (
    fit_landscape as fit_landscape,
)
from .leaderboard import (
    make_leaderboard as make_leaderboard,
)
from .regret import (
    search_curve as search_curve,
)

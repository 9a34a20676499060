"""Reports: leaderboards, plots, and what the terminal shows."""

from dynamoe_search.report.leaderboard import answer, make_leaderboard
from dynamoe_search.report.plots import plot_schedules, plot_search, save_figure

__all__ = ["answer", "make_leaderboard", "plot_schedules", "plot_search", "save_figure"]

"""Reports: leaderboards, plots, and what the terminal shows.

Nothing is imported here, so that what needs no plot does not wait for matplotlib.
"""

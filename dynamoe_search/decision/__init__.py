"""Deciding between candidates: the leaderboard and the fitted landscape. No torch."""

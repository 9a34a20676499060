"""What to train next. The only part that imports Optuna."""

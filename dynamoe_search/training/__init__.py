"""Training one network: settings, the loop, evaluation, checkpoints."""

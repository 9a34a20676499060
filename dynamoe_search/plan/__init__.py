"""What a study will do: its file, its candidates, and what follows from them before any training."""

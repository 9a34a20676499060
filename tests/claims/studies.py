"""Studies of claims, small enough for tests."""

from pathlib import Path

from tests.conftest import edit

STUDY = """\
[data]
name = "digits"

[model]
depth = 4
width = 8
hidden = 8

[budget]
regime = "compute"
experts = 16
minimum = 2
active = 2

[router]
name = "percentile"
temperature = 0.5

[training]
epochs = 1
batch = 256
learning_rate = 5e-3
recipe = "paper"
seeds = 4
evaluations = 2

[search]
contrast = 0.5
runs = 7
"""
PAPER = (
    ('regime = "compute"', 'regime = "paper"'),
    ("experts = 16\n", "maximum = 6\n"),
    ("active = 2\n", ""),
)
DENSE_LAYERS = (("minimum = 2", "minimum = 0"),)
TEXT = (
    ('"digits"', '"topics"'),
    ("depth = 4\nwidth = 8\nhidden = 8", 'scale = "small"'),
)


def write(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """Write the study file of a folder of that name."""
    path = folder / name / "study.toml"
    path.parent.mkdir()
    path.write_text(STUDY)
    edit(path, *changes)
    return path

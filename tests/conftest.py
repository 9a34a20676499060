"""What several test folders share: a study small enough to run in seconds."""

import signal
from pathlib import Path

import hypothesis
import pytest
import torch

pytest_plugins = ["tests.fixtures"]

# No test depends on how fast the machine is.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

# A shell lets what it starts in the background ignore interrupts; so would what tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# As in the workers: tests run in as many processes as there are cores.
torch.set_num_threads(1)

SMALL_STUDY = """\
seed = 3

[data]
name = "digits"

[model]
depth = 4
width = 8
hidden = 8

[budget]
experts = 12

[router]
name = "top_k"
k = 1

[training]
epochs = 2
batch = 128
learning_rate = 5e-3
seeds = 1

[search]
family = "blend"
sampler = "random"
runs = 14
blocks = 2
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is long is slow, too: so `-m "not slow"` leaves it out."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


@pytest.fixture
def small_study(tmp_path: Path) -> Path:
    """A study file in a folder of its own."""
    path = tmp_path / "study.toml"
    path.write_text(SMALL_STUDY)
    return path


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace text in a file, each piece exactly once."""
    text = path.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)

"""The package and its documents use the field's words, in American spelling."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for pattern in (
        *("dynamoe_search/**/*.py", "dynamoe_search/**/*.pyi", "dynamoe_search/**/*.html"),
        *("docs/*.md", "docs/*.py", "benchmarks/*.py", "notebooks/*.ipynb"),
        *("README.md", "CONTRIBUTING.md", "CITATION.cff", "studies/*/study.toml"),
    )
    for path in ROOT.glob(pattern)
)

# What stands for a better word, and that word.
WORDS = {
    "trials?": "training run, or candidate",
    "trainings": "training runs",
    "(a|one|each|every|another|per) training"
    "(?! (run|set|split|data|step|batch|image|text|token|loss|sample|pass|point|FLOP))": "a run",
    "replicates?": "seed block",
    "ledger": "progress",
    "agenda": "policy",
    "assignments?": "start, or policy",
    "twins?": "baseline",
    "settle[sd]?": "calibrate",
    "readiness": "score",
    "living": "heartbeat",
    "(?<!--)watch(es|ed|ing|ers?)?": "heartbeat, or failure detector",
    "recordings?": "log, or replay",
    "(told|tell|tells) (apart|from)": "statistically indistinguishable",
    "cannot be told": "statistically indistinguishable",
    "(experts|score|bias|panel|nats|line|K|one|two) a layer": "per layer",
    "(nats|FLOPs|bits|logits) a token": "per token",
    "(milli)?seconds? a (step|batch|run|million)": "per",
    "let it be": "a plain imperative",
    "be had": "a plain verb",
    "whoever": "what",
    "shall": "must, or will",
    "anew": "again",
    "so many": "a number of",
    r"\w+(isation|isations|ising|ised)": "-ization, -izing, -ized",
    "(normal|optim|organ|general|initial|standard|regular|util|real|minim|maxim)ises?": "-ize",
    "(col|behavi|neighb|fav|hon|lab)ours?": "-or",
    "(centre|metre|grey|whilst|amongst|artefact|licence|defence|catalogue|judgement)s?": "American",
    "(model|label|cancel|travel|signal)l(ed|ing)": "a single l",
    "analys(e|ed|ing)": "analyze",
    "(learnt|spelt|fulfil)": "learned, spelled, fulfill",
}
# Words that only look like them.
INNOCENT = re.compile(
    r"(un)?promis\w+|(im)?precis\w+|(ad|re|super)vis\w+|noised|rais\w+|surpris\w+"
)
# Where a word is that of another library's interface, or of a paper.
ALLOWED = {
    "trials?": re.compile(
        r"dynamoe_search/(search/\w+|study|log/sql|report/dashboard|cli/dashboard)\.pyi?"
        r"|benchmarks/(log_reading|peers)\.py|README\.md"
        r"|docs/(command-line\.md|peers\.md|searching\.md|make_\w+\.py)"
    ),
    "assignments?": re.compile(
        r"dynamoe_search/bounds/scaling_laws\.py"  # "optimal assignment" is a paper's router
        r"|(benchmarks|dynamoe_search)/.*"  # mypy's ignore[assignment]
    ),
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a file; of a notebook, those of its cells."""
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        lines = [line for cell in cells for line in cell["source"]]
    else:
        lines = path.read_text(encoding="utf-8").splitlines()
    return enumerate(lines, start=1)


def complaints(line: str, name: str) -> list[str]:
    """The words in a line that have a better one; `name` is the file, from the root."""
    found = []
    for word, better in WORDS.items():
        if (allowed := ALLOWED.get(word)) and allowed.fullmatch(name):
            continue
        for match in re.finditer(rf"(?<![A-Za-z])(?:{word})(?![A-Za-z])", line, re.IGNORECASE):
            if not INNOCENT.fullmatch(match[0].lower().split("_")[-1]):
                found.append(f"{match[0]!r}: use {better}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_words(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    found = [
        f"{name}:{number}: {complaint}"
        for number, line in texts(path)
        for complaint in complaints(line, name)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "each of 120 trainings",
        "after one training each",
        "self.trials = load_trials(study)",
        "search.replicates = 3",
        "a normalised weight",
        "the utilisation of experts",
        "cannot be told from the best",
        "two experts a layer",
        "neighbour",
        "begin anew",
        "Watcher(grace)",
        "whoever comes first",
    ],
)
def test_such_a_word_is_found(line: str) -> None:
    assert complaints(line, "dynamoe_search/plan/plan.py")


@pytest.mark.parametrize(
    "line",
    [
        "one training run per seed block",
        "a training step, each training image",
        "unpromising runs, a raised error, supervised, noise, precise",
        "the experts of a layer",
        "from optuna.trial import FrozenTrial",
        "study.ask() gives a trial",
    ],
)
def test_other_words_are_not(line: str) -> None:
    assert complaints(line, "dynamoe_search/search/proposer.py") == []

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamoe_search.errors import InvalidInput
from dynamoe_search.plan.reader import read_study_file, study_path
from dynamoe_search.plan.search_section import SAMPLERS
from dynamoe_search.plan.study_file import StudyFile
from dynamoe_search.specification import Percentile, Relative, Threshold, TopK, TopP
from dynamoe_search.training.settings import TrainingSettings
from tests.conftest import SMALL_STUDY, edit


def test_a_study_file_is_read_whole(small_study: Path) -> None:
    study = read_study_file(small_study)
    assert study.model.depth == 4
    assert study.budget.experts == 12
    assert study.router == TopK(k=1)
    assert study.training == TrainingSettings(epochs=2, batch=128, learning_rate=5e-3, seeds=1)
    assert study.search.runs == 14


def test_dense_blocks_need_a_width_where_the_router_sets_no_k(small_study: Path) -> None:
    edit(small_study, ("depth = 4", "depth = 4\ndense_first = 2"))
    assert read_study_file(small_study).dense_hidden == 8  # of one expert
    edit(small_study, ('name = "top_k"\nk = 1', 'name = "top_p"'))
    with pytest.raises(InvalidInput, match=r"dense_first needs model\.dense_hidden, since top_p"):
        read_study_file(small_study)
    edit(small_study, ("dense_first = 2", "dense_first = 2\ndense_hidden = 20"))
    assert read_study_file(small_study).dense_hidden == 20


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        "model = { depth = 3, width = 8, hidden = 8 }\n"
        "budget.parameters = 9000\nsearch.minutes = 5\n"
    )
    study = read_study_file(path)
    assert study.data.name == "digits"
    assert study.router == TopK()
    assert (study.training.seeds, study.training.recipe) == (4, "cosine")
    assert (study.search.family, study.search.sampler) == ("blend", "posterior")
    assert (study.search.margin, study.search.blocks) == (0.01, 16)


@pytest.mark.parametrize(
    ("text", "router"),
    [
        ('name = "percentile"\ntau = 0.25', Percentile(tau=0.25)),
        ('name = "top_p"\np = 0.5\nnoise = 0.1', TopP(p=0.5, noise=0.1)),
        ('name = "relative"\ntau = 0.3\ntarget = 2.0', Relative(tau=0.3, target=2.0)),
        ('name = "threshold"\ntarget = 3.5', Threshold(target=3.5)),
        (
            'name = "top_k"\ngates = "sigmoid"\nrenormalize = false',
            TopK(gates="sigmoid", renormalize=False),
        ),
    ],
)
def test_every_router_can_be_named(small_study: Path, text: str, router: object) -> None:
    edit(small_study, ('name = "top_k"\nk = 1', text))
    assert read_study_file(small_study).router == router


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("depth = 4", "depth = 0", "7: model.depth: .*greater than or equal to 1, got 0"),
        ("depth = 4", "depth = 4.5", "7: model.depth: .*valid integer, got 4.5"),
        ("depth = 4", 'depth = "4"', "7: model.depth: .*valid integer, got '4'"),
        ("depth = 4", "dept = 4", "7: model.dept: unknown key; did you mean depth?"),
        ("depth = 4\n", "", "6: model.depth: is missing"),
        ("depth = 4", 'depth = 4\nstyle = "new"', "8: model.style: .*'paper' or 'modern'"),
        ("depth = 4", "depth = 4\nkey_value_heads = 2", "1: .* model.key_value_heads is for"),
        ('"digits"', '"digits"\ndocuments = "separate"', "3: data: data.documents is for text"),
        ('"digits"', '"digit"', "3: data: unknown data set 'digit'; choose from digits, mnist"),
        ("width = 8", 'width = 8\nscale = "tiny"', "1: the file: model.scale is for language"),
        ("width = 8", "width = 8\nheads = 2", "1: the file: model.heads is for language models"),
        ("experts = 12", 'regime = "papers"', "12: budget.regime: .*'paper', 'parameters'"),
        ("experts = 12", 'experts = 12\nregime = "paper"', "11: budget: the regime paper holds no"),
        ("experts = 12", 'regime = "paper"', "11: budget: the regime paper needs a maximum"),
        ("experts = 12", "experts = 12\nactive = 2", "11: budget: active belongs to the regime"),
        ("k = 1", 'k = 1\n[balance]\nname = "even"', "18: balance.name: .*'switch'"),
        ("k = 1", "k = 1\n[balance]\nstrenght = 1", "18: balance.strenght: .*mean strength?"),
        ("epochs = 2", "epochs = 2\nflops = 1e9", "18: training: epochs and flops are both"),
        ("blocks = 2", 'presets = ["mole"]', "28: search.presets.0: .*'pr_moe'"),
        ("blocks = 2", "alpha_lora = [1.0, -1.0]", "28: search.alpha_lora.1: .*greater than 0"),
        ("experts = 12", "experts = 12\nparameters = 9", "11: budget: give either parameters or"),
        ("experts = 12\n", "", "11: budget: give either parameters or experts"),
        (
            '"top_k"',
            '"top_q"',
            "14: router: .*'percentile', 'top_k', 'top_p', 'relative', 'threshold'",
        ),
        ("k = 1", "k = 0", "14: router: k is 0; it must be at least 1"),
        (
            "k = 1",
            "q = 1",
            "16: router.q: unknown key .known here: k, temperature, noise, gates, renorm",
        ),
        ("k = 1", "tau = 0.5", "16: router.tau: unknown key .known here: k, temperature"),
        ("depth = 4", 'scale = ["tiny"]', "7: model.scale: Input should be 'tiny', 'small'"),
        ("runs = 14", "minutes = inf", "27: search.minutes: .*finite number"),
        ("blocks = 2", "margin = 0", "28: search.margin: .*greater than 0, got 0"),
        ("blocks = 2", "alpha_lora = [inf, 1.0]", "28: search.alpha_lora.0: .*finite number"),
        ("epochs = 2", "epoch = 2", "19: training.epoch: unknown key; did you mean epochs?"),
        ("epochs = 2", "epochs = -2", "18: training: epochs is -2; it must be at least 1"),
        ("5e-3", "nan", "21: training.learning_rate: .*finite number, got nan"),
        ("seeds = 1", "seeds = 0", "18: training: seeds is 0; it must be at least 1"),
        ("seeds = 1", "seeds = 1025", "18: training: seeds is 1025; at most 1024 are trained at"),
        ("seeds = 1", "seeds = 2.5", "22: training.seeds: .*valid integer, got 2.5"),
        ("seeds = 1", "seed = 1", "22: training.seed: unknown key; did you mean seeds?"),
        (
            "seeds = 1",
            'recipe = "cosin"',
            "22: training.recipe: .*'cosine' or 'paper', got 'cosin'",
        ),
        ("seeds = 1", 'recipe = "paper"\nwarmup = 0.1', "18: training: warmup is 0.1, but the"),
        ("seeds = 1", "final_rate = 1.5", "18: training: final_rate is 1.5; it must be from 0 to"),
        ("seeds = 1", "clip = inf", "22: training.clip: .*finite number, got inf"),
        ('"random"', '"randon"', "26: search.sampler: .*'random'"),
        ("runs = 14\n", "", "24: search: give at least one limit"),
        ("seed = 3", "seeds = 3", "1: seeds: unknown key; did you mean seed?"),
        ("hidden = 8", "hidden = 10000000000", "9: model.hidden: .*less than or equal to 1048576"),
        ("experts = 12", "experts = 9000000", "12: budget.experts: .*equal to 4194304"),
        ("epochs = 2", f"epochs = {10**400 - 1}", "19: training.epochs: an integer of more than"),
        ("epochs = 2", f"epochs = 0x{'f' * 9999}", "19: training.epochs: an integer of more than"),
        ("epochs = 2", f"epochs = {'1' * 5000}", "19: a number of more than 400 digits"),
        ("depth = 4", f"depth = {'[' * 60}{']' * 60}", "7: model.depth.*: is nested more than 32"),
        ("depth = 4", f"depth = {'[' * 999}{']' * 999}", " lists or tables are nested too deep"),
        ("depth = 4", f"depth = {'{a=' * 999}1{'}' * 999}", " lists or tables are nested too"),
        ("depth = 4", f"depth{'.x' * 50_000} = 4", "7: a key of more than 8 parts"),
        ("depth = 4", "'depth'" + ' . "x y"' * 50_000 + " = 4", "7: a key of more than 8 parts"),
        ("depth = 4", f"depth = '{'x' * 9999}'", "7: model.depth: .*valid integer, got 'xxx"),
        ("depth = 4", f"depth = [{'1,' * 9999}]", "7: model.depth: .*valid integer, got .1, 1,"),
        ('"digits"', f'"{"x" * 9999}"', "3: data: unknown data set 'xxx"),
        ('"top_k"', f'"{"x" * 9999}"', "14: router: Input tag 'xxx"),
        ("depth = 4", f"{'depth' * 9999} = 4", "7: model.depthdepth.*unknown key"),
        ("depth = 4", '"de\\npth" = 4', r"6: model.de.npth: unknown key; did you mean depth"),
    ],
)
def test_mistakes_are_named_with_their_line(
    small_study: Path, old: str, new: str, message: str
) -> None:
    edit(small_study, (old, new))
    with pytest.raises(InvalidInput, match=f"{small_study}:{message}"):
        read_study_file(small_study)


def test_the_answer_to_any_mistake_is_short(small_study: Path) -> None:
    text = small_study.read_text()
    for mistake in (f"epochs = {'x' * 99_999}", f'"{"x" * 99_999}" = 2', "x" * 99_999):
        small_study.write_text(text.replace("epochs = 2", mistake))
        with pytest.raises(InvalidInput) as raised:
            read_study_file(small_study)
        assert len(str(raised.value).splitlines()) == 1
        assert len(str(raised.value)) < 1200


PIECES = [
    *("[", "]", "{", "}", "=", '"', "'", "\n", ".", "0x", "9" * 30, "nan", "inf", "-", "true"),
    *("\0", "\u202e", "1979-05-27", "\\u0041", "\\uD800", "[[a]]", "a.b", "'''", "\r", "1e999"),
    *("#", "{}", "[]", "[router]", "name=", "router.name={}", '"a\\nb"'),
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9), st.sampled_from(PIECES))))
def test_any_text_is_a_study_file_or_answered_line_by_line(
    tmp_path: Path, changes: list[tuple[int, int, str]]
) -> None:
    path, text = tmp_path / "study.toml", SMALL_STUDY
    for place, length, piece in changes:
        text = text[:place] + piece + text[place + length :]
    path.write_text(text)
    try:
        read_study_file(path)
    except InvalidInput as error:
        for line in str(error).split("\n"):
            assert line.startswith(str(path))
            assert line.isprintable()


def test_of_many_mistakes_the_first_are_told(small_study: Path) -> None:
    keys = "".join(f"unknown{number} = 1\n" for number in range(60_000))
    small_study.write_text(keys + small_study.read_text())
    with pytest.raises(InvalidInput) as raised:
        read_study_file(small_study)
    lines = str(raised.value).splitlines()
    assert [line.split(":")[1] for line in lines[:-1]] == [str(n) for n in range(1, 21)]
    assert lines[-1] == f"{small_study}: and 59,980 more mistakes"


def test_a_file_above_1_mb_is_refused(small_study: Path) -> None:
    text = small_study.read_text()
    small_study.write_text(text + "#" * (2**20 - len(text)))
    assert read_study_file(small_study).model.depth == 4
    small_study.write_text(text + "#" * (2**20 - len(text) + 1))
    with pytest.raises(InvalidInput, match=r"study\.toml is larger than 1 MB"):
        read_study_file(small_study)


def test_a_byte_order_mark_is_no_mistake(small_study: Path) -> None:
    before = read_study_file(small_study)
    small_study.write_text(small_study.read_text(), encoding="utf-8-sig")
    assert read_study_file(small_study) == before


def test_long_lines_without_a_mistake_are_no_mistake(small_study: Path) -> None:
    scores = ", ".join(["0.123456789"] * 4)
    edit(
        small_study,
        ("blocks = 2", f"blocks = 2\nalpha_lora = [{' ' * 99_999}{scores}]  #{' 1.2.3' * 9999}"),
        ("depth = 4", f"{' ' * 99_999}depth{' ' * 99_999}= 4"),
    )
    assert read_study_file(small_study).search.alpha_lora == (0.123456789,) * 4


@pytest.mark.parametrize("name", ["x" * 5000, "folder/" * 2000])
def test_a_path_that_no_file_can_have(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: File name too long") as raised:
        study_path(name)
    assert len(str(raised.value)) < 600


def test_all_mistakes_are_told_at_once(small_study: Path) -> None:
    edit(small_study, ("depth = 4", "depth = 0"), ("width = 8", "width = 0"))
    with pytest.raises(InvalidInput) as failure:
        read_study_file(small_study)
    assert len(str(failure.value).splitlines()) == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    with pytest.raises(InvalidInput, match=r"study\.toml does not exist"):
        study_path(tmp_path)
    path.write_text(SMALL_STUDY.replace("depth = 4", "depth 4"))
    with pytest.raises(InvalidInput, match=r"not valid TOML: .* line 7"):
        read_study_file(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match=r"is not UTF-8 .*; save it as UTF-8"):
        read_study_file(path)
    assert study_path(tmp_path) == study_path(path) == study_path(str(tmp_path)) == path


@pytest.mark.parametrize(
    ("line", "sampler", "blocks"),
    [
        ("", "posterior", 16),
        ("blocks = 5", "posterior", 5),
        ('pruner = "none"\nobjectives = ["loss"]', "posterior", 16),
        ('constraints = ["active_experts <= 2"]', "posterior", 16),
        ('pruner = "median"', "tpe", 3),
        ('objectives = ["loss", "active_flops"]', "tpe", 3),
        ('objectives = ["active_flops"]\nblocks = 5', "tpe", 5),
        ('sampler = "random"', "random", 3),
    ],
)
def test_the_sampler_and_the_blocks_follow_from_the_rest(
    small_study: Path, line: str, sampler: str, blocks: int
) -> None:
    edit(small_study, ('sampler = "random"\n', ""), ("blocks = 2", line))
    study = read_study_file(small_study)
    assert (study.search.sampler, study.search.blocks) == (sampler, blocks)
    in_the_log = study.model_dump_json(exclude_unset=True)
    assert StudyFile.model_validate_json(in_the_log) == study


@pytest.mark.parametrize("line", ['pruner = "asha"', 'objectives = ["loss", "gradient_noise"]'])
def test_posterior_decides_by_the_loss_alone(small_study: Path, line: str) -> None:
    edit(small_study, ('"random"', '"posterior"'), ("blocks = 2", line))
    with pytest.raises(InvalidInput, match="sampler posterior decides by the loss alone"):
        read_study_file(small_study)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_lists_are_taken_with_every_sampler(small_study: Path, sampler: str) -> None:
    lists = 'presets = ["mola"]\nmeasure = ["utilization"]\nobjectives = ["loss"]'
    edit(small_study, ('"random"', f'"{sampler}"'), ("blocks = 2", lists))
    search = read_study_file(small_study).search
    assert (search.presets, search.measure) == (("mola",), ("utilization",))
    assert (search.objectives, search.sampler) == (("loss",), sampler)


def test_the_definition_leaves_out_only_how_long_it_runs(small_study: Path) -> None:
    study = read_study_file(small_study)
    longer = study.model_copy(
        update={"search": study.search.model_copy(update={"runs": 99, "blocks": 9, "margin": 0.1})}
    )
    other = study.model_copy(update={"seed": 4})
    assert isinstance(study, StudyFile)
    assert longer.definition() == study.definition() != other.definition()


def test_compute_needs_a_k_from_somewhere(small_study: Path) -> None:
    edit(small_study, ("experts = 12", 'regime = "compute"\nexperts = 12'))
    assert read_study_file(small_study).active == 1
    edit(small_study, ('name = "top_k"\nk = 1', 'name = "top_p"'))
    with pytest.raises(InvalidInput, match=r"needs budget\.active, since top_p sets no K"):
        read_study_file(small_study)


@pytest.mark.parametrize(
    ("change", "message"),
    [(('"blend"', '"free"'), "family free needs a total"), (("= 14", "= 14\ncontrast = 0"), "0;")],
)
def test_what_the_paper_regime_cannot_have(small_study: Path, change, message: str) -> None:
    edit(small_study, ("experts = 12", 'regime = "paper"\nmaximum = 4'), change)
    with pytest.raises(InvalidInput, match=message):
        read_study_file(small_study)


def test_a_scale_fills_in_what_is_not_given(small_study: Path) -> None:
    edit(
        small_study,
        ('"digits"', '"wiki.tokens"'),
        ("depth = 4\nwidth = 8\nhidden = 8", 'scale = "small"\nheads = 0'),
    )
    model = read_study_file(small_study).model
    assert (model.depth, model.width, model.hidden, model.heads) == (6, 64, 128, 0)

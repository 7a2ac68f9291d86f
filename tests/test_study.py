from __future__ import annotations

import itertools
import math
import re
import tomllib
from pathlib import Path

import pytest
from tests.studies import EXACT, GRADIENT, INF, python, reread, study, study_file, tables

from consilience._variants import key_of
from consilience.data import PROCESSES, SOURCES
from consilience.errors import ConsilienceError
from consilience.registry import measures
from consilience.study import Study, built_in_studies
from consilience.train import NETWORKS

BUILT_IN = sorted(built_in_studies())
AXES = {"train.weight_decay": [0, 1e-3], "network.hidden": [[4], [4, 3]]}


def hashes(of: Study) -> dict[str, str]:
    return {key_of(cell.coordinates): cell.hash for cell in of.cells()}


# --- what is written is what is read ---


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_study_survives_toml(name):
    original = Study.load(name)
    again = reread(original)
    assert again == original
    assert again.toml() == original.toml()
    assert hashes(again) == hashes(original)


@pytest.mark.parametrize("name", BUILT_IN)
def test_resolved_study_keeps_every_value_of_its_file(name):
    written = tomllib.loads(built_in_studies()[name].read_text(encoding="utf-8"))
    resolved = Study.load(name).tables()
    for table, values in written.items():
        if isinstance(values, dict):
            assert {key: resolved[table][key] for key in values} == values
        else:
            assert resolved[table] == values


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_study_is_named_as_its_file(name):
    assert Study.load(name).name == name


@pytest.mark.parametrize("source", [name for name in SOURCES if name != "file"])
def test_every_source_survives_toml(source):
    original = Study(**tables(GRADIENT) | {"data": {"source": source, "n_probe": 7}})
    assert reread(original) == original
    assert type(reread(original).data.source) is SOURCES[source]


@pytest.mark.parametrize("path", ["samples.npz", Path("samples.npz")])
def test_source_of_a_file_survives_toml(path):
    original = Study(**tables(EXACT) | {"data": {"source": "file", "path": path, "target": ["a", "b"]}})
    assert reread(original).tables() == original.tables()
    assert hashes(reread(original)) == hashes(original)


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_survives_toml(process):
    original = study(GRADIENT, {"noise.process": process, "noise.shared": ["inputs", "init", "batches"]})
    assert reread(original) == original


@pytest.mark.parametrize(
    "noise",
    [
        {"process": "label-flip", "correlation": 0.25},
        {"process": "label-confusion", "matrix": [[0.5, 0.5], [0.25, 0.75]]},
        {"process": "label-heteroscedastic", "along": "norm", "strength": 2.0},
        {"process": "none", "shared": [], "resample": "bootstrap"},
    ],
)
def test_options_of_noise_survive_toml(noise):
    original = study(GRADIENT, {"noise": noise})
    assert reread(original) == original
    assert hashes(reread(original)) == hashes(original)


def test_shared_inputs_are_not_resampled():
    message = one_message(lambda: study(GRADIENT, {"noise.resample": "bootstrap"}))
    assert "take 'inputs' out of shared" in message


def test_nothing_shared_survives_toml():
    original = study(GRADIENT, {"noise.shared": []})
    assert original.noise.shared == ()
    assert reread(original) == original


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_network_survives_toml(kind):
    original = Study(**tables(GRADIENT) | {"network": {"kind": kind, "init_scale": 0.5}})
    assert reread(original) == original


def test_every_measure_survives_toml():
    original = study(GRADIENT, {"measure.measures": [*measures(), {"name": "cka", "estimator": "biased"}]})
    assert reread(original) == original
    assert reread(original).measure.measures[-1].label == "cka(estimator=biased)"


def test_measure_may_be_given_by_its_label():
    label = study(GRADIENT, {"measure.measures": ["cka(estimator=biased)"]})
    table = study(GRADIENT, {"measure.measures": [{"name": "cka", "estimator": "biased"}]})
    assert label == table


def test_axes_survive_toml():
    original = study(GRADIENT, axes=AXES)
    assert reread(original) == original
    assert hashes(reread(original)) == hashes(original)


def test_infinity_in_toml_is_infinity(tmp_path):
    path = study_file(tmp_path / "study.toml", GRADIENT)
    assert "inf" in path.read_text(encoding="utf-8")
    assert math.isinf(Study.load(path).grid.snr[-1])


# --- overrides ---


def test_overrides_replace_values_of_the_file(tmp_path):
    path = study_file(tmp_path / "study.toml", GRADIENT)
    changes = {"seed": 5, "grid.members": 2, "train.steps": 9, "network.hidden": [7], "grid.snr": [3.0]}
    assert Study.load(path, **changes) == study(GRADIENT, changes)


def test_override_adds_an_axis(tmp_path):
    path = study_file(tmp_path / "study.toml", GRADIENT)
    found = Study.load(path, **{"grid.train.weight_decay": [0, 1e-3]})
    assert found == study(GRADIENT, axes={"train.weight_decay": [0, 1e-3]})


def test_override_begins_a_table_the_file_lacks(tmp_path):
    path = study_file(tmp_path / "study.toml", GRADIENT, without=["train"])
    assert Study.load(path, **{"train.batch": 8}).train.batch == 8


@pytest.mark.parametrize("key", ["grid.member", "trian.steps", "sed", "name.first", "seed.first"])
def test_override_of_a_key_that_does_not_exist(key):
    with pytest.raises(ConsilienceError, match=re.escape(key.partition(".")[0])):
        Study.load("demo", **{key: 3})


# --- the grid ---


def test_axes_as_quoted_keys_and_as_nested_tables_are_the_same(tmp_path):
    head = study_file(tmp_path / "head.toml", GRADIENT).read_text(encoding="utf-8")
    grid = "[grid]\n"
    quoted, nested = tmp_path / "quoted.toml", tmp_path / "nested.toml"
    quoted.write_text(head.replace(grid, grid + '"train.weight_decay" = [0, 1e-3]\n'), encoding="utf-8")
    nested.write_text(head.replace(grid, grid + "train.weight_decay = [0, 1e-3]\n"), encoding="utf-8")
    assert Study.load(quoted) == Study.load(nested)
    assert list(Study.load(nested).grid.axes) == ["train.weight_decay"]


@pytest.mark.parametrize(
    ("axis", "first"),
    [
        ({"network": [{"kind": "mlp", "hidden": [4], "label": "small"}, {"kind": "linear"}]}, (4,)),
        ({"network.kind": ["mlp", "linear"]}, (64, 64)),
    ],
)
def test_a_table_left_out_is_the_first_of_its_alternatives(axis, first):
    without = {key: value for key, value in tables(GRADIENT).items() if key != "network"}
    found = Study(**{**without, "grid": {**without["grid"], **axis}})
    assert (found.network.name, found.network.hidden) == ("mlp", first)
    assert len(found.cells()) == 2 * len(Study(**tables(GRADIENT)).cells())


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"grid.members": 10**9}, r"grid.members = 1000000000"), ({"train.steps": 10**11}, r"steps = 100000000000")],
)
def test_sizes_beyond_all_machines_are_refused(changes, says):
    with pytest.raises(ConsilienceError, match=says):
        study(GRADIENT, changes)


def test_a_misspelt_table_is_told_from_a_missing_one():
    given = tables(GRADIENT)
    given["gird"] = given.pop("grid")
    assert one_message(lambda: Study(**given)).endswith("unknown key; did you mean 'grid'?")


def test_alternatives_that_are_changes_need_the_table_they_change():
    without = {key: value for key, value in tables(GRADIENT).items() if key != "network"}
    with pytest.raises(ConsilienceError, match="network is missing"):
        Study(**{**without, "grid": {**without["grid"], "network": [{"hidden": [4]}, {"hidden": [8]}]}})


def test_one_axis_given_twice_is_refused():
    with pytest.raises(ConsilienceError, match=r"train\.weight_decay"):
        study(GRADIENT, axes={"train": {"weight_decay": [0, 1]}, "train.weight_decay": [0, 2]})


TABLES = {
    "network": ({"kind": "mlp"}, {"kind": "linear"}),
    "noise": ({"process": "label-flip"}, {"process": "input-gaussian"}),
    "train": ({"optimizer": "sgd"}, {"optimizer": "adam"}),
}


@pytest.mark.parametrize("dotted_first", [True, False])
@pytest.mark.parametrize(
    ("key", "values"),
    [("network.hidden", [[4], [8]]), ("noise.correlation", [0.0, 1.0]), ("train.learning_rate", [0.1, 0.2])],
)
def test_an_axis_over_a_key_reaches_every_alternative_of_its_table(key, values, dotted_first):
    table, _, option = key.partition(".")
    tag = next(iter(TABLES[table][0]))
    axes = {key: values, table: list(TABLES[table])}
    found = study(GRADIENT, axes=dict(sorted(axes.items(), reverse=dotted_first)))
    cells = found.cells()
    assert len({cell.hash for cell in cells}) == len(cells)
    for cell in cells:
        point = found.at({name: cell.coordinates[name] for name in found.grid.axes})
        asked = {tag: cell.coordinates[table][tag], option: cell.coordinates[key]}
        assert hashes(point) == hashes(study(GRADIENT, {table: {**_beside(table, tag), **asked}}))


def _beside(table, tag):
    """Options of the tiny study that an alternative is put over; one that names its kind stands alone."""
    return GRADIENT[table] if tag == "optimizer" else {}


def test_an_axis_over_a_key_counts_after_one_over_the_kind():
    """Also its default for the first kind, which would not go on to another kind had nobody asked for it."""
    found = study(GRADIENT, axes={"network.init_scale": [1.0, 2.0], "network.kind": ["linear", "mlp"]})
    for cell in found.cells():
        point = found.at({key: cell.coordinates[key] for key in found.grid.axes})
        assert (point.network.name, point.network.init_scale) == (
            cell.coordinates["network.kind"], cell.coordinates["network.init_scale"],
        )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "values", "alternatives"),
    [
        ("network.hidden", [[4], [8]], [{"kind": "mlp", "hidden": [16]}, {"kind": "linear"}]),
        ("network.kind", ["mlp", "linear"], [{"kind": "mlp"}, {"hidden": [3]}]),
        ("noise.process", ["label-flip", "input-gaussian"], [{"process": "label-flip"}, {"shared": []}]),
        ("train.learning_rate", [0.1, 0.2], [{"learning_rate": 0.3}, {"steps": 3}]),
    ],
)
def test_an_axis_over_a_key_that_an_alternative_of_its_table_sets_is_refused(key, values, alternatives):
    table, _, option = key.partition(".")
    for axes in ({key: values, table: alternatives}, {table: alternatives, key: values}):
        message = one_message(lambda axes=axes: study(GRADIENT, axes=axes))
        assert message.startswith(f"grid.{key} = {values}: ")
        assert f"[[grid.{table}]] sets {option} too" in message


def test_cells_come_in_order_and_the_last_axis_varies_fastest():
    grid = {"snr": [INF, 0.5], "n_train": [60, 20, 40]}
    cells = study(GRADIENT, {f"grid.{key}": value for key, value in grid.items()}, axes=AXES).cells()
    values = itertools.product([0.5, INF], [20, 40, 60], [0, 1e-3], [(4,), (4, 3)])
    names = ("snr", "n_train", *AXES)
    assert [cell.coordinates for cell in cells] == [dict(zip(names, point, strict=True)) for point in values]
    assert [cell.index for cell in cells] == list(itertools.product(range(2), range(3), range(2), range(2)))


def test_number_of_networks_counts_members_of_cells():
    assert study(GRADIENT, {"grid.members": 5}, axes=AXES).n_networks == 2 * 2 * 2 * 2 * 5


def test_at_substitutes_axes():
    point = study(GRADIENT, axes=AXES).at({"train.weight_decay": 1e-3, "network.hidden": [4, 3]})
    assert point == study(GRADIENT, {"train.weight_decay": 1e-3, "network.hidden": [4, 3]})


def test_seed_may_be_an_axis():
    found = study(GRADIENT, axes={"seed": [3, 4]})
    assert {found.at({"seed": cell.coordinates["seed"]}).seed for cell in found.cells()} == {3, 4}


# --- content hashes ---


def test_cells_of_one_study_have_distinct_hashes():
    found = hashes(study(GRADIENT, axes=AXES))
    assert len(set(found.values())) == len(found) == 16


def test_hashes_are_the_same_in_a_fresh_process(tmp_path):
    path = study_file(tmp_path / "study.toml", GRADIENT, axes=AXES)
    code = "import sys; from consilience.study import Study; print(*[c.hash for c in Study.load(sys.argv[1]).cells()])"
    done = python(code, str(path))
    assert done.stdout.split() == [cell.hash for cell in Study.load(path).cells()], done.stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("data.source", "wine"),
        ("data.n_probe", 60),
        ("data.n_test", 60),
        ("data.pool", 2),
        ("data.pca", 5),
        ("noise.process", "input-gaussian"),
        ("noise.shared", ["inputs", "init"]),
        ("noise.correlation", 0.5),
        ("noise", {"process": "label-confusion", "pattern": "pairs"}),
        ("network.hidden", [5]),
        ("network.activation", "tanh"),
        ("network.init_scale", 0.5),
        ("train.learning_rate", 1e-2),
        ("train.optimizer", "sgd"),
        ("train.schedule", "cosine"),
        ("train.weight_decay", 1e-3),
        ("train.steps", 65),
        ("train.batch", 8),
        ("train.loss", "squared-error"),
        ("grid.members", 4),
        ("measure.measures", ["cka"]),
        ("measure.measures", ["cka", {"name": "procrustes"}, {"name": "cka", "estimator": "biased"}]),
    ],
)
def test_hash_changes_with_everything_a_result_depends_on(key, value):
    before, after = hashes(study(GRADIENT)), hashes(study(GRADIENT, {key: value}))
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


def test_hash_does_not_change_with_the_name():
    assert hashes(study(GRADIENT, {"name": "other"})) == hashes(study(GRADIENT))


def test_hash_does_not_change_with_other_values_of_the_grid():
    wider = hashes(study(GRADIENT, {"grid.snr": [0.1, 1.0, 7.0, INF], "grid.n_train": [30, 60, 20]}))
    narrow = hashes(study(GRADIENT))
    assert {point: wider[point] for point in narrow} == narrow


def test_hash_changes_with_the_size_of_the_pool():
    """The largest n_train decides how many samples a synthetic source draws."""
    larger = hashes(study(GRADIENT, {"grid.n_train": [20, 60, 61]}))
    assert not set(hashes(study(GRADIENT)).values()) & set(larger.values())


def test_hash_does_not_depend_on_how_an_axis_value_is_reached():
    along = study(GRADIENT, axes={"train.weight_decay": [0, 1e-3]}).cells()
    alone = study(GRADIENT, {"train.weight_decay": 1e-3}).cells()
    assert [cell.hash for cell in along if cell.coordinates["train.weight_decay"] == 1e-3] == [c.hash for c in alone]


# --- immutability ---


@pytest.mark.parametrize("path", ["seed", "grid.members", "data.pool", "train.steps", "network.hidden", "data.source"])
def test_study_is_immutable(path):
    *parents, last = path.split(".")
    target = study(GRADIENT)
    for name in parents:
        target = getattr(target, name)
    before = getattr(target, last)
    with pytest.raises(Exception, match=r"(?i)frozen|cannot assign"):
        setattr(target, last, before)


def test_axes_of_a_study_are_immutable():
    with pytest.raises(TypeError):
        study(GRADIENT, axes=AXES).grid.axes["train.ridge"] = (1.0,)


def test_study_does_not_share_what_it_was_made_from():
    given = tables(GRADIENT, axes=AXES)
    made = Study(**given)
    before = made.toml()
    given["grid"]["snr"].append(9.0)
    given["grid"]["network.hidden"][0].append(9)
    given["network"]["hidden"].append(9)
    assert made.toml() == before


# --- wrong input: one error naming key, value and remedy ---

NAN = float("nan")
NOT_A_LIST = "list"
WRONG = [
    # (key, value, what the message says after the key, remedy)
    ("nosie", {"a": 1}, "{'a': 1}", "did you mean 'noise'?"),
    ("sed", 1, "1", "did you mean 'seed'?"),
    ("data.n_prob", 9, "9", "did you mean 'n_probe'?"),
    ("noise.share", ["init"], "['init']", "did you mean 'shared'?"),
    ("network.activatoin", "relu", "'relu'", "did you mean 'activation'?"),
    ("train.learning_rte", 1, "1", "did you mean 'learning_rate'?"),
    ("grid.member", 3, "3", "did you mean 'members'?"),
    ("measure.measure", ["cka"], "['cka']", "did you mean 'measures'?"),
    ("data.source", "digit", "'digit'", "did you mean 'digits'?"),
    ("noise.process", "label-flp", "'label-flp'", "did you mean 'label-flip'?"),
    ("network.kind", "mpl", "'mpl'", "did you mean 'mlp'?"),
    ("data.source", 3, "3", "digits"),
    ("noise.process", 3, "3", "label-flip"),
    ("network.kind", 3, "3", "mlp"),
    ("measure.steps", [-1, 3], "[-1, 3]", "each 1 or more"),
    ("measure.steps", 1, "1", "2 or more"),
    ("measure.measures", ["ckaa"], "'ckaa'", "did you mean 'cka'"),
    ("measure.measures", [{"name": "cka", "kernle": "rbf"}], "'kernle'", "did you mean 'kernel'?"),
    ("measure.measures", [{"name": "cka", "kernel": "rfb"}], "'rfb'", "did you mean 'rbf'?"),
    ("measure.measures", [{"kernel": "rbf"}], "{'kernel': 'rbf'}", "name"),
    ("measure.measures", [{"name": 3}], "3", "name"),
    ("measure.measures", [3], "3", "name"),
    ("measure.measures", [], "[]", "at least one"),
    ("measure.measures", "cka", "'cka'", NOT_A_LIST),
    ("measure.measures", ["cka", "cka"], "cka", "once"),
    ("measure.measures", ["cka", {"name": "cka"}], "cka", "once"),
    ("grid.snr", [0], "0", "positive"),
    ("grid.snr", [-1.0, 1.0], "-1.0", "positive"),
    ("grid.snr", [NAN], "nan", "positive"),
    ("grid.snr", ["high"], "'high'", "number"),
    ("grid.snr", [1, 1.0], "[1, 1.0]", "once"),
    ("grid.snr", [], "[]", "at least one"),
    ("grid.snr", 1.0, "1.0", NOT_A_LIST),
    ("grid.snr", "inf", "'inf'", NOT_A_LIST),
    ("grid.snr", [[1.0, 2.0]], "[1.0, 2.0]", "number"),
    ("grid.snr", [True], "True", "number"),
    ("grid.n_train", [0, 60], "0", "at least one"),
    ("grid.n_train", [-5, 60], "-5", "at least one"),
    ("grid.n_train", [20.5, 60], "20.5", "integer"),
    ("grid.n_train", [60, 60], "[60, 60]", "once"),
    ("grid.n_train", [], "[]", "at least one"),
    ("grid.n_train", 60, "60", NOT_A_LIST),
    ("grid.train", [{"steps": 3}, {"steps": 3}], "[{'steps': 3}, {'steps': 3}]", "once"),
    ("grid.network", [{"hidden": [3]}, {"hidden": [3]}], "[{'hidden': [3]}, {'hidden': [3]}]", "once"),
    ("grid.trainer", [{"function": "a:b"}], "[{'function': 'a:b'}]", '"trainer.function" = ["module:one"'),
    ("grid.members", 1, "1", "2"),
    ("grid.members", 2.5, "2.5", "integer"),
    ("grid.members", "many", "'many'", "integer"),
    ("noise.shared", ["input"], "'input'", "'inputs'"),
    ("noise.shared", "inputs", "'inputs'", NOT_A_LIST),
    ("network.activation", "rleu", "'rleu'", "'relu'"),
    ("network.hidden", [], "[]", "at least one"),
    ("network.hidden", [0], "[0]", "1 or more"),
    ("network.hidden", 4, "4", NOT_A_LIST),
    ("train.optimizer", "adm", "'adm'", "'adam'"),
    ("train.steps", 0, "0", "at least one"),
    ("train.steps", "x", "'x'", "integer"),
    ("train.learning_rate", 0, "0", "positive"),
    ("train.learning_rate", NAN, "nan", "positive"),
    ("train.learning_rate", INF, "inf", "positive"),
    ("train.learning_rate", "fast", "'fast'", "number"),
    ("train.momentum", 0.5, "0.5", "sgd"),
    ("train.ridge", 0.5, "0.5", "exact"),
    ("train.batch", 61, "61", "'full'"),
    ("train.batch", 0, "0", "'full'"),
    ("train.batch", "ful", "'ful'", "'full'"),
    ("train.batch", 2.5, "2.5", "'full'"),
    ("train.solver", "exact", "'exact'", "'gradient'"),
    ("data.pool", 0, "0", "1"),
    ("data.n_probe", 1, "1", "4"),
    ("data.n_test", 0, "0", "1"),
    ("seed", -1, "-1", "0"),
    ("seed", 2**32, str(2**32), str(2**32)),
    ("seed", 1.5, "1.5", "integer"),
    ("name", "", "''", "1"),
    ("data", "digits", "'digits'", "table"),
    ("noise", [3], "[3]", "table"),
    ("network", "mlp", "'mlp'", "table"),
    ("train", 3, "3", "table"),
    ("grid", [3], "[3]", "table"),
    ("grid", "x", "'x'", "table"),
    ("measure", "cka", "'cka'", "table"),
]


def one_message(make) -> str:
    with pytest.raises(ConsilienceError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_names(message: str, key: str) -> None:
    assert re.match(rf"{re.escape(key)}(\[?\d*\]?|\.\d+)?( = |: | is missing)", message), message


@pytest.mark.parametrize(("key", "value", "shown", "remedy"), WRONG, ids=[f"{k}={v!r:.40}" for k, v, *_ in WRONG])
def test_wrong_value_is_one_error_naming_key_value_and_remedy(key, value, shown, remedy):
    message = one_message(lambda: study(GRADIENT, {key: value}) if key != "grid" else Study(**_with_grid(value)))
    assert_names(message, key)
    assert shown in message
    assert remedy in message


def _with_grid(value):
    return tables(GRADIENT) | {"grid": value}


WRONG_AXES = [
    ("train.weight_decay", 3, "3", NOT_A_LIST),
    ("train.weight_decay", [], "[]", "at least one"),
    ("train.weight_decay", [0.0, 0.0], "[0.0, 0.0]", "once"),
    ("train.weight_decay", [0.0, -1.0], "-1.0", "positive"),
    ("train.weight_decay", [0.0, "x"], "'x'", "number"),
    ("train.weight_dcay", [0, 1], "0", "did you mean 'weight_decay'?"),
    ("trian.weight_decay", [0, 1], "0", "did you mean 'train' or 'trainer'?"),
    ("name.first", ["a", "b"], "a", ""),
    ("name", ["a", "b"], "['a', 'b']", ""),
    ("grid.members", [2, 3], "", ""),
    ("grid.snr", [[1.0], [2.0]], "", ""),
    ("grid.n_train", [[20], [60]], "", ""),
    ("measure.measures", [["cka"], ["procrustes"]], "", ""),
]


@pytest.mark.parametrize(
    ("key", "value", "shown", "remedy"), WRONG_AXES, ids=[f"{k}={v!r:.40}" for k, v, *_ in WRONG_AXES]
)
def test_wrong_axis_is_one_error_naming_key_value_and_remedy(key, value, shown, remedy):
    message = one_message(lambda: study(GRADIENT, axes={key: value}))
    assert key in message or key.partition(".")[0] in message.split(" = ")[0]
    assert ".axes." not in message, "`axes` is no key of the file"
    assert shown in message
    assert remedy in message


@pytest.mark.parametrize("key", ["data", "noise", "network", "grid", "grid.snr", "grid.n_train"])
def test_missing_key_is_named(key):
    message = one_message(lambda: study(GRADIENT, without=[key]))
    assert_names(message, key)
    assert "missing" in message


@pytest.mark.parametrize(("key", "valid"), [("data.source", SOURCES), ("noise.process", PROCESSES)])
def test_missing_tag_lists_the_valid_names(key, valid):
    message = one_message(lambda: study(GRADIENT, without=[key]))
    assert_names(message, key)
    assert all(name in message for name in valid)


def test_exact_solver_refuses_cross_entropy():
    changes = {"network": {"kind": "linear", "hidden": [10]}, "train.solver": "exact", "train.loss": "cross-entropy"}
    message = one_message(lambda: study(GRADIENT, changes))
    assert_names(message, "train.loss")
    assert "'squared-error'" in message


def test_option_of_a_source_is_checked_where_the_source_is_defined():
    message = one_message(lambda: study(EXACT, {"data.n_fetures": 3}))
    assert_names(message, "data.n_fetures")
    assert "did you mean 'n_features'" in message


def test_missing_option_of_a_source_is_named():
    message = one_message(lambda: Study(**tables(GRADIENT) | {"data": {"source": "file"}}))
    assert_names(message, "data.path")


def test_an_axis_may_not_lead_to_an_invalid_study():
    message = one_message(lambda: study(GRADIENT, axes={"train.batch": [16, 61]}))
    assert_names(message, "train.batch")
    assert "61" in message


def test_missing_file_suggests_the_nearest_built_in_study():
    message = one_message(lambda: Study.load("diabtes"))
    assert "'diabtes'" in message
    assert "did you mean 'diabetes'?" in message


def test_missing_file_lists_the_built_in_studies_where_none_is_near(tmp_path):
    message = one_message(lambda: Study.load(tmp_path / "0000.toml"))
    assert "0000.toml" in message
    assert all(name in message for name in BUILT_IN)


@pytest.mark.parametrize("content", [b"name = ", b"[data\n", b"\xff\xfe\x00", b'name = "a"\nname = "b"\n'])
def test_file_that_is_not_toml_is_named(tmp_path, content):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    assert str(path) in one_message(lambda: Study.load(path))


def test_directory_is_not_a_study(tmp_path):
    assert str(tmp_path) in one_message(lambda: Study.load(tmp_path))

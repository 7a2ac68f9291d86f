"""Programs kept on disk: the same bits, by several processes at once, damaged files, and the user's own settings."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from consilience.train.cache import VARIABLE, cache_folder, kept_on_disk, prune

TRAINING = """
from consilience import train
from consilience.data import LinearTeacher, LabelGaussian, prepare
splits = prepare(LinearTeacher(n_features=3), n_train=8, n_test=8, n_probe=8)
ensemble = train.Ensemble(splits, LabelGaussian(), frozenset({'inputs'}), 2, 0, 8)
cell = train.Cell(8, 0.5, train.Linear(hidden=(2,)), train.TrainOptions(steps=33, batch=4))
[(_, found)] = train.train(ensemble, [cell])
print(found.layers['output'].tobytes().hex())
"""


def start(folder: Path | str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {VARIABLE: str(folder)}
    return subprocess.Popen([sys.executable, "-c", TRAINING], env=environment, stdout=subprocess.PIPE, text=True)


def output(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return out


def test_two_processes_at_once_and_one_that_finds_a_damaged_file_get_the_bits_of_no_cache(tmp_path):
    together = [start(tmp_path), start(tmp_path)]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, "")
        exec(TRAINING, {})
    found = [output(process) for process in together]
    [entry] = tmp_path.rglob("*-cache")
    entry.write_bytes(entry.read_bytes()[:100])
    found.append(output(start(tmp_path)))
    assert set(found) == {printed.getvalue()}


def test_the_variable_chooses_the_folder_or_none(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert cache_folder() is not None
    assert tmp_path in cache_folder().parents
    monkeypatch.setenv(VARIABLE, "")
    assert cache_folder() is None
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert tmp_path / "xdg" / "consilience" in cache_folder().parents


@pytest.mark.parametrize("chosen", ["", "other"])
def test_a_cache_the_user_configured_is_left_alone(chosen, monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ours"))
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / chosen) if chosen else None)
    try:
        settings = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
        with kept_on_disk():
            inside = jax.config.jax_compilation_cache_dir
        after = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert after == settings
    assert inside == (settings[0] if chosen else str(cache_folder()))


def test_a_folder_that_cannot_be_written_is_no_cache(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    before = jax.config.jax_compilation_cache_dir
    with kept_on_disk():
        assert jax.config.jax_compilation_cache_dir == before
        assert float(jnp.float32(1) + 1) == 2


def test_the_files_written_first_make_room(tmp_path):
    for age, name in enumerate("cab"):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (age, age))
    prune(tmp_path, 30)
    assert len(list(tmp_path.iterdir())) == 3
    prune(tmp_path, 25)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
    prune(tmp_path, 0)
    assert not list(tmp_path.iterdir())

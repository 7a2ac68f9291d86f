"""A measure in another package: one file and an entry point, and it is everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MODULE = '''
"""A measure of another package."""

from dataclasses import dataclass

from consilience._array import centred, namespace, unit_scaled
from consilience.registry import Family, Invariance, Kind, Measure, register


@register
@dataclass(frozen=True)
class SpectrumOverlap(Measure):
    """Cosine of singular values.

    For x (n, p) and y (n, q), with s and t their singular values after centring::

        sum of s_i t_i / (|s| |t|)

    References
    ----------
    None: a test.

    Examples
    --------
    >>> SpectrumOverlap().label
    'spectrum_overlap'
    """

    title = "Overlap of spectra"
    reference = "none"
    family = Family.DESCRIPTIVE
    cost = "O(n p^2)"
    use = "When only the shape of the spectrum matters."
    avoid = "When it matters which samples are alike."
    kind = Kind.SIMILARITY
    bounds = (0.0, 1.0)
    symmetric = True
    invariances = frozenset({Invariance.TRANSLATION, Invariance.ORTHOGONAL, Invariance.ISOTROPIC_SCALING})

    def prepare(self, x, /):
        xp = namespace(x)
        values = xp.linalg.svdvals(unit_scaled(centred(x)))
        total = xp.sqrt(xp.sum(values * values))
        return values / xp.where(total > 0, total, xp.ones_like(total))

    def compare(self, a, b, /):
        size = min(a.shape[0], b.shape[0])
        return namespace(a).sum(a[:size] * b[:size])

    def degenerate(self, state, /):
        return None if bool(state[0] > 0) else "every feature is constant"
'''


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Where Python finds a package `far_away` as if it had been installed."""
    site = tmp_path_factory.mktemp("site")
    (site / "far_away.py").write_text(MODULE)
    info = site / "far_away-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: far-away\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[consilience.measures]\nspectrum_overlap = far_away:SpectrumOverlap\n")
    return {**os.environ, "PYTHONPATH": str(site)}


def run(environment, *command):
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_on_the_command_line(environment):
    assert "spectrum_overlap" in run(environment, "-m", "consilience.cli", "measures")
    assert "only the shape of the spectrum" in run(environment, "-m", "consilience.cli", "measures", "spectrum_overlap")


def test_it_is_on_the_page_of_all_measures(environment):
    page = run(environment, "docs/catalogue.py")
    assert "### `spectrum_overlap`" in page
    assert "::: far_away.SpectrumOverlap" in page
    rows = [line for line in page.splitlines() if line.startswith("| `spectrum_overlap`")]
    assert len(rows) == 1
    assert "| 1.00 | 1.00 |" in rows[0]


def test_it_is_a_function_and_an_option_of_every_call(environment):
    code = (
        "import numpy as np, consilience as c; x = np.random.default_rng(0).standard_normal((20, 3));"
        "print(round(float(c.spectrum_overlap(x, 2 * x)), 9), c.pairwise([x, x], 'spectrum_overlap').shape)"
    )
    assert run(environment, "-c", code).split("\n")[0] == "1.0 (2, 2)"


def test_it_passes_through_the_generated_tests(environment):
    chosen = ["tests/testing/test_conformance.py", "-k", "spectrum_overlap", "-p", "no:xdist", "-p", "no:cacheprovider"]
    report = run(environment, "-m", "pytest", "-o", "addopts=", "--import-mode=importlib", "-v", *chosen)
    assert "check_invariances" in report
    assert report.count("PASSED") >= 13

"""Two JAX devices for every test, so that sharding is tested wherever there are two cores; no file in the user's
cache."""

import os
import tempfile

import jax

jax.config.update("jax_num_cpu_devices", 2)

# Programs are compiled once for all tests, those of parallel processes too, which inherit the variable.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="consilience-tests-")
    os.environ["CONSILIENCE_CACHE"] = _compiled.name

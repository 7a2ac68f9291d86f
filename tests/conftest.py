"""Two JAX devices for every test, so that sharding is tested wherever there are two cores."""

import jax

jax.config.update("jax_num_cpu_devices", 2)

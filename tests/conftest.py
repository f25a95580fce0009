"""Eight virtual CPU devices and a shared compilation cache, set before JAX starts."""

import os
import tempfile
from pathlib import Path

# More threads than cores: collectives of virtual devices wait for each other in the pool.
os.environ.setdefault("NPROC", "16")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jaxgen-test-cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# Prepared data sets live as long as the tests. The processes of pytest-xdist, and theirs, share
# them: who comes second waits for the lock of the first.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _prepared = tempfile.TemporaryDirectory(prefix="jaxgen-test-data-")
    os.environ["TFDS_DATA_DIR"] = _prepared.name

import pytest

import jaxgen  # noqa: F401  (sets the XLA flag that this jaxlib needs)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data in official layouts: $JAXGEN_DATA, or ../shared/data."""
    root = Path(
        os.environ.get("JAXGEN_DATA", Path(__file__).parents[2] / "shared" / "data")
    ).resolve()
    if not root.is_dir():
        pytest.skip("no real data: set JAXGEN_DATA to a folder in the official layouts")
    return root


def pytest_collection_modifyitems(items):
    """The longest files first: a long one at the end would leave the other process idle."""
    items.sort(key=lambda item: "integration" not in item.path.parts)

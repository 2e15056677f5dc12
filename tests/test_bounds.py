"""The ends of each framework's range: what pip finds there, put before what is installed here.

It needs a package index, and is skipped without one; in CI it fails. The versions between are for whoever has
them; the newest that this environment's pins allow is what all other tests run with.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[1]
ROOMS = ("ume_r1_rag", "trainer", "benchmarks", "integrations")

TESTS = {
    "langchain-core": ["tests/test_langchain.py", "tests/test_stock_readers.py"],
    "llama-index-core": [
        "tests/test_stock_readers.py",
        # The example imports packages that have ranges of their own.
        *(
            f"tests/test_llama_index_{part}.py"
            for part in ("embedding", "keys", "package", "reader", "retriever")
        ),
    ],
}
"""What shows that a version will do."""

# Loading one takes longer than all others, and shows nothing of a framework.
WITHOUT = "not model and not example"


def bounds(name):
    """Returns the least version of a dependency, and what pip is to find the greatest by."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for extra in project["optional-dependencies"].values() for one in extra]
    (found,) = (one for one in [*project["dependencies"], *extras] if re.match(rf"{name}[<>=]", one))
    least = re.search(r">=([\d.]+)", found)[1]
    assert "<" in found, f"{found}: a framework's range has two ends"
    return f"{name}=={least}{'.0' * (2 - least.count('.'))}", found


def installed(tmp_path_factory, what):
    """Returns a folder with a version and all that it asks for; the environment stays as it is."""
    folder = tmp_path_factory.mktemp("bound")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "--no-warn-conflicts"]
    done = subprocess.run([*pip, what], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"pip cannot install {what}: {done.stderr.strip().splitlines()[-1][:200]}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("end", ["least", "greatest"])
@pytest.mark.parametrize("name", TESTS)
def test_our_classes_work_at_both_ends_of_a_range(name, end, tmp_path_factory):
    least, whole = bounds(name)
    what = least if end == "least" else whole
    folder = installed(tmp_path_factory, what)
    paths = [folder, *(ROOT / room for room in ROOMS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}

    def run(*command):
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
        )
        assert done.returncode == 0, f"{what}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    module = name.replace("-", "_").replace("llama_index_core", "llama_index.core")
    version = run(
        "-c",
        f"import {module} as core, langchain_ume_r1, pathlib, sys; "
        f"from importlib.metadata import version; "
        f"assert pathlib.Path(core.__file__).is_relative_to(sys.argv[1]), core.__file__; "
        f"print(version('{name}'))",
        folder,
    )
    if end == "least":
        assert version.strip() == least.partition("==")[2]
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", WITHOUT, *TESTS[name])

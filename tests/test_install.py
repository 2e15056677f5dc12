"""What is built is what is shipped: the wheel, the wheel from the sdist, and both kinds of installation.

Nothing is downloaded: the built wheels go into empty environments that borrow this one's dependencies.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parent.parent
BORROWED = Path(sysconfig.get_paths()["purelib"])

PACKAGES = {
    "ume_r1_rag": "ume_r1_rag/ume_r1_rag",
    "ume_r1_trainer": "trainer/ume_r1_trainer",
    "ume_r1_bench": "benchmarks/ume_r1_bench",
    "langchain_ume_r1": "integrations/langchain_ume_r1",
    "llama_index/embeddings/ume_r1": "integrations/llama_index/embeddings/ume_r1",
    "llama_index/retrievers/ume_r1": "integrations/llama_index/retrievers/ume_r1",
}
"""Where each shipped package is in a wheel, and in a checkout."""

FOLDERS_ONLY = {"trainer", "benchmarks", "integrations", "tests", "scripts"}
"""Top-level names of a checkout that must never be importable from an installation."""

IMPORT_ALL = """
import importlib, sys
from pathlib import Path
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    assert Path(module.__file__).is_relative_to(sys.argv[1]), (name, module.__file__)
"""


def call(*command: str | Path, cwd: Path) -> str:
    """Returns a command's output; a failure shows both of its streams."""
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def tracked() -> set[str]:
    """Returns every file that git tracks."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = call("git", "ls-files", "-z", cwd=ROOT)
    return {name for name in listing.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, so that leftovers beside them are not built."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    return folder


@dataclass(frozen=True)
class Built:
    """The artefacts of one checkout."""

    wheel: Path
    sdist: Path
    wheel_from_sdist: Path


@pytest.fixture(scope="session")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A wheel from the checkout, an sdist, and a wheel from the unpacked sdist."""

    def build(kind: str, source: Path, name: str) -> Path:
        out = tmp_path_factory.mktemp(name)
        call(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", out, source, cwd=out)
        (artefact,) = out.iterdir()
        return artefact

    sdist = build("sdist", checkout, "sdist")
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return Built(build("wheel", checkout, "wheel"), sdist, build("wheel", source, "wheel-from-sdist"))


def names(wheel: Path) -> set[str]:
    """Returns a wheel's files without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}


def test_both_wheels_hold_the_same_files(built: Built):
    assert names(built.wheel) == names(built.wheel_from_sdist)


def test_the_wheel_holds_every_tracked_file_of_the_packages_and_nothing_else(built: Built):
    expected = {
        f"{package}/{PurePosixPath(name).relative_to(folder)}"
        for package, folder in PACKAGES.items()
        for name in tracked()
        if PurePosixPath(name).is_relative_to(folder)
    }
    assert names(built.wheel) == expected


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_says_that_each_package_is_typed(built: Built, package: str):
    assert {f"{package}/__init__.py", f"{package}/py.typed"} <= names(built.wheel)


def test_the_wheel_holds_the_data(built: Built):
    files = names(built.wheel)
    assert any(f.startswith("ume_r1_trainer/recipes/") and f.endswith(".yaml") for f in files)
    assert {f"ume_r1_trainer/deepspeed/zero{stage}.json" for stage in (2, 3)} <= set(files)
    assert any(f.startswith("ume_r1_rag/checkpoints/") for f in files)


def test_the_wheel_leaves_the_namespace_to_llama_index(built: Built):
    files = names(built.wheel)
    assert not files & {f"llama_index/{p}__init__.py" for p in ("", "embeddings/", "retrievers/")}


def test_the_sdist_can_be_built_from_and_carries_the_licence(built: Built):
    with tarfile.open(built.sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= files


@dataclass(frozen=True)
class Installed:
    """An environment with the project in it."""

    python: Path
    site_packages: Path
    home: Path


def install(wheel: Path, folder: Path, home: Path | None) -> Installed:
    """Returns a new environment with the wheel in it, and with this environment's dependencies in reach."""
    call(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    call(*pip, wheel, cwd=folder)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    # A plain path: .pth files over there, such as the one of this checkout, are not followed...
    (site_packages / "borrowed.pth").write_text(f"{BORROWED}\n", encoding="utf-8")
    for hook in BORROWED.glob("_tv_cpu_shim.pth"):  # ...but for the one that torchvision may need.
        (site_packages / "zz_shim.pth").write_bytes(hook.read_bytes())
    return Installed(python, site_packages, home or site_packages)


@pytest.fixture(scope="session", params=["regular", "editable"])
def installed(
    request: pytest.FixtureRequest, built: Built, checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    """An environment with a regular, and one with an editable installation."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "regular":
        return install(built.wheel, folder / "env", None)
    # What `pip install -e` does after it has fetched the build backend.
    code = "import sys, hatchling.build; hatchling.build.build_editable(sys.argv[1])"
    call(sys.executable, "-c", code, folder, cwd=checkout)
    (wheel,) = folder.glob("*.whl")
    return install(wheel, folder / "env", checkout)


@pytest.mark.parametrize("place", ["a neutral folder", "the root of the checkout"])
def test_every_room_is_imported_from_the_installation(
    installed: Installed, checkout: Path, tmp_path: Path, place: str
):
    cwd = tmp_path if place == "a neutral folder" else checkout
    rooms = [package.replace("/", ".") for package in PACKAGES]
    call(installed.python, "-c", IMPORT_ALL, installed.home, *rooms, cwd=cwd)


def test_llama_index_is_whole_beside_our_part(installed: Installed, tmp_path: Path):
    call(installed.python, "-c", "import llama_index.core, llama_index.embeddings.ume_r1", cwd=tmp_path)


def test_the_data_is_found(installed: Installed, tmp_path: Path):
    code = (
        "from importlib.resources import files; print(*files('ume_r1_trainer').joinpath('recipes').iterdir())"
    )
    assert ".yaml" in call(installed.python, "-c", code, cwd=tmp_path)


def test_the_console_script_runs(installed: Installed, tmp_path: Path):
    output = call(installed.python.with_name("ume-r1"), "--help", cwd=tmp_path)
    assert "Usage" in output


def test_the_installation_leaves_no_folder_names_behind(installed: Installed):
    (record,) = installed.site_packages.glob("ume_r1_rag-*.dist-info/RECORD")
    tops = {line.partition("/")[0].partition(",")[0] for line in record.read_text().splitlines()}
    assert not tops & FOLDERS_ONLY


def test_a_regular_installation_is_only_ours(installed: Installed):
    if installed.home != installed.site_packages:
        pytest.skip("an editable installation has no modules in site-packages")
    (record,) = installed.site_packages.glob("ume_r1_rag-*.dist-info/RECORD")
    tops = {line.partition("/")[0].partition(",")[0] for line in record.read_text().splitlines()}
    ours = {package.partition("/")[0] for package in PACKAGES}
    assert {top for top in tops if not top.endswith(".dist-info") and top != ".."} == ours

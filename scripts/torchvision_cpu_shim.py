"""Makes a CUDA-built torchvision importable on a CPU-only torch. Run as a file, it installs itself.

``import torchvision`` registers fake kernels for operators of its compiled part. Where that part was built
for CUDA it does not load on a CPU-only torch, the operators do not exist, and the import fails although the
Python part is all that image preprocessing needs. This declares the missing operators just before they
are looked up. They have no kernel: calling one still fails, with torch's own message.

A ``.pth`` file in site-packages starts the hook in every process, so nothing but ``sys`` is imported here.
"""

from __future__ import annotations

import sys

MODULE = "_tv_cpu_shim"
"""The name this file gets in site-packages."""

_OPERATORS = ("nms", "qnms")
_kept: list[object] = []


class _BeforeRegistration:
    """Declares the operators when torchvision is about to register fake kernels for them."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Returns None: the module is found by the others, after the operators are declared."""
        if fullname == "torchvision._meta_registrations":
            sys.meta_path.remove(self)
            _declare_operators()


def _declare_operators() -> None:
    """Declares the operators unless the compiled part has done so."""
    import torch
    from torchvision import extension

    if extension._has_ops():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)  # the declarations live as long as the object


def hook() -> None:
    """Starts to watch for torchvision's import; once, though Python reads the ``.pth`` of a venv twice."""
    if not any(isinstance(finder, _BeforeRegistration) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BeforeRegistration())


def install() -> None:
    """Copies this file and a ``.pth`` that calls ``hook`` into the running Python's site-packages."""
    import shutil
    import sysconfig
    from pathlib import Path

    site_packages = Path(sysconfig.get_paths()["purelib"])
    shutil.copyfile(__file__, site_packages / f"{MODULE}.py")
    (site_packages / f"{MODULE}.pth").write_text(f"import {MODULE}; {MODULE}.hook()\n", encoding="utf-8")


if __name__ == "__main__":
    install()

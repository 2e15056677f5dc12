"""A benchmark directory as VLM2Vec's own parsers read it, printed as JSON lines: one task each.

Run as ``official_mmeb.py CHECKOUT DATA`` in a process of its own: it puts stand-ins into ``sys.modules`` for
what the parsers import and do not need here (model code, video decoders), and leads downloads to the folder.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import types
from pathlib import Path

PARSERS = "src.data.eval_dataset"
UNUSED = ("cv2", "imageio", "decord", "src.model", "src.utils.vision_utils.video_transforms")
SKIPPED = ("__init__", "base_eval_dataset", "gui_dataset", "videommmu_dataset")


class StandIn(types.ModuleType):
    """A module that has every attribute, itself."""

    __path__ = ()

    def __getattr__(self, name):
        """Returns itself, but for what the import machinery asks."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def prompts(checkout: Path) -> types.ModuleType:
    """Returns ``src.model.processor`` with the one function that parsers call, taken from its source."""
    source = (checkout / "src/model/processor.py").read_text(encoding="utf-8")
    body = source[source.index("def process_input_text") : source.index("process_vlm_inputs_fns = {")]
    module = types.ModuleType("src.model.processor")
    vars(module).update(dict.fromkeys(("GME", "LamRA", "LamRA_QWEN2_5", "E5_V")))
    module.VLM_IMAGE_TOKENS = {"qwen2_vl": "<|image_pad|>"}
    module.VLM_VIDEO_TOKENS = {"qwen2_vl": "<|video_pad|>"}
    exec(body, vars(module))
    return module


def prepare(checkout: Path, data: Path) -> types.ModuleType:
    """Makes the parsers importable, and returns the module that holds their registry."""
    import datasets
    import torch  # noqa: F401 -- whole, before it is imported in part by what follows
    import torchvision.io

    torchvision.io.write_video = None
    # Their packages' own files import training code.
    for name in ("src.data", PARSERS):
        package = types.ModuleType(name)
        package.__path__ = [str(checkout / name.replace(".", "/"))]
        sys.modules[name] = package
    sys.modules.update({name: StandIn(name) for name in UNUSED})
    sys.modules["src.model.processor"] = prompts(checkout)
    sys.path.insert(0, str(checkout))
    loaded, mapped = datasets.load_dataset, datasets.Dataset.map

    def load_dataset(repo, *arguments, **options):
        name = "image-tasks" if repo.endswith("MMEB_Test_Instruct") else repo.rsplit("/", 1)[-1]
        home = next(folder for folder in (data, *data.iterdir()) if (folder / name / "README.md").is_file())
        return loaded(str(home / name), *[one for one in arguments if one is not None], **options)

    datasets.disable_progress_bars()
    datasets.config.HF_DATASETS_CACHE = Path(tempfile.mkdtemp())
    datasets.load_dataset = load_dataset
    datasets.Dataset.map = lambda self, function=None, **options: mapped(
        self, function, **{**options, "num_proc": None}
    )
    base = importlib.import_module(f"{PARSERS}.base_eval_dataset")
    for path in sorted((checkout / PARSERS.replace(".", "/")).glob("*.py")):
        if path.stem not in SKIPPED:
            importlib.import_module(f"{PARSERS}.{path.stem}")
    return base


def paths(shown):
    """Returns the files of an image entry."""
    return [os.path.normpath(path) for path in (shown or {"paths": []})["paths"]]


def read(base, name, options, data):
    """Returns one task."""
    for key in ("image_root", "video_root", "frame_root", "clip_root"):
        if options.get(key):
            options[key] = str(data / options[key])
    if options.get("num_sample_per_subset") == "None":
        options["num_sample_per_subset"] = None
    rows, corpus = base.AutoEvalPairDataset.instantiate(
        model_args=types.SimpleNamespace(model_backbone="qwen2_vl"),
        data_args=types.SimpleNamespace(image_resolution=None),
        **options,
    )
    queries = []
    for row in rows:
        known = row["dataset_infos"]
        labels = known["label_name"] if isinstance(known["label_name"], list) else [known["label_name"]]
        grades = known.get("rel_scores") or [1.0] * len(labels)
        queries.append(
            {
                "text": row["query_text"][0],
                "paths": paths(row["query_image"][0]),
                "names": [str(one) for one in known["cand_names"]],
                "relevance": {str(one): grade for one, grade in zip(labels, grades, strict=True)},
            }
        )
    candidates = [
        {
            "name": str(row["dataset_infos"]["cand_name"]),
            "text": row["cand_text"][0],
            "paths": paths(row["cand_image"][0]),
        }
        for row in base.generate_cand_dataset(rows, corpus)
    ]
    return {"task": name, "queries": queries, "candidates": candidates}


def main():
    """Prints every task."""
    import yaml

    checkout, data = map(Path, sys.argv[1:])
    out, sys.stdout = sys.stdout, sys.stderr
    base = prepare(checkout, data)
    for modality in ("image", "video", "visdoc"):
        tasks = yaml.safe_load((checkout / f"experiments/public/eval/{modality}.yaml").read_text())
        for name, options in tasks.items():
            print(json.dumps(read(base, name, options, data)), file=out, flush=True)


if __name__ == "__main__":
    main()

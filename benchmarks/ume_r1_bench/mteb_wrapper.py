"""``MtebEncoder``: any model of ours for mteb, by disc, by gen, or by gen without thinking.

mteb's own ``UMER1Wrapper`` knows gen alone. This one follows its protocol (preset ``mteb``) unless told
otherwise; but broken generations are mended and counted, texts cannot forge a marker, and an input that
cannot be read is an error of its task and no vector.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ume_r1_rag.encoder.fingerprint import digest
from ume_r1_rag.errors import ConfigError, MissingExtra
from ume_r1_rag.types import Encoder, MultimodalInput, Space, Think, check_think

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_log = logging.getLogger(__name__)

_PAPER = "https://arxiv.org/abs/2511.00405"


class MtebEncoder:
    """A model as mteb's ``EncoderProtocol`` wants it.

    Example:
        >>> import mteb
        >>> model = MtebEncoder("zhibinlan/UME-R1-2B", mode="disc")
        >>> mteb.evaluate(model, mteb.get_benchmark("MIEB(lite)"))

    Attributes:
        mteb_model_meta: what mteb files results under: name, mode and budget, and a digest of all that the
            vectors depend on as the revision, so that results of two settings are never taken for each other.
        encoded: inputs so far.
        invalid: generations among them that had to be mended.
    """

    def __init__(
        self,
        model_name: str | None = None,
        revision: str | None = None,
        *,
        device: str | None = None,
        mode: Space = "disc",
        think: Think = "full",
        instructions: bool = False,
        preset: str = "mteb",
        encoder: Encoder | None = None,
        **options: Any,
    ) -> None:
        """Loads a model.

        Args:
            model_name: ``"nano"``, a folder or a hub id; default ``UME_R1_MODEL``, else UME-R1-2B.
            revision: hub revision; default the pinned one.
            device: e.g. ``"cuda:1"``; by default the best there is.
            mode: ``"disc"`` or ``"gen"``.
            think: think budget of gen.
            instructions: put a task's own prompt before its texts, as it says it for queries and documents.
                mteb's wrapper does not, nor did the paper's visual documents.
            preset: the protocol; ``"mteb"`` is that of mteb's wrapper.
            encoder: one that is loaded already, in place of all of that.
            **options: further ones of ``UmeR1Encoder``, such as ``dtype`` and ``backend``.

        Raises:
            ConfigError: an option cannot work.
            MissingExtra: mteb is not installed.
            CheckpointError: the model is absent or unusable.
        """
        if mode not in ("disc", "gen"):
            raise ConfigError(f'mode={mode!r}: a task has one vector of each input: use "disc" or "gen"')
        check_think(think)
        if encoder is None:
            from ume_r1_rag.encoder import UmeR1Encoder

            encoder = UmeR1Encoder(
                model_name, revision=revision, device=device, preset=preset, think=think, **options
            )
        elif options:
            raise ConfigError(
                f"{', '.join(sorted(options))}: the encoder that is given decides that, leave it out"
            )
        if mode not in encoder.spaces:
            raise ConfigError(
                f'mode={mode!r}: {model_name or "this encoder"} has disc vectors alone: use mode="disc"'
            )
        self._encoder, self._mode, self._think, self._instructed = encoder, mode, think, instructions
        self.encoded = self.invalid = 0
        self.mteb_model_meta = _meta(encoder, mode, think, instructions)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> npt.NDArray[np.float32]:
        """Returns ``(N, D)`` float32 of a dataloader's inputs.

        Args:
            inputs: batches of texts, pictures and videos.
            task_metadata: the task's, for its prompts.
            hf_split: without effect.
            hf_subset: without effect.
            prompt_type: whether these are queries or documents.
            **kwargs: ``show_progress_bar``; others are without effect.

        Raises:
            EncodeErrors: inputs cannot be read; mteb reports the task as failed.
        """
        import numpy as np
        from tqdm.auto import tqdm

        self._sample_videos(inputs)
        side = None if prompt_type is None else str(getattr(prompt_type, "value", prompt_type))
        prompt = _prompt(task_metadata, side) if self._instructed else None
        encode = self._encoder.encode_query if side == "query" else self._encoder.encode_document
        options: dict[str, Any] = {"think": self._think} if self._mode == "gen" else {}
        rows = []
        for batch in tqdm(inputs, desc=self._mode, disable=not kwargs.get("show_progress_bar", True)):
            found = encode(list(items_of(batch, prompt)), self._mode, show_progress=False, **options)
            self.encoded += len(found)
            self.invalid += sum(one.gen_valid is False for one in found)
            rows += [one.vector(self._mode) for one in found]
        if self.invalid:
            _log.warning("%d of %d generations so far were cut off or broken", self.invalid, self.encoded)
        return np.stack(rows) if rows else np.zeros((0, self._encoder.dimension), np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Returns cosines ``(N, M)``, by mteb."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Returns cosines ``(N,)`` of pairs, by mteb."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)

    def _sample_videos(self, inputs: Any) -> None:
        """Has mteb sample the frames, so that they are the same ones as for its other models."""
        if "video" in getattr(inputs.dataset, "features", ()):
            from mteb.models.modality_collators import VideoCollator

            inputs.collate_fn = VideoCollator(
                target_sampling_rate=16_000, num_frames=self._encoder.max_video_frames
            )


def items_of(batch: Mapping[str, Any], prompt: str | None = None) -> Iterator[MultimodalInput]:
    """Yields the inputs of one of mteb's batches.

    An empty text without visuals, which some datasets have, is the blank picture that every text gets.

    Args:
        batch: a list for each of ``text``, ``image`` and ``video``, as far as there are.
        prompt: put before each text.
    """
    columns = {name: batch[name] for name in ("text", "image", "video") if name in batch}
    for number in range(max(map(len, columns.values()), default=0)):
        row = {name: values[number] for name, values in columns.items()}
        text = row.get("text")
        text = text if isinstance(text, str) and text.strip() else None
        images = row.get("image")
        images = [] if images is None else images if isinstance(images, list) else [images]
        video = None if row.get("video") is None else _frames(row["video"])
        if text is None and not images and video is None:
            images = [_blank()]
        yield MultimodalInput(text, tuple(images), video, prompt or None)


def _frames(video: Any) -> list[Any]:
    """Returns a ``(T, C, H, W)`` tensor of bytes, or a list of pictures, as pictures."""
    from PIL import Image

    if isinstance(video, Sequence):
        return list(video)
    return [Image.fromarray(frame) for frame in video.permute(0, 2, 3, 1).contiguous().numpy()]


def _blank() -> Any:
    from PIL import Image

    return Image.new("RGB", (56, 56), "white")


def _prompt(task: Any, side: str | None) -> str | None:
    """Returns what a task says of its queries or its documents; None if it says nothing."""
    prompt = task.prompt
    found = prompt.get(side) if isinstance(prompt, Mapping) else prompt
    return str(found) if found else None


def _meta(encoder: Encoder, mode: Space, think: Think, instructions: bool) -> Any:
    try:
        from mteb.models.model_meta import ModelMeta, ScoringFunction
    except ModuleNotFoundError as error:
        raise MissingExtra(f"this needs {error.name}: pip install 'ume-r1-rag[bench]'") from error
    mark = dict(encoder.fingerprint)
    settings = {"mode": mode, "instructions": instructions} | ({"think": think} if mode == "gen" else {})
    known = _known(str(mark.get("model")))
    ending = mode if mode == "disc" or think == "full" else f"gen-think-{think}"
    return ModelMeta(
        loader=MtebEncoder,
        name=f"ume-r1-rag/{str(mark.get('model') or 'local').rpartition('/')[2]}-{ending}",
        # Results are kept under name and revision, so it says what the vectors depend on.
        revision=digest({**mark, **settings}),
        release_date=getattr(known, "release_date", None),
        languages=["eng-Latn"],
        n_parameters=getattr(known, "n_parameters", None),
        memory_usage_mb=getattr(known, "memory_usage_mb", None),
        max_tokens=getattr(known, "max_tokens", None),
        embed_dim=encoder.dimension,
        license="apache-2.0",
        open_weights=True,
        public_training_code=getattr(known, "public_training_code", None),
        public_training_data=getattr(known, "public_training_data", None),
        framework=["PyTorch", "Transformers"],
        reference=getattr(known, "reference", None) or _PAPER,
        similarity_fn_name=ScoringFunction.COSINE,
        use_instructions=instructions,
        training_datasets=getattr(known, "training_datasets", None),
        adapted_from=getattr(known, "name", None),
        modalities=["text", "image", "video"],
        experiment_kwargs=settings,
    )


def _known(model: str) -> Any:
    """Returns what mteb knows of a published model, its training data among it; None of others."""
    import mteb

    try:
        return mteb.get_model_meta(model)
    except (KeyError, ValueError):
        return None

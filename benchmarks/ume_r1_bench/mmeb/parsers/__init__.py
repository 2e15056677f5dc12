"""One class for each way in which MMEB-V2's data are laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ume_r1_bench.mmeb.parsers.image import ImageAnswer, ImageToImage, ImageToText, TextToImage
from ume_r1_bench.mmeb.parsers.moment import MomentRetrieval, MomentSeeker
from ume_r1_bench.mmeb.parsers.parser import Parser
from ume_r1_bench.mmeb.parsers.video_classification import LabelPerRow, VideoClassification
from ume_r1_bench.mmeb.parsers.video_qa import (
    ActivityNetQA,
    EgoSchema,
    MVBench,
    NExTQA,
    VideoMME,
)
from ume_r1_bench.mmeb.parsers.video_retrieval import DiDeMo, MsrVtt, Msvd, Vatex, YouCook2
from ume_r1_bench.mmeb.parsers.visdoc import ViDoRe, VisRAG

PARSERS: Final[Mapping[str, type[Parser]]] = {
    "image_cls": ImageToText,
    "image_qa": ImageAnswer,
    "image_i2t": ImageToText,
    "image_t2i": TextToImage,
    "image_i2i_vg": ImageToImage,
    "video_classification": VideoClassification,
    "ssv2": LabelPerRow,
    "mvbench": MVBench,
    "videomme": VideoMME,
    "nextqa": NExTQA,
    "egoschema": EgoSchema,
    "activitynetqa": ActivityNetQA,
    "didemo": DiDeMo,
    "msrvtt": MsrVtt,
    "msvd": Msvd,
    "vatex": Vatex,
    "youcook2": YouCook2,
    "moment_retrieval": MomentRetrieval,
    "momentseeker": MomentSeeker,
    "vidore": ViDoRe,
    "visrag": VisRAG,
}
"""The evaluator's name of a parser → ours."""

__all__ = ["PARSERS", "Parser"]

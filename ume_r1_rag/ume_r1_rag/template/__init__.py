"""The official prompt, its presets, and how an input becomes token ids and patches."""

from ume_r1_rag.template.presets import PRESETS, PixelLimits, Preset, RepetitionStop, get_preset, load_preset
from ume_r1_rag.template.prompt import (
    DISC_MARKER,
    EMBED_PROMPT,
    GEN_MARKER,
    INSTRUCTIONS,
    NO_THINK_COMPLETION,
    THINK_CLOSE,
    THINK_OPEN,
    Instruction,
    completion_text,
    instruct,
    user_text,
)
from ume_r1_rag.template.reasoning import Reasoning, parse, think_closed, well_formed
from ume_r1_rag.template.render import Markers, PromptTokenizer, find_markers
from ume_r1_rag.template.visual import Patches, VisualProcessor

__all__ = [
    "DISC_MARKER",
    "EMBED_PROMPT",
    "GEN_MARKER",
    "INSTRUCTIONS",
    "NO_THINK_COMPLETION",
    "PRESETS",
    "THINK_CLOSE",
    "THINK_OPEN",
    "Instruction",
    "Markers",
    "Patches",
    "PixelLimits",
    "Preset",
    "PromptTokenizer",
    "Reasoning",
    "RepetitionStop",
    "VisualProcessor",
    "completion_text",
    "find_markers",
    "get_preset",
    "instruct",
    "load_preset",
    "parse",
    "think_closed",
    "user_text",
    "well_formed",
]

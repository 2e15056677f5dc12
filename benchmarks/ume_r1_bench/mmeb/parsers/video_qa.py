"""A clip with a question → one of its options. Each data set writes options and their keys in its own way.

Source: VLM2Vec ``{mvbench,videomme,nextqa,egoschema,activitynetqa}_dataset.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from ume_r1_bench.mmeb.errors import DataMissing
from ume_r1_bench.mmeb.parsers.parser import Parser
from ume_r1_bench.mmeb.prompt import QUESTION, VIDEO, item, multiple_choice, options_listed, text_item
from ume_r1_bench.mmeb.row import Item
from ume_r1_bench.mmeb.tables import Row, require

SUBSETS: Final = (
    *("episodic_reasoning", "action_sequence", "action_prediction", "action_antonym", "fine_grained_action"),
    *("unexpected_action", "object_existence", "object_interaction", "object_shuffle", "moving_direction"),
    *("action_localization", "scene_transition", "action_count", "moving_count", "moving_attribute"),
    *("state_change", "fine_grained_pose", "character_order", "egocentric_navigation"),
    "counterfactual_inference",
)
"""MVBench's configurations, in the evaluator's order."""


def without_letter(option: str) -> str:
    """Returns ``"A dog"`` of ``"A. A dog."``; as officially, of what has no ``". "`` its last character."""
    return option[option.find(". ") :].strip(". ")


class _Question(Parser):
    """What the five have in common."""

    def _clip(self, row: Row) -> str:
        raise NotImplementedError

    def _prompt(self, row: Row) -> str:
        raise NotImplementedError

    def _answer(self, row: Row) -> int:
        """Returns the number of the right option."""
        raise NotImplementedError

    def _checked(self, row: Row, number: int) -> int:
        if not 0 <= number < len(self.names(row)):
            raise self.broken(row, f"the answer is no option of {list(self.names(row))}")
        return number

    def query(self, row: Row) -> Item:
        """Returns the clip with the question."""
        return item(self._prompt(row), frames=self.media.frames(self._clip(row), self.num_frames))

    def candidate(self, row: Row, number: int) -> Item:
        """Returns an option as it is keyed."""
        return text_item(self.names(row)[number])

    def relevance(self, row: Row) -> Mapping[str, float]:
        """Returns the right option."""
        return {self.names(row)[self._checked(row, self._answer(row))]: 1.0}


class MVBench(_Question):
    """Twenty configurations in a row; options with ``(A)`` are key and text."""

    columns: ClassVar[tuple[str, ...]] = ("video", "question", "candidates", "answer")

    def rows(self) -> list[Row]:
        """Returns the rows of all configurations, with their name in ``subset``."""
        files = [self.tables.usual(subset) for subset in SUBSETS if not self.tables.files(subset)]
        if files and len(files) < len(SUBSETS):
            raise DataMissing(
                self.task.name,
                f"{self.task.name}: {len(files)} of {len(SUBSETS)} configurations are missing, the first is "
                f"{files[0]}: copy the rest of {self.tables.hub.repo}",
                tables=files,
            )
        rows: list[Row] = [
            {**row, "subset": subset} for subset in SUBSETS for row in self.tables.read(subset)
        ]
        for row in rows:
            require(row, self.columns, f"{self.task.name}'s data")
        return rows

    def _clip(self, row: Row) -> str:
        return f"{row['subset']}/{row['video']}"

    def _prompt(self, row: Row) -> str:
        return multiple_choice(row["question"], row["candidates"])

    def _answer(self, row: Row) -> int:
        # Of equal options the evaluator takes the last.
        equal = [number for number, option in enumerate(row["candidates"]) if option == row["answer"]]
        return equal[-1] if equal else -1

    def names(self, row: Row) -> Sequence[str]:
        """Returns the options with their letters."""
        return options_listed(row["candidates"])


class VideoMME(_Question):
    """Options such as ``"A. A dog."``: the key as it is, the text without letter and full stop."""

    columns: ClassVar[tuple[str, ...]] = ("videoID", "question", "options", "answer")

    def _clip(self, row: Row) -> str:
        return str(row["videoID"])

    def _prompt(self, row: Row) -> str:
        return f"{VIDEO} {QUESTION} {row['question']}\n" + "\n".join(row["options"])

    def _answer(self, row: Row) -> int:
        return "ABCD".find(row["answer"] or "?")

    def names(self, row: Row) -> Sequence[str]:
        """Returns the options as they are."""
        names: Sequence[str] = row["options"]
        return names

    def candidate(self, row: Row, number: int) -> Item:
        """Returns an option without its letter."""
        return text_item(without_letter(row["options"][number]))


class NExTQA(_Question):
    """Five options in columns of their own; the answer is a number."""

    columns: ClassVar[tuple[str, ...]] = ("video", "question", "a0", "a1", "a2", "a3", "a4", "answer")

    def _clip(self, row: Row) -> str:
        return str(row["video"])

    def _prompt(self, row: Row) -> str:
        return multiple_choice(row["question"], self.names(row))

    def _answer(self, row: Row) -> int:
        return int(row["answer"])

    def names(self, row: Row) -> Sequence[str]:
        """Returns the options."""
        return [row[f"a{number}"] for number in range(5)]


class EgoSchema(VideoMME):
    """Like Video-MME, but the options follow the question on its line and the answer is a number."""

    columns: ClassVar[tuple[str, ...]] = ("video_idx", "question", "option", "answer")

    def _clip(self, row: Row) -> str:
        return str(row["video_idx"])

    def _prompt(self, row: Row) -> str:
        # No space stands before the first option: so the evaluator has it.
        return f"{VIDEO} {QUESTION} {row['question']}" + " ".join(row["option"])

    def _answer(self, row: Row) -> int:
        return int(row["answer"])

    def names(self, row: Row) -> Sequence[str]:
        """Returns the options as they are."""
        names: Sequence[str] = row["option"]
        return names

    def candidate(self, row: Row, number: int) -> Item:
        """Returns an option without its letter."""
        return text_item(without_letter(row["option"][number]))


class ActivityNetQA(_Question):
    """Yes or no."""

    columns: ClassVar[tuple[str, ...]] = ("video_name", "question", "answer")

    def _clip(self, row: Row) -> str:
        return f"v_{row['video_name']}"

    def _prompt(self, row: Row) -> str:
        return f"{VIDEO} {QUESTION} {row['question']}? (A) yes; (B) no."

    def _answer(self, row: Row) -> int:
        return {"yes": 0, "no": 1}.get(row["answer"], -1)

    def names(self, row: Row) -> Sequence[str]:
        """Returns the two."""
        return ("yes", "no")

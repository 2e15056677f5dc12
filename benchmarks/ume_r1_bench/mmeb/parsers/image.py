"""The image tasks: ``MMEB_Test_Instruct``, whose rows hold instructions, texts and paths.

Source: VLM2Vec ``image_{cls,qa,i2i_vg}_dataset.py``, ``image_{i2t,t2i}_eval.py``. The first candidate of a
row is the positive, so nothing may depend on the candidates' order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from ume_r1_bench.mmeb.parsers.parser import Parser
from ume_r1_bench.mmeb.prompt import IMAGE, PLACEHOLDER, item, mend, render, text_item
from ume_r1_bench.mmeb.row import Item
from ume_r1_bench.mmeb.tables import Row


class _ImageParser(Parser):
    """What the four have in common."""

    def rows(self) -> list[Row]:
        """Returns the rows; each must have a candidate."""
        rows = super().rows()
        for row in rows:
            if not self.names(row):
                raise self.broken(row, "there is no candidate")
        return rows

    def relevance(self, row: Row) -> Mapping[str, float]:
        """Returns the first candidate: the positive."""
        return {self.names(row)[0]: 1.0}

    def _picture(self, instruction: str, text: str) -> str:
        """Returns the prompt of a picture, closed by a line's end."""
        return mend(render(instruction, text, "image")) + "\n"


class ImageToText(_ImageParser):
    """Classification and captions: a picture → texts."""

    columns: ClassVar[tuple[str, ...]] = ("qry_inst", "qry_text", "qry_img_path", "tgt_text")

    def _instruction(self, row: Row) -> str:
        return str(row["qry_inst"]).replace(PLACEHOLDER, "")

    def query(self, row: Row) -> Item:
        """Returns the picture with its instruction."""
        prompt = self._picture(self._instruction(row), row["qry_text"] or "")
        return item(prompt, [self.media.image(row["qry_img_path"])])

    def names(self, row: Row) -> Sequence[str]:
        """Returns the texts themselves."""
        names: Sequence[str] = row["tgt_text"]
        return names

    def candidate(self, row: Row, number: int) -> Item:
        """Returns a text."""
        return text_item(row["tgt_text"][number])


class ImageAnswer(ImageToText):
    """Questions: a picture with a question → answers."""

    def _instruction(self, row: Row) -> str:
        return "\n" + super()._instruction(row).strip()


class TextToImage(_ImageParser):
    """A caption or question → pictures, some with captions."""

    columns: ClassVar[tuple[str, ...]] = ("qry_inst", "qry_text", "tgt_inst", "tgt_text", "tgt_img_path")

    def query(self, row: Row) -> Item:
        """Returns the text; WebQA and EDIS keep a token of an image that is not there."""
        prompt = f"{str(row['qry_inst']).replace(PLACEHOLDER, IMAGE)} {row['qry_text'] or ''}\n"
        return item(prompt + "\n" if self.task.name == "VisDial" else prompt)

    def names(self, row: Row) -> Sequence[str]:
        """Returns the pictures' paths; captions are not part of it, of equal paths the first one's counts."""
        names: Sequence[str] = row["tgt_img_path"]
        return names

    def candidate(self, row: Row, number: int) -> Item:
        """Returns a picture, with its caption where the row has captions."""
        instruction = str(row["tgt_inst"] or "").replace(PLACEHOLDER, "")
        caption = self._caption(row, number)
        prompt = self._target(instruction if caption is None else f"{instruction} {caption}", caption)
        return item(prompt, [self.media.image(row["tgt_img_path"][number])])

    def _caption(self, row: Row, number: int) -> str | None:
        """Returns a candidate's caption; None where the row's first has none, whatever the others have."""
        captions: Sequence[str] = row["tgt_text"] or [""]
        if not captions[0].strip():
            return None
        if number >= len(captions):
            raise self.broken(row, f"candidate {number} has no caption")
        return captions[number]

    def _target(self, instruction: str, caption: str | None) -> str:
        return self._picture(instruction, "")


class ImageToImage(TextToImage):
    """A picture with a text → pictures, or parts of one."""

    columns: ClassVar[tuple[str, ...]] = (*TextToImage.columns, "qry_img_path")

    def query(self, row: Row) -> Item:
        """Returns the picture with instruction and text."""
        instruction = "\n" + str(row["qry_inst"]).replace(PLACEHOLDER, "").strip()
        prompt = self._picture(instruction, row["qry_text"] or "")
        return item(prompt, [self.media.image(row["qry_img_path"])])

    def names(self, row: Row) -> Sequence[str]:
        """Returns path and caption: in RefCOCO-Matching one picture is several candidates."""
        paths, captions = row["tgt_img_path"], row["tgt_text"]
        if len(paths) != len(captions):
            raise self.broken(row, f"{len(paths)} pictures have {len(captions)} captions")
        return [f"{path}:{caption.strip(chr(34))}" for path, caption in zip(paths, captions, strict=True)]

    def _target(self, instruction: str, caption: str | None) -> str:
        prompt = self._picture(instruction, "")
        # Without a caption the evaluator leaves out the line's end, here and not in text-to-image.
        return prompt if caption is not None else prompt[:-1]

"""A file that is replaced while it is read: never old vectors under the new file's hash."""

import pytest
from made_files import text_pdf, write_clip
from PIL import Image

from ume_r1_rag.index import QdrantIndex
from ume_r1_rag.ingest import ingest, opened


def write(path, version):
    """Writes a version of a file, all of them of another content."""
    if path.suffix == ".pdf":
        path.write_bytes(text_pdf([f"page of version {version}"]))
    elif path.suffix == ".mp4":
        write_clip(path, frames=3 * version)
    elif path.suffix == ".png":
        Image.new("RGB", (8, 8), ["black", "red", "blue"][version]).save(path)
    else:
        path.write_text(f"text of version {version}")


def vectors(index):
    found, _ = index.share_client().scroll(index.physical, limit=99, with_vectors=True)
    return {point.payload["ume_key"]: (point.payload["ume_content_hash"], point.vector) for point in found}


@pytest.mark.parametrize("name", ["a.pdf", "a.mp4", "a.png", "a.txt"])
@pytest.mark.parametrize("moment", ["opened", "read"])
@pytest.mark.parametrize("in_place", [True, False])
def test_what_was_replaced_meanwhile_is_mended_by_the_next_run(
    name, moment, in_place, tmp_path, make_encoder, monkeypatch
):
    folder = tmp_path / "files"
    folder.mkdir()
    path, other = folder / name, tmp_path / f"other{name[1:]}"
    write(path, 1)
    write(other, 2)
    encoder = make_encoder()

    def replace():
        if other.exists():
            path.write_bytes(other.read_bytes()) if in_place else other.replace(path)
            other.unlink(missing_ok=True)

    kind = {".pdf": opened._Pages, ".mp4": opened.Clips, ".png": opened._Picture, ".txt": opened._Text}
    kind = kind[path.suffix]
    opens, becomes = kind.__init__, kind._document

    def opened_and_replaced(self, *of):
        opens(self, *of)
        replace()

    def replaced_and_become(self, *of, **fields):
        replace()
        return becomes(self, *of, **fields)

    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as index, monkeypatch.context() as patch:
        if moment == "opened":
            patch.setattr(kind, "__init__", opened_and_replaced)
        else:
            patch.setattr(kind, "_document", replaced_and_become)
        ingest(encoder, index, folder, "disc")
        patch.undo()
        ingest(encoder, index, folder, "disc")
        mended = vectors(index)
        assert ingest(encoder, index, folder, "disc").unchanged == len(mended) > 0
    with QdrantIndex(":memory:", fingerprint=encoder.fingerprint) as fresh:
        ingest(encoder, fresh, folder, "disc")
        assert vectors(fresh) == mended

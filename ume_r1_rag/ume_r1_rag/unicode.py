r"""Unicode: the one rule for text that is none, applied wherever text comes in or goes to a store.

Python makes lone surrogates of bytes in file names that are no UTF-8, and takes them from JSON. No tokenizer,
store or terminal takes them. They are spelled out: a name stays another name than its neighbour's, and is
found as it is shown. Halves of a pair that stand side by side are what they mean, one character. Where two
spellings of a name must not mean the same, as for tenants, text that this changes is refused.
"""

from __future__ import annotations


def unicode_text(text: str) -> str:
    r"""Returns ``text`` well-formed: lone surrogates spelled out (``\udcff``), paired ones joined."""
    try:
        text.encode()
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return joined.encode("utf-8", "backslashreplace").decode()
    return text

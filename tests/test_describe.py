"""What untrusted text may still hold where it is shown."""

import unicodedata

from ume_r1_rag.cli import screen
from ume_r1_rag.describe import describe, printable, shorten
from ume_r1_rag.results_page import Section, render_results

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""All characters that have Unicode's property Bidi_Control."""

ACTING = BIDI + "".join(
    char for char in map(chr, range(0x110000)) if unicodedata.category(char) == "Cc" and char not in "\t\n"
)


def test_what_acts_is_taken_out_everywhere():
    assert len(ACTING) == 12 + 65 - 2
    text = "a" + "b".join(ACTING) + "c\td\ne"
    bare = "a" + "b" * (len(ACTING) - 1) + "c\td\ne"
    assert printable(text) == bare
    assert printable(text, "?").count("?") == len(ACTING)
    page = render_results([Section(text, ())])
    for shown in (screen.clean(text, lines=True), screen.to_json([text]), shorten(text, 999), page):
        assert not set(shown) & set(ACTING)
        assert "c" in shown


def test_letters_stay_as_they_are():
    text = "naïve 漢字 العربية हिन्दी می‌خواهم 👩‍👩‍👧 100 €"
    assert printable(text) == text


def test_what_is_no_unicode_is_spelled_out():
    assert printable("a\udcffb") == "a\\udcffb"
    assert printable(ValueError("x\x1b[2J")) == "x[2J"


def test_a_name_in_a_message_is_harmless():
    assert describe("\x1b]0;owned\x07cat\u061c.png") == "]0;ownedcat.png"
    assert shorten("one\r\ntwo\x9b2J") == "one two2J"

"""Fonts of this machine for letters that matplotlib's own font lacks, as for Chinese, Japanese and Korean names."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from matplotlib import rc_context, rcParams
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font

from eval.words import first_of, visible

_NAMED_AT_MOST = 5


@contextmanager
def fonts_for(names: Iterable[str], say: Callable[[str], None]) -> Iterator[None]:
    """Let what is drawn within take further fonts for letters of names; say which names have letters of no font."""
    shown = sorted(set(map(visible, names)))
    families, left = _families_with(set("".join(shown)))
    if left:
        lacking = [name for name in shown if left & set(name)]
        say(
            f"figures: no font of this machine has all letters of {first_of(lacking, _NAMED_AT_MOST)}; boxes stand for "
            "them. Install a font that has them, for Chinese, Japanese and Korean Noto Sans CJK (on Debian "
            "fonts-noto-cjk), and run this again"
        )
    with rc_context({"font.family": [*rcParams["font.family"], *families]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        yield


def _families_with(letters: set[str]) -> tuple[list[str], set[str]]:
    """Return families of this machine's fonts for letters that matplotlib's font lacks, and the letters of none."""
    own = get_font(findfont(FontProperties()))
    left = {letter for letter in letters if not own.get_char_index(ord(letter))}
    families = []
    # Regular ones first: text is neither bold nor slanted.
    for path in sorted(findSystemFonts(), key=lambda path: ("regular" not in path.lower(), path)) if left else ():
        # A file that is damaged, or of a kind that matplotlib cannot draw.
        with suppress(OSError, RuntimeError):
            font = get_font(path)
            had = {letter for letter in left if font.scalable and font.get_char_index(ord(letter))}
            if had:
                # It may have been installed after matplotlib last made its list.
                fontManager.addfont(path)
                families.append(font.family_name)
                left -= had
    return families, left

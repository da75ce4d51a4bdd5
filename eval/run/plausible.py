"""A PSNR that no network of this kind comes to is flagged: it may have seen the HR image."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from statistics import fmean

from eval.data.pairs import SCALE, ImagePair
from eval.data.resize import imresize
from eval.metrics.figures import Flag
from eval.metrics.psnr_ssim import psnr
from eval.records.record import ImageResult

# The best networks of any size gain some 7 dB on Manga109, where there is most to gain.
_MOST_GAIN_DB = 9.0
_REMEMBERED = 1024


def implausible(pairs: Sequence[ImagePair], images: Sequence[ImageResult]) -> Iterator[Flag]:
    """Flag an infinite PSNR of an image, and a mean PSNR too far above that of bicubic enlargement.

    ``images`` are the results of the first ``pairs``.
    """
    judged = [(pair, image.psnr_db) for pair, image in zip(pairs, images, strict=False) if image.psnr_db is not None]
    # Where enlargement alone gives the HR image back, as of one colour, so may a network.
    known = [(pair, its, _bicubic_psnr_db(pair)) for pair, its in judged]
    gains = [its - floor for _, its, floor in known if math.isfinite(its) and math.isfinite(floor)]
    if perfect := [pair.name for pair, its, floor in known if its == math.inf != floor]:
        text = f"returns the HR image itself: {len(perfect)} of {len(judged)} images, {perfect[0]} the first"
        yield Flag(code="psnr", text=text)
    elif gains and (gain_db := fmean(gains)) > _MOST_GAIN_DB:
        text = f"is {gain_db:.1f} dB better than bicubic enlargement; {_MOST_GAIN_DB:g} dB are more than networks gain"
        yield Flag(code="psnr", text=text)


@lru_cache(_REMEMBERED)
def _bicubic_psnr_db(pair: ImagePair) -> float:
    """Return the PSNR of bicubic enlargement; ``inf`` without an HR image, which nothing can be above."""
    lr, hr = pair.read()
    return math.inf if hr is None else psnr(imresize(lr, SCALE), hr)

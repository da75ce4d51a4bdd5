"""Means under the SSIM window, as products with a matrix of its taps, on arrays that stay in the cache.

Of ``BLOCK`` neighbouring means along an axis each is a row of taps, shifted by one, times the ``BLOCK + REACH`` samples
under them. More than half of that matrix is zeros, and its product still takes no longer than a separable filter in
float64, half as long with AVX-512. Each product is so small that BLAS computes it in the caller's thread: it takes no
processor from a network that runs beside it, and its sums have one order whatever the number of threads.
"""

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SSIM_WINDOW = 11
SSIM_TAPS = cv2.getGaussianKernel(SSIM_WINDOW, 1.5)
REACH = SSIM_WINDOW - 1
BLOCK = 8
_DOWN = np.stack([np.pad(SSIM_TAPS[:, 0], (shift, BLOCK - 1 - shift)) for shift in range(BLOCK)])
# In memory of its own: as a view it would be turned anew for each product.
_ACROSS = np.ascontiguousarray(_DOWN.T)


class WindowMeans:
    """Means of several planes of one size under the window, where it lies fully inside; the arrays are used again.

    Attributes:
        samples: ``(planes, rows + REACH, columns + REACH)``, float64, zeros; to be filled before ``take``.
        rows: of the means: the number asked for, rounded up to whole blocks; ``columns`` likewise.
    """

    def __init__(self, planes: int, rows: int, columns: int) -> None:
        self.rows, self.columns = (-(-side // BLOCK) * BLOCK for side in (rows, columns))
        self.samples = np.zeros((planes, self.rows + REACH, self.columns + REACH))
        self._means = np.empty((planes, self.rows, self.columns))
        halfway = np.empty((planes, self.rows, self.columns + REACH))
        # The same memory by blocks, which overlap where they are read: one matrix each.
        windows = sliding_window_view(self.samples, BLOCK + REACH, axis=1)[:, ::BLOCK]
        self._down = windows.swapaxes(2, 3), halfway.reshape(planes, self.rows // BLOCK, BLOCK, self.columns + REACH)
        lines = halfway.reshape(planes * self.rows, self.columns + REACH)
        windows = sliding_window_view(lines, BLOCK + REACH, axis=1)[:, ::BLOCK]
        means = self._means.reshape(len(lines), self.columns // BLOCK, BLOCK)
        self._across = windows.swapaxes(0, 1), means.swapaxes(0, 1)

    def take(self) -> np.ndarray:
        """Return the means of the samples, ``(planes, rows, columns)``; the next call writes over them."""
        samples, halfway = self._down
        np.matmul(_DOWN, samples, out=halfway)
        lines, means = self._across
        np.matmul(lines, _ACROSS, out=means)
        return self._means

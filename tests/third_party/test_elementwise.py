"""Kernels of torch.cuda.jiterator, read as expressions: against the same written in torch."""

import pytest
import torch

from eval.third_party.shims.elementwise import create_jit_fn

X, Y = (torch.randn(3, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
KERNELS = {
    "template <typename T> T gate(T x, T y) { return (x + y) * (1.0f / (1.0f + ::expf(-x)) - 0.5f); }": (
        (X + Y) * (1 / (1 + torch.exp(-X)) - 0.5)
    ),
    "\ntemplate<typename T>\nT f(T x, T y) {\n  return -x * y + x - T(2) * std::tanh(y) / 3e-1f;\n}\n": (
        -X * Y + X - 2 * torch.tanh(Y) / 0.3
    ),
    "template <typename T> T f(T x, T y) { return static_cast<T>(fmaxf(x, 0.0f) + fabsf(y)); }": X.clamp_min(0)
    + Y.abs(),
}


@pytest.mark.parametrize("code", KERNELS)
def test_an_expression_is_what_it_says(code: str):
    torch.testing.assert_close(create_jit_fn(code)(X, Y), KERNELS[code])


def test_arguments_with_defaults():
    kernel = create_jit_fn("template <typename T> T f(T x, T alpha) { return x * alpha; }", alpha=2)
    torch.testing.assert_close(kernel(X), X * 2)
    torch.testing.assert_close(kernel(X, alpha=3), X * 3)


@pytest.mark.parametrize(
    "code",
    [
        "no kernel",
        "template <typename T> T f(T x) { T y = x; return y; }",
        "template <typename T> T f(T x) { return x > 0 ? x : 0; }",
        "template <typename T> T f(T x) { return system(x); }",
        "template <typename T> T f(T x) { return __import__('os'); }",
        "template <typename T> T f(T x) { return z; }",
    ],
)
def test_what_cannot_be_read_fails_when_it_is_called(code: str):
    kernel = create_jit_fn(code)
    with pytest.raises(ImportError, match=r"a kernel of torch.cuda.jiterator is needed that cannot be read here"):
        kernel(X)

"""`--target file.py:function`: a user's own Python, which is run because it is named, and may do
anything.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from .damage import damaged, fuzzed, words
from .sandbox import attempt

SAMPLE = ("--shape", "2", "--num", "2", "--steps", "2", "--warm-up", "2", "--out", "new")
GOOD = "import torch\n\ndef U(x):\n    return (x**2).flatten(1).sum(1) / 2\n"

HEADS = (
    *(
        "",
        "",
        "",
        "import torch\n",
        "from torch import *\n",
        "import nothing_at_all\n",
        "1/0\n",
        "\x00",
        "\ufeff",
        "  x\n",
    ),
    *(
        "raise SystemExit(3)\n",
        "raise KeyboardInterrupt\n",
        "raise BaseException('x')\n",
        "def f(): f()\nf()\n",
    ),
    *(
        "import sys\nsys.exit()\n",
        "event_shape = 3\n",
        "exit()\n",
        "import warnings\nwarnings.warn('loud')\n",
    ),
)
BODIES = (
    *(
        "x.sum()",
        "x",
        "None",
        "x.flatten(1).sum(1)",
        "(x**2).sum(1)",
        "x.sum(1).long()",
        "x.sum(1).tolist()",
        "1/0",
    ),
    *(
        "x.sum(1) * float('nan')",
        "x.sum(1) * float('inf')",
        "-(x**2).sum(1)",
        "(x**2).sum(1).detach()",
        "U(x)",
    ),
    *(
        "(x**2).mean() + (x**2).sum(1)",
        "exec('raise SystemExit')",
        "(x**2).sum(1).double().half()",
        "quit()",
    ),
    *(
        "x.data.fill_(0).sum(1)",
        "x.sum(1).requires_grad_()",
        "[*x.sum(1)]",
        "x.sum(1).numpy()",
        "(x**4).sum(1)",
    ),
    *(
        "x.sum(1)[:, None]",
        "(x**2).sum(1)[:1]",
        "exec('raise KeyboardInterrupt')",
        "exec('raise BaseException')",
    ),
    *(8 * ["(x**2).sum(1) + later(x)"]),
)
LATER = """calls = []
def later(x):
    calls.append(1)
    if len(calls) > {n}: raise {error}
    return 0
"""
ERRORS = (
    *(
        "ValueError('late\\nand long')",
        "RuntimeError('x')",
        "KeyError(1)",
        "MemoryError()",
        "AssertionError",
    ),
    *(
        "Exception('y' * 9999)",
        "SystemExit(4)",
        "KeyboardInterrupt",
        "BaseException('z')",
        "BrokenPipeError",
    ),
)

#: A file of one of these names must not become the module of that name for everybody else.
STEMS = (
    "mine",
    "torch",
    "numpy",
    "stanley",
    "json",
    "os",
    "two words",
    "ünï",
    "1",
    "a.b",
    "__main__",
    "class",
)


@fuzzed(120)
@given(
    st.sampled_from(STEMS),
    st.sampled_from(HEADS),
    st.sampled_from(BODIES),
    st.integers(0, 12),
    st.sampled_from(ERRORS),
    st.sampled_from(
        (["sample"], ["sample"], ["diagnose", "--pairs", "0", "--rays", "2", "--copies", "2"])
    ),
)
def test_a_file_of_any_kind(
    stem: str, head: str, body: str, n: int, error: str, command: list[str]
) -> None:
    text = head + LATER.format(n=n, error=error) + f"\ndef U(x):\n    return {body}\n"
    flags = list(SAMPLE)
    if command[0] == "diagnose":
        flags = ["--shape", "2", "--num", "4", "--steps", "8", "--warm-up", "2", "--out", "new"]
    attempt([*command, "--target", f"{stem}.py:U", *flags], changed={f"{stem}.py": text.encode()})


@fuzzed(20)
@given(damaged(GOOD.encode()))
def test_a_damaged_file(content: bytes) -> None:
    attempt(["sample", "--target", "mine.py:U", *SAMPLE], changed={"mine.py": content})


@fuzzed(40)
@given(words, words, words)
def test_names_and_shapes(name: str, attribute: str, shape: str) -> None:
    for target in (name, f"{name}:{attribute}", f"mine.py:{attribute}"):
        attempt(["sample", "--target", target, *SAMPLE], changed={"mine.py": GOOD.encode()})
    attempt(
        ["sample", "--target", "mine.py:U", *SAMPLE, "--shape", shape],
        changed={"mine.py": GOOD.encode()},
    )

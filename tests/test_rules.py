"""What no source file may do: unpickle, run foreign code, or draw from a generator that nobody handed in."""

import ast
from pathlib import Path

import pytest

from tests.source_code import dotted, imports, name_of, of_every_file

TAKE_A_GENERATOR = {
    f"torch.{name}" for name in ("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial")
}
TAKE_A_GENERATOR_IN_PLACE = {
    "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_",
}  # fmt: skip
GLOBAL_DRAWS = {
    "torch.rand_like", "torch.randn_like", "torch.randint_like", "torch.seed", "torch.manual_seed",
    "torch.initial_seed", "torch.random.manual_seed", "torch.random.seed", "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all", "torch.set_rng_state", "torch.random.set_rng_state",
}  # fmt: skip
NUMPYS_OWN_STREAMS = {"default_rng", "Generator", "RandomState"}
WEIGHTS_ONLY = "torch.load of weights only"
ALLOWED = {
    "condense/store/foreign/plain.py": [WEIGHTS_ONLY],
    "condense/store/exporting/report.py": ["torch.save"],
}
"""The file that reads what other code bases have stored, and the one that writes for them: tensors in plain
containers, nothing else."""
FOREIGN_OBJECTS = {"torch.save", "torch.load", "torch.jit.load", "eval", "exec", "__import__"}


def sins(source: str) -> list[str]:
    """Pickles, and draws from a generator that nobody handed in."""
    tree = ast.parse(source)
    found = [
        module
        for module, _ in imports(tree)
        if module.split(".")[0] in ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "random")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and dotted(node) in GLOBAL_DRAWS:
            found.append(dotted(node))
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        last = node.func.attr if isinstance(node.func, ast.Attribute) else called
        handed_in = any(keyword.arg == "generator" for keyword in node.keywords)
        if called in FOREIGN_OBJECTS:
            kept_to_weights = any(
                keyword.arg == "weights_only" and getattr(keyword.value, "value", None) is True
                for keyword in node.keywords
            )
            found.append(WEIGHTS_ONLY if called == "torch.load" and kept_to_weights else called)
        elif (called in TAKE_A_GENERATOR or last in TAKE_A_GENERATOR_IN_PLACE) and not handed_in:
            found.append(called or last)
        elif "dropout" in last.lower():
            found.append(called or last)
        elif called.startswith(("np.random.", "numpy.random.")) and last not in NUMPYS_OWN_STREAMS:
            found.append(called)
    return found


@of_every_file("condense", "methods")
def test_nothing_is_pickled_and_all_randomness_is_handed_in(path: Path) -> None:
    assert sins(path.read_text()) == ALLOWED.get(name_of(path), [])


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import random",
        "torch.save(x, 'a')",
        "torch.load('a', weights_only=True)",
        "torch.load('a', weights_only=False)",
        "torch.manual_seed(0)",
        "seed = torch.cuda.manual_seed_all",
        "torch.rand(3)",
        "torch.randperm(3)",
        "torch.randn_like(x)",
        "x.normal_()",
        "nn.Dropout(0.5)",
        "np.random.seed(0)",
        "numpy.random.permutation(3)",
        "eval(text)",
    ],
)
def test_the_rule_against_global_randomness_and_pickles_sees_each_form(source: str) -> None:
    assert sins(source)


def test_a_draw_from_a_generator_that_was_handed_in_is_allowed() -> None:
    fine = "torch.rand(3, generator=rng)\nx.normal_(generator=rng)\ntorch.Generator().manual_seed(0)\n"
    assert sins(fine + "np.random.RandomState(0).permutation(3)") == []

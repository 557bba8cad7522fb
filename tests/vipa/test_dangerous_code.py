"""What can run a stranger's code is found wherever it stands; each place that may have it is listed with the reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("ros2_ws/src/vipa", "ros2_ws/src/vipa_sim", "vipa_inference", "vipa_training", "calibration", "launch")
MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
BUILT_IN = {"eval", "exec", "compile", "__import__"}
CALLS = {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "torch.hub.load"}
KEYWORDS = {("shell", True), ("weights_only", False), ("allow_pickle", True), ("trust_remote_code", True)}
ALLOWED = {
    ("vipa_inference/converters/cut3r.py", "import pickle"): "only to name UnpicklingError, which torch.load raises",
    ("vipa_training/hand3d/unpickling.py", "import pickle"): "an Unpickler that builds nothing but arrays and numbers",
}


def dangers(tree: ast.AST) -> Iterator[str]:
    """What a module's code can do that a stranger's input could turn against it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            yield f"import {node.module}"
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            keywords = {(k.arg, k.value.value) for k in node.keywords if isinstance(k.value, ast.Constant)}
            if name in BUILT_IN | CALLS:
                yield name
            if name.endswith("torch.load") and ("weights_only", True) not in keywords:
                yield "torch.load without weights_only=True"
            yield from (f"{key}={value}" for key, value in keywords & KEYWORDS)


def found_in(folder: str) -> set[tuple[str, str]]:
    files = [path for path in (ROOT / folder).rglob("*.py") if "/build/" not in str(path)]
    assert files, folder
    return {
        (str(path.relative_to(ROOT)), danger)
        for path in files
        for danger in dangers(ast.parse(path.read_text(encoding="utf-8")))
    }


def test_nothing_dangerous_stands_where_it_is_not_allowed() -> None:
    found = set[tuple[str, str]]().union(*map(found_in, FOLDERS))
    assert found == set(ALLOWED), "allow it here with a reason, or do without"


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from pickle import loads", "import joblib", "eval('1')", "exec(x)", "__import__(x)",
     "yaml.load(x)", "subprocess.run(x, shell=True)", "torch.load(x)", "torch.load(x, weights_only=False)",
     "np.load(x, allow_pickle=True)", "os.system(x)", "AutoModel.from_pretrained(x, trust_remote_code=True)"],
)  # fmt: skip
def test_each_danger_is_seen(code: str) -> None:
    assert list(dangers(ast.parse(code)))


@pytest.mark.parametrize("code", ["model.eval()", "yaml.safe_load(x)", "subprocess.run(x)", "re.compile(x)",
                                  "torch.load(x, weights_only=True)", "np.load(x, allow_pickle=False)"])  # fmt: skip
def test_what_is_harmless_is_not(code: str) -> None:
    assert not list(dangers(ast.parse(code)))

"""The house rules that a machine can hold: sizes, imports, words, exports, changelog."""

import ast
import importlib
import io
import pkgutil
import re
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import pullback as pb
from pullback import ops
from pullback.core.primitive import Primitive

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "pullback"
MODULES = sorted(SRC.rglob("*.py"))
NAMES = [str(path.relative_to(SRC)) for path in MODULES]
TREES = {name: ast.parse(path.read_text()) for name, path in zip(NAMES, MODULES, strict=True)}

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
MAX_CORE_LINES = 2200
MAX_SCRIPT_LINES = 60
MAX_README_LINES = 150

# Third-party packages that are loaded when first used, each in one file.
OPTIONAL = {"llvmlite", "matplotlib", "optree", "rich", "safetensors", "scipy", "sklearn"}
# Modules that `import pullback` must leave alone.
LAZY = (*sorted(OPTIONAL), "typer", "autograd", "hypothesis", "mpmath")

# Functions that import what is no optional package.
LATE = {
    "__init__.py: __getattr__",  # names of `pullback`, when they are asked for
    "__init__.py: _load_ufuncs_of_scipy",  # when one of them meets a traced array
    "__init__.py: _name_in_scipy",  # when a function of SciPy has read one
    "__init__.py: _product_with_sparse",
    "scipy/__init__.py: __getattr__",  # SciPy's modules, when they are asked for
    "compiler/executable.py: backend",  # what needs LLVM
    "__init__.py: _load_checked",  # the search for NaN, when `compile` is asked for it
    "__init__.py: _load_verified",  # and the comparison with NumPy
    "compiler/runtime/cache.py: own_folder",  # of Python itself, where a folder is not trusted
    # NumPy's modules, when their mirrors are asked for
    "numpy/recording.py: _replacements",  # the names of `pullback.numpy`
    "numpy/twins.py: _mirrored",
    "numpy/twins.py: mirror",
    "numpy/twins.py: submodules",
}

# Words that the glossary replaces by one other word.
BANNED = {"grad_output", "adjoint", "dout", "g", "ctx", "backward_fn", "frule", "rrule", "aval"}
NUMBERED = re.compile(r".*(_v\d+|(jvp|vjp|grad|bind|transpose)_?\d)$")

# Module-level state that changes while the program runs.
MUTABLE = {
    "analysis/liveness.py: _found",  # for as long as a graph lives
    "compiler/executable.py: executables",  # native code, for as long as its graph lives
    "compiler/executable.py: pools",  # threads, for as long as the process lives
    "compiler/options.py: loaders",  # filled while pullback is imported
    "core/primitive.py: registry",  # filled while pullback is imported
    "core/source.py: _is_own",  # remembers which code objects are the user's
    "flow/nonfinite.py: _Hooks",  # checks around transforms, while some context asks for them
    "numpy/twins.py: _globals",  # what NumPy's code sees, made when it is first used
    "numpy/twins.py: _twins",
    "numpy/twins.py: REPLACED",
    "numpy/registry.py: functions",  # filled while pullback is imported
    "numpy/attributes.py: attributes",
    "numpy/registry.py: methods",
    "numpy/registry.py: ufunc_methods",
    "numpy/registry.py: ufuncs",
    "ops/families.py: ufuncs",
    "scipy/ufuncs.py: ufuncs",
}

# Modules without a mirrored test file, and the tests of the family that cover them instead.
COVERED_BY: dict[str, str] = {
    "compiler/backend.py": "tests/compiler/test_executable.py",
    "compiler/llvm/builder.py": "tests/compiler/loops/test_forms.py",
    "compiler/llvm/math/floats.py": "tests/compiler/llvm/math/test_exponential.py",
    "compiler/llvm/math/functions.py": "tests/compiler/llvm/math/test_exponential.py",
    "compiler/llvm/math/powers.py": "tests/compiler/llvm/math/test_exponential.py",
    "compiler/llvm/math/trigonometric.py": "tests/compiler/llvm/math/test_exponential.py",
    "compiler/llvm/scalars.py": "tests/compiler/loops/test_forms.py",
    "compiler/llvm/tiles.py": "tests/compiler/loops/test_products.py",
    "compiler/loops/fused.py": "tests/compiler/schedule/test_groups.py",
    "compiler/loops/integer_products.py": "tests/compiler/loops/test_forms.py",
    "compiler/loops/maps.py": "tests/compiler/schedule/test_build.py",
    "compiler/loops/random.py": "tests/compiler/loops/test_forms.py",
    "compiler/loops/reductions.py": "tests/compiler/schedule/test_groups.py",
    "compiler/loops/sorting.py": "tests/compiler/loops/test_forms.py",
    "compiler/loops/stacks.py": "tests/compiler/loops/test_products.py",
    "compiler/passes/expand.py": "tests/compiler/test_verify.py",
    "compiler/passes/promote.py": "tests/compiler/loops/test_forms.py",
    "compiler/passes/recompute_exact.py": "tests/compiler/schedule/test_build.py",
    "compiler/program/emitter.py": "tests/compiler/test_jit.py",
    "compiler/program/entry.py": "tests/compiler/test_executable.py",
    "compiler/schedule/kernel_key.py": "tests/compiler/schedule/test_build.py",
    "compiler/program/scope.py": "tests/compiler/program/test_control.py",
    "compiler/program/table.py": "tests/compiler/schedule/test_chains.py",
    "compiler/runtime/frame.py": "tests/compiler/test_executable.py",
    "compiler/runtime/lapack.py": "tests/compiler/loops/test_linalg.py",
    "compiler/runtime/stored.py": "tests/compiler/runtime/test_cache.py",
    "compiler/schedule/chunks.py": "tests/compiler/schedule/test_chains.py",
    "compiler/schedule/epilogues.py": "tests/compiler/schedule/test_build.py",
    "compiler/schedule/memory.py": "tests/compiler/test_verify.py",
    "compiler/schedule/pieces.py": "tests/compiler/schedule/test_build.py",
    "compiler/schedule/prologues.py": "tests/compiler/loops/test_prologues.py",
    "compiler/schedule/questions.py": "tests/compiler/schedule/test_build.py",
    "compiler/schedule/scalar_types.py": "tests/compiler/loops/test_forms.py",
    "compiler/schedule/stacks.py": "tests/compiler/loops/test_products.py",
    "compiler/schedule/steps.py": "tests/compiler/test_pipeline.py",
    "compiler/schedule/target.py": "tests/compiler/test_executable.py",
    "compiler/schedule/tiling.py": "tests/compiler/loops/test_products.py",
    "compiler/schedule/windows.py": "tests/compiler/loops/test_convolutions.py",
    "control/call.py": "tests/control/test_scan.py",
    "control/graphs.py": "tests/control/test_scan.py",
    "control/rules.py": "tests/control/test_custom.py",
    "drawing.py": "tests/train/test_run.py",
    "train/reports.py": "tests/train/test_run.py",
    "train/snapshot.py": "tests/train/test_run.py",
    "train/steps.py": "tests/train/test_run.py",
    "optim/adafactor.py": "tests/optim/test_recorded.py",
    "optim/adagrad.py": "tests/optim/test_recorded.py",
    "optim/lion.py": "tests/optim/test_recorded.py",
    "optim/muon.py": "tests/optim/test_recorded.py",
    "optim/schedules.py": "tests/optim/test_recorded.py",
    "numpy/emath.py": "tests/numpy/test_twins.py",
    "numpy/lib.py": "tests/numpy/test_twins.py",
    "numpy/polynomial.py": "tests/numpy/test_twins.py",
    "numpy/random.py": "tests/numpy/test_twins.py",
    "numpy/testing.py": "tests/numpy/test_twins.py",
    "core/scalar.py": "tests/battery/test_battery.py",
    "scipy/filters.py": "tests/scipy/test_ndimage.py",
    "flow/": "tests/flow/test_diagnose.py",
    "ops/": "tests/battery/test_battery.py",
    "testing/": "tests/battery/test_battery.py",
    "transforms/": "tests/transforms/test_derivatives.py",
    "transforms/passes/": "tests/transforms/test_passes.py",
}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def imported(node: ast.AST) -> list[str]:
    """Dotted names that an import statement loads."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


@pytest.mark.parametrize(
    "path",
    [p for d in ("src", "tests", "benchmarks", "examples") for p in (ROOT / d).rglob("*.py")],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_short(name: str) -> None:
    lengths = [(f"{f.name}, line {f.lineno}", code_lines(f)) for f in functions(TREES[name])]
    assert [found for found in lengths if found[1] > MAX_FUNCTION_LINES] == []


def test_the_core_can_be_read_in_one_sitting() -> None:
    core = [*(SRC / "core").rglob("*.py")]
    core += [SRC / "transforms" / f"{name}.py" for name in ("evaluate", "jvp", "vjp")]
    lines = [line for path in core for line in path.read_text().splitlines() if line.strip()]
    assert len(lines) <= MAX_CORE_LINES


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").iterdir()), ids=lambda p: p.name)
def test_scripts_are_short_and_executable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_SCRIPT_LINES
    assert path.stat().st_mode & 0o111


def test_the_readme_is_a_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


def late_imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Functions, and what they import: by statements, or by name."""
    for function in functions(tree):
        for node in ast.walk(function):
            for target in imported(node):
                yield function.name, target
            if isinstance(node, ast.ImportFrom) and node.level:
                yield function.name, "a relative import"
            if isinstance(node, ast.Name | ast.Attribute) and word(node) in IMPORTERS:
                yield function.name, word(node)


IMPORTERS = {"import_module", "__import__"}


def word(node: ast.expr) -> str:
    """The last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def test_only_optional_packages_are_imported_inside_functions() -> None:
    found = {
        f"{name}: {function}"
        for name, tree in TREES.items()
        for function, target in late_imports(tree)
        if target.split(".")[0] not in OPTIONAL
    }
    assert found == LATE


def modules_of(target: str) -> Iterator[str]:
    """The files that are loaded for a dotted name, without those of packages around it."""
    path = target.replace(".", "/").removeprefix("pullback/")
    for candidate in (f"{path}.py", f"{path}/__init__.py"):
        if candidate in TREES:
            yield candidate
            return
    if "/" in path:
        yield from modules_of(target.rpartition(".")[0])


def knowledge() -> dict[str, set[str]]:
    """What each file imports of this package: for annotations only, and late, too."""
    return {
        name: {
            file
            for node in ast.walk(tree)
            for target in imported(node)
            if target.startswith("pullback.")
            for file in modules_of(target)
            if file != name
        }
        for name, tree in TREES.items()
    }


def test_files_do_not_know_each_other_in_circles() -> None:
    waiting = knowledge()
    while free := {name for name, known in waiting.items() if known.isdisjoint(waiting)}:
        waiting = {name: known for name, known in waiting.items() if name not in free}
    assert waiting == {}, "circles, and what imports them"


def test_an_optional_package_is_imported_in_one_file() -> None:
    files = defaultdict(set)
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            for target in imported(node):
                top, *rest = target.split(".")
                if top in OPTIONAL:
                    # llvmlite has two halves: the builder of text and the machine behind it.
                    files[f"{top}.{rest[0]}" if top == "llvmlite" and rest else top].add(name)
    del files["scipy"]  # a library of algorithms, called wherever one is needed
    del files["sklearn"]  # its data sets, and the classes that its estimators inherit
    assert {package: sorted(names) for package, names in files.items() if len(names) > 1} == {}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_those_of_the_glossary(name: str) -> None:
    text = (SRC / name).read_text()
    used = {
        token.string
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.NAME
    }
    assert sorted(used & BANNED) == []
    assert sorted(word for word in used if NUMBERED.fullmatch(word)) == []


# Files outside of ops/ that list operations by name, and why they may.
# A property of operations is a trait of the primitive instead (core/primitive.py).
LISTS_OPERATIONS = {
    "compiler/executable.py": "the errors that NumPy raises for them",
    "compiler/llvm/math/functions.py": "functions of math.h, which have such names too",
    "compiler/llvm/math/powers.py": "functions of math.h",
    "compiler/loops/forms.py": "which emitter writes the loops of which operation",
    "compiler/loops/reductions.py": "a fault of LLVM with infinities",
    "compiler/passes/planes.py": "the same operations on parts of complex numbers",
    "compiler/passes/recompute_stacks.py": "what the pass rewrites",
    "compiler/passes/sink_reshapes.py": "what the pass rewrites",
    "compiler/passes/split_complex.py": "what the pass rewrites",
    "compiler/schedule/memory.py": "which outputs start from an operand",
    "compiler/schedule/questions.py": "moves, extremes, passes over memory",
    "compiler/schedule/recompute.py": "what runs in tiles",
    "compiler/schedule/scratch.py": "working memory of their kernels",
    "control/graphs.py": "views of residuals",
    "explanation/formula.py": "how operations are written",
    "flow/evidence.py": "what users are told about them",
    "flow/nonfinite.py": "what users are told about them",
    "flow/structure.py": "what users are told about them",
    "flow/why.py": "what users are told about them",
    "transforms/passes/simplify.py": "what the pass rewrites",
    "transforms/strides.py": "how NumPy lays out their results",
}


def operations() -> set[str]:
    """The names of the primitives that are defined in ops/."""
    names = [module.name for module in pkgutil.iter_modules(ops.__path__, "pullback.ops.")]
    found = [value for name in names for value in vars(importlib.import_module(name)).values()]
    return {value.name for value in found if isinstance(value, Primitive)}


OPERATIONS = operations()


def lists_of_operations(tree: ast.Module) -> list[list[str]]:
    """Sets, tuples, lists and keys of tables that are nothing but names of operations."""
    found = []
    for node in ast.walk(tree):
        parts = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", ())
        words = [getattr(part, "value", None) for part in parts]
        if len(words) > 1 and all(isinstance(w, str) and w in OPERATIONS for w in words):
            found.append(words)
    return found


def test_operations_are_listed_where_they_are_defined() -> None:
    found = {n for n, t in TREES.items() if not n.startswith("ops/") and lists_of_operations(t)}
    assert found == set(LISTS_OPERATIONS)


def exports(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if getattr(targets[0], "id", "") == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def bindings(tree: ast.Module) -> set[str]:
    """Names bound at the top of a module."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
    return names


# A module of operations exports what it registers; a second list of them would only drift.
@pytest.mark.parametrize(
    "name", [n for n in NAMES if not n.endswith("__init__.py") and not n.startswith("ops/")]
)
def test_every_module_says_what_it_exports(name: str) -> None:
    exported = exports(TREES[name])
    assert exported is not None, "no __all__"
    assert len(exported) == len(set(exported))
    assert set(exported) <= bindings(TREES[name])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_exported_is_documented(name: str) -> None:
    tree = TREES[name]
    assert ast.get_docstring(tree), "no module docstring"
    public = set(exports(tree) or ())
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and node.name in public
        and not ast.get_docstring(node)
    ]
    assert bare == []


MUTATORS = {"add", "append", "clear", "extend", "insert", "pop", "remove", "setdefault", "update"}


def mutated_names(tree: ast.Module) -> set[str]:
    """Module-level names that code inside functions changes, judged without running it."""
    top = bindings(tree)
    changed: set[str] = set()
    for function in functions(tree):
        local = {arg.arg for arg in ast.walk(function) if isinstance(arg, ast.arg)}
        local |= {
            node.id
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                changed |= set(node.names)
            target: ast.expr | None = None
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
                target = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                target = node.func.value if node.func.attr in MUTATORS else None
            # np.insert is a function, not a change of np
            if isinstance(target, ast.Name) and target.id in top - local - {"np"}:
                changed.add(target.id)
    return changed


def test_global_state_is_listed() -> None:
    found = {f"{name}: {word}" for name in NAMES for word in mutated_names(TREES[name])}
    assert found == MUTABLE


def test_exceptions_are_files_and_families_of_today() -> None:
    folders = {f"{Path(name).parent}/" for name in NAMES}
    assert set(COVERED_BY) <= folders | set(NAMES)
    assert not any(key.startswith("compiler/") and key.endswith("/") for key in COVERED_BY)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.endswith("__init__.py")])
def test_every_module_has_tests(name: str) -> None:
    module = Path(name)
    mirror = ROOT / "tests" / module.parent / f"test_{module.name}"
    family = COVERED_BY.get(name) or COVERED_BY.get(f"{module.parent}/")
    assert mirror.exists() or (family and (ROOT / family).exists()), f"no {mirror}"
    assert not (mirror.exists() and name in COVERED_BY), f"{name} has tests of its own"


def test_importing_pullback_loads_nothing_optional() -> None:
    code = "import sys, pullback; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert sorted(set(loaded) & set(LAZY)) == []


def test_every_export_of_the_package_exists_and_is_documented() -> None:
    for name in pb.__all__:
        assert getattr(pb, name).__doc__, name


@pytest.mark.parametrize(
    "path",
    [p for p in sorted((ROOT / "changelog.d").iterdir()) if p.name != "README.md"],
    ids=lambda p: p.name,
)
def test_changelog_fragments_are_well_formed(path: Path) -> None:
    assert re.fullmatch(r"[a-z0-9-]+\.(added|changed|fixed|removed)\.md", path.name)
    text = path.read_text()
    assert text.endswith(".\n")
    assert len(text.splitlines()) <= 5
    assert not text.startswith(("-", "#", " "))


def test_the_changelog_knows_the_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == pb.__version__
    assert f"version {pb.__version__}" in (ROOT / "README.md").read_text()

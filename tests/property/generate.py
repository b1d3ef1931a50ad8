"""Random programs: every line is run by NumPy as it is written, and kept if NumPy accepts it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable

import numpy as np
from tests.property.programs import LAYOUTS, PRELUDE, Expression, Input, Line, Program

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 33, 65)
DTYPES = ("float64",) * 6 + ("float32",) * 4 + ("int64", "int32", "int64", "bool", "bool", "uint8")
LONG = (1025, 2049, 2500, 4100)  # several blocks of a sum
MOST = 12_500  # elements of a value


def is_short(v: np.ndarray) -> bool:
    """Whether no rounding has touched the numbers, so that a jump is at the same place for all."""
    if v.dtype.kind != "f":
        return True
    with np.errstate(all="ignore"):
        finite = np.where(np.isfinite(v), v, 0)
        return bool(np.all(np.abs(finite) <= 64) and np.all(finite * 16 == np.rint(finite * 16)))


def is_tame(v: np.ndarray) -> bool:
    """Whether a square of a square is far from overflow."""
    return v.dtype.kind != "f" or float(np.max(np.abs(v), initial=0, where=np.isfinite(v))) < 1e3


class Writer:
    """Writes one expression. ``values`` has all names written so far."""

    def __init__(self, rng: random.Random, inputs: dict[str, np.ndarray], names: dict) -> None:
        self.rng = rng
        self.values = dict(inputs)
        self.names = names
        self.lines: list[Line] = []

    def write(self, template: str, *operands: str) -> bool:
        """Append a line, unless NumPy refuses it or the value is too large or of another type."""
        line = Line(template, operands)
        try:
            value = eval(str(line), self.names, self.values)
        except (ValueError, IndexError, TypeError, OverflowError, np.linalg.LinAlgError, Warning):
            return False
        value = np.asarray(value)
        if value.size > MOST or value.dtype.name not in DTYPES or value.ndim > 5:
            return False
        self.values[f"v{len(self.lines)}"] = value
        self.lines.append(line)
        return True

    def pick(self, kinds: str = "fiub", test: Callable = lambda v: True, n_axes: int = 0) -> str:
        """The name of a value, a late one more often; KeyError if there is none."""
        fit = [
            name
            for name, v in self.values.items()
            if v.dtype.kind in kinds and v.ndim >= n_axes and test(v)
        ]
        if not fit:
            raise KeyError(kinds)
        if fit[-1][0] == "v" and self.rng.random() < 0.8:
            return fit[-1]
        return self.rng.choice(fit)

    def partner(self, name: str, kinds: str = "fiub", test: Callable = lambda v: True) -> str:
        """A value that broadcasts with ``name``."""
        shape = self.values[name].shape

        def fits(v: np.ndarray) -> bool:
            pairs = zip(reversed(shape), reversed(v.shape), strict=False)
            return all(a == b or 1 in (a, b) for a, b in pairs) and test(v)

        fit = [n for n, v in self.values.items() if v.dtype.kind in kinds and fits(v)]
        if not fit:
            raise KeyError(kinds)
        return self.rng.choice(fit)

    def axis(self, name: str) -> int:
        n = self.values[name].ndim
        return self.rng.randrange(-n, n)

    def axes(self, name: str) -> int | tuple[int, ...] | None:
        n = self.values[name].ndim
        if n == 0 or self.rng.random() < 0.25:
            return None
        if self.rng.random() < 0.6:
            return self.axis(name)
        return tuple(self.rng.sample(range(n), self.rng.randint(1, n)))

    def key(self, shape: tuple[int, ...]) -> str:
        """A NumPy key of slices and numbers, with at most one array."""
        rng, parts, arrays = self.rng, [], 0
        for n in shape:
            kind = rng.choice(["slice", "slice", "slice", ":", "int", "array", "new", "stop"])
            if kind == "stop":
                break
            if kind == "int" and n:
                parts.append(str(rng.randrange(-n, n)))
            elif kind == "array" and n and not arrays:
                arrays = 1
                size = rng.choice([(), (2,), (5,), (2, 3), (0,)])
                flat = [rng.randrange(-n, n) for _ in range(int(np.prod(size)))]
                parts.append(f"np.array({flat}, int).reshape({size})")
            elif kind == "new":
                parts += ["None", ":"]
            elif kind == "slice":
                start, stop = (rng.choice([None, rng.randint(-n, n)]) for _ in range(2))
                parts.append(f"slice({start}, {stop}, {rng.choice([None, 1, 2, 3, -1, -2])})")
            else:
                parts.append(":")
        if rng.random() < 0.1 and len(parts) < len(shape):
            parts.insert(rng.randint(0, len(parts)), "...")
        return ", ".join(parts) or "..."


# -- one function a family -----------------------------------------------------------------------
SMOOTH = [
    "sin",
    "cos",
    "tanh",
    "arctan",
    "arcsinh",
    "exp(-np.abs({0}))",
    "exp(np.minimum({0},3.0))",
    "expm1(np.minimum({0},3.0))",
    "log1p(np.abs({0}))",
    "log(np.abs({0})+0.5)",
    "sqrt(np.abs({0}))",
    "cbrt",
    "exp2(np.minimum({0},4.0))",
    "log2(np.abs({0})+0.25)",
    "log10(np.abs({0})+0.125)",
    "tan(np.clip({0},-1.2,1.2))",
    "sinh(np.clip({0},-3.0,3.0))",
    "cosh(np.clip({0},-3.0,3.0))",
    "arcsin(np.clip({0},-0.9,0.9))",
    "arccos(np.clip({0},-0.9,0.9))",
    "arctanh(np.clip({0},-0.8,0.8))",
    "arccosh(np.abs({0})+1.5)",
    "reciprocal(np.abs({0})+0.5)",
    "sqrt",
    "log",
    "exp",
]
EXACT = [
    "-{0}",
    "np.abs({0})",
    "{0}*0.5",
    "{0}+1",
    "2-{0}",
    "{0}*3",
    "np.clip({0},-2,2)",
    "np.maximum({0},0)",
    "1.5-{0}*{0}",
    "np.square({0})",
    "{0}**2",
    "{0}**3",
    "np.where({0}>0,{0},0.25*{0})",
    "np.minimum({0},1.5)",
    "+{0}",
]
JUMPS = [
    "np.signbit(np.nan_to_num({0}))",
    "np.floor({0})",
    "np.ceil({0})",
    "np.rint({0})",
    "np.trunc({0})",
    "np.sign({0})",
    "{0}>0.5",
    "{0}!=0",
    "{0}<=-1",
    "np.round({0})",
    "np.heaviside({0},0.5)",
    "np.nan_to_num({0})",
]
PAIRS = [
    "{0}+{1}",
    "{0}-{1}",
    "{0}*{1}",
    "np.maximum({0},{1})",
    "np.minimum({0},{1})",
    "np.fmax({0},{1})",
    "np.fmin({0},{1})",
]
SMOOTH_PAIRS = [
    "{0}/(np.abs({1})+0.5)",
    "{0}/{1}",
    "np.arctan2({0},{1})",
    "np.hypot({0},{1})",
    "np.logaddexp({0},{1})",
    "(np.abs({0})+0.5)**np.clip({1},-2,2)",
    "{0}/(1+{1}*{1})",
]
COMPARED = [
    "{0}<{1}",
    "{0}<={1}",
    "{0}>{1}",
    "{0}>={1}",
    "{0}=={1}",
    "{0}!={1}",
    "{0}//{1}",
    "{0}%{1}",
    "np.fmod({0},{1})",
    "np.copysign({0},np.nan_to_num({1}))",
]
BITS = [
    "{0}&{1}",
    "{0}|{1}",
    "{0}^{1}",
    "{0}<<({1}&7)",
    "{0}>>({1}&7)",
    "{0}//({1}|1)",
    "{0}%({1}|1)",
    "{0}//{1}",
]
LOGIC = [
    "{0}&{1}",
    "{0}|{1}",
    "{0}^{1}",
    "np.logical_and({0},{1})",
    "np.logical_or({0},{1})",
    "{0}==~{1}",
]
TESTS = ["np.isnan", "np.isfinite", "np.isinf", "np.logical_not"]


def smooth(w: Writer) -> bool:
    name = w.rng.choice(SMOOTH)
    x = w.pick("fi", is_tame)
    return w.write(f"np.{name}" if "{0}" in name else f"np.{name}({{0}})", x)


def exact(w: Writer) -> bool:
    return w.write(w.rng.choice(EXACT), w.pick("fi", is_tame))


def jump(w: Writer) -> bool:
    return w.write(w.rng.choice(JUMPS), w.pick("f", is_short))


def pair(w: Writer) -> bool:
    x = w.pick("fiub", is_tame)
    return w.write(w.rng.choice(PAIRS), x, w.partner(x, "fiub", is_tame))


def smooth_pair(w: Writer) -> bool:
    x = w.pick("fi", is_tame)
    return w.write(w.rng.choice(SMOOTH_PAIRS), x, w.partner(x, "f", is_tame))


def compared(w: Writer) -> bool:
    x = w.pick("fi", is_short)
    return w.write(w.rng.choice(COMPARED), x, w.partner(x, "fi", is_short))


def bits(w: Writer) -> bool:
    x = w.pick("i")
    return w.write(w.rng.choice(BITS), x, w.partner(x, "i"))


def logic(w: Writer) -> bool:
    if w.rng.random() < 0.3:
        return w.write(f"{w.rng.choice(TESTS)}({{0}})", w.pick("f"))
    x = w.pick("b")
    return w.write(w.rng.choice([*LOGIC, "~{0}"]), x, w.partner(x, "b"))


def where(w: Writer) -> bool:
    x = w.pick("fi")
    template = "np.where({2}, {0}, {1})"
    if w.rng.random() < 0.3:
        return w.write(template.replace("{1}", "0.5"), x, x, w.partner(x, "b"))
    return w.write(template, x, w.partner(x, "fi"), w.partner(x, "b"))


def cast(w: Writer) -> bool:
    target = w.rng.choice(["float64", "float32", "int64", "int32", "bool"])
    jumps = target[0] in "ib"
    fits = (lambda v: is_short(v) and bool(np.all(np.isfinite(v)))) if jumps else lambda v: True
    return w.write(f"{{0}}.astype(np.{target})", w.pick(test=fits))


def reduction(w: Writer) -> bool:
    kinds = w.rng.choice(["sum mean max min prod var sum max pnp.logsumexp std", "argmax argmin"])
    name = w.rng.choice(kinds.split())
    if name.startswith("arg"):
        x = w.pick("fi", is_short, 1)
        return w.write(f"np.{name}({{0}}, axis={w.rng.choice([None, w.axis(x)])})", x)
    kinds = {"prod": "fib", "sum": "fiub", "max": "fiub", "min": "fiub"}.get(name, "f")
    x = w.pick(kinds, is_tame)
    name = name if "." in name else f"np.{name}"
    keep = w.rng.choice(["", ", keepdims=True"])
    return w.write(f"{name}({{0}}, axis={w.axes(x)}{keep})", x)


def channels(w: Writer) -> bool:
    """Folds of all axes but one, and maps with what they give."""
    x = w.pick("f", is_tame, 3)
    n = w.values[x].ndim
    kept = w.rng.randrange(n)
    gone = tuple(k for k in range(n) if k != kept)
    centered = f"({{0}} - np.mean({{0}}, {gone}, keepdims=True))"
    choices = [
        f"{centered} / (1 + np.max(np.abs({{0}}), {gone}, keepdims=True))",
        f"np.sum(np.tanh({centered}) ** 2, {gone})",
        f"np.arctan({centered} * (1 + np.sum({{0}} * {{0}}, {gone}, keepdims=True)))",
    ]
    return w.write(w.rng.choice(choices), x)


def truth(w: Writer) -> bool:
    x = w.pick("bi")
    return w.write(
        f"np.{w.rng.choice(['any', 'all', 'count_nonzero'])}({{0}}, axis={w.axes(x)})", x
    )


def moved(w: Writer) -> bool:
    x = w.pick(n_axes=1)
    shape = w.values[x].shape
    n, rng = len(shape), w.rng
    order = tuple(rng.sample(range(n), n))
    i = w.axis(x)
    choices = [
        f"np.transpose({{0}}, {order})",
        "{0}.T",
        "np.reshape({0}, -1)",
        f"np.expand_dims({{0}}, {rng.randint(0, n)})",
        f"np.flip({{0}}, {i})",
        f"np.roll({{0}}, {rng.randint(-5, 5)}, {i})",
        f"np.repeat({{0}}, {rng.randint(0, 3)}, {i})",
        f"np.tile({{0}}, {rng.choice([2, (1, 2), (2, 1)])})",
        f"np.swapaxes({{0}}, 0, {i})",
        "np.squeeze({0})",
        f"np.broadcast_to({{0}}, {(rng.randint(1, 3), *shape)})",
        f"np.pad({{0}}, {rng.choice([1, (0, 2), (3, 1)])})",
        f"np.diff({{0}}, axis={i})",
        f"np.reshape({{0}}, {(*shape[:-2], int(np.prod(shape[-2:])))})",
        f"np.reshape({{0}}, {regrouped(rng, shape)})",
    ]
    if n >= 2:
        choices += [f"np.{f}({{0}}, {rng.randint(-1, 1)})" for f in ("tril", "triu", "diagonal")]
    return w.write(rng.choice(choices), x)


def regrouped(rng: random.Random, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Other lengths with the same product."""
    size, new = int(np.prod(shape)), []
    for _ in range(rng.randint(0, 3)):
        n = rng.choice([d for d in (1, 2, 3, 4, 5, 7, 13) if size % d == 0])
        size //= n
        new.append(n)
    return (*new, size) if rng.random() < 0.5 else (size, *new)


def read(w: Writer) -> bool:
    x = w.pick(n_axes=1)
    return w.write(f"{{0}}[{w.key(w.values[x].shape)}]", x)


def written(w: Writer) -> bool:
    x = w.pick("fi", n_axes=1)
    key = w.key(w.values[x].shape)
    kind = w.values[x].dtype.kind
    y = w.pick(kind, lambda v: v.dtype == w.values[x].dtype)
    value = w.rng.choice(["{1}", "0.5" if kind == "f" else "2", "{0}" + f"[{key}]*2"])
    how = w.rng.choice(["put", "put_more"])
    return w.write(f"{how}({{0}}, np.s_[{key}], {value})", x, y)


def gathered(w: Writer) -> bool:
    """Index arrays that are values of the program."""
    x = w.pick("fib", n_axes=1)
    i = w.pick("i", lambda v: 0 < v.size < 200)
    axis = w.axis(x)
    n = w.values[x].shape[axis]
    if w.rng.random() < 0.5:
        return w.write(f"np.take({{0}}, {{1}} % {n}, axis={axis})", x, i)
    n = w.values[x].shape[0]
    if w.rng.random() < 0.5:
        return w.write(f"{{0}}[{{1}} % {n} - {n}]", x, i)
    if w.values[x].dtype.kind == "b":
        return False
    return w.write(f"put_more({{0}}, {{1}} % {n}, {w.rng.choice([1, 2])})", x, i)


def joined(w: Writer) -> bool:
    x = w.pick(n_axes=1)
    shape, axis = w.values[x].shape, w.axis(x) % w.values[x].ndim
    rest = lambda s: s[:axis] + s[axis + 1 :]
    y = w.pick(test=lambda v: v.ndim == len(shape) and rest(v.shape) == rest(shape))
    if w.values[y].shape == shape and w.rng.random() < 0.4:
        return w.write(f"np.stack([{{0}}, {{1}}], {axis})", x, y)
    part = w.rng.choice(["{0}[:1]", "{0}[::-1]", "{0}", "{0}[1:]"]) if axis == 0 else "{0}"
    return w.write(f"np.concatenate([{{0}}, {{1}}, {part}], {axis})", x, y)


def is_factor(v: np.ndarray) -> bool:
    """Whether BLAS gives what IEEE 754 does: it may skip 0 times infinity."""
    return v.size < 3000 and is_tame(v) and bool(np.all(np.isfinite(v)))


def product(w: Writer) -> bool:
    x = w.pick("fi", is_factor, 1)
    shape, dtype = w.values[x].shape, w.values[x].dtype
    kind = w.rng.choice(["matmul", "matmul", "gram", "einsum", "outer", "dot"])
    if len(shape) in (3, 4) and dtype.kind == "f" and w.rng.random() < 0.4:
        window = ", ".join(w.rng.choice([":2", "1:4"]) for _ in shape[2:])
        padding = w.rng.choice(["0", "1", "'same'"])
        return w.write(f"pb.nn.conv({{0}}, {{0}}[:3, :, {window}], padding={padding})", x)
    if kind == "gram":
        return w.write(w.rng.choice(["{0} @ {0}.T", "{0}.T @ {0}"]), x)
    same = lambda v: v.dtype == dtype and is_factor(v)
    if kind == "outer":
        y = w.pick("fi", lambda v: same(v) and v.ndim == 1)
        return w.write("np.outer({0}, {1})", x, y)
    if kind == "einsum":
        y = w.pick("fi", lambda v: same(v) and v.shape == shape, 1)
        return w.write(
            w.rng.choice(["np.einsum('...i,...i->...', {0}, {1})", "{0} @ {1}.mT"]), x, y
        )
    if kind == "dot":
        y = w.pick("fi", lambda v: same(v) and v.ndim and v.shape[-1] == shape[-1], 1)
        return w.write("np.inner({0}, {1})", x, y)
    y = w.pick("fi", lambda v: same(v) and v.shape[-2:][0] == shape[-1], 1)
    return w.write("{0} @ {1}", x, y)


def ordered(w: Writer) -> bool:
    x = w.pick("fi", n_axes=1)
    kind = w.rng.choice(["cumsum", "cumsum", "sort", "argsort", "search", "cumprod", "median"])
    if kind == "search":
        table = w.pick("f", lambda v: v.ndim == 1 and is_short(v), 1)
        y = w.pick("f", lambda v: is_short(v) and v.dtype == w.values[table].dtype)
        side = w.rng.choice(["left", "right"])
        return w.write(f"np.searchsorted(np.sort({{0}}), {{1}}, side={side!r})", table, y)
    if kind == "argsort":
        x = w.pick("fi", is_short, 1)
        return w.write(f"np.argsort({{0}}, axis={w.axis(x)}, kind='stable')", x)
    return w.write(f"np.{kind}({{0}}, axis={w.axis(x)})", x)


def control(w: Writer) -> bool:
    x = w.pick("f", is_tame, 1)
    shape = w.values[x].shape
    choices = [
        "running({0})[0]",
        "running({0})[1]",
        "turned({0})[0]",
        "each({0})",
        "turned({0})[1]",
        "pb.cond(np.sum({0}) > 0, lambda a: a * 2, lambda a: np.sin(a), {0})",
        "pb.cond({0}.size > 3, np.cos, np.negative, {0})",
        "pb.checkpoint(lambda a: np.tanh(a) * a)({0})",
        "pb.vmap(lambda row: row - np.sum(row))({0})",
        "np.where({0} > 9, 0, pb.vmap(np.cumsum)({0}))",
    ]
    if len(shape) == 2 and 0 < shape[1] < 9:
        choices += [f"np.linalg.solve({{0}}.T @ {{0}} + 3 * np.eye({shape[1]}), {{0}}.T)"] * 3
    return w.write(w.rng.choice(choices), x)


FAMILIES = {
    smooth: 12,
    exact: 10,
    jump: 4,
    pair: 16,
    smooth_pair: 6,
    compared: 5,
    bits: 4,
    logic: 4,
    where: 5,
    cast: 4,
    reduction: 14,
    channels: 3,
    truth: 2,
    moved: 12,
    read: 9,
    written: 5,
    gathered: 4,
    joined: 6,
    product: 8,
    ordered: 6,
    control: 3,
}


def expression(rng: random.Random, inputs: dict[str, np.ndarray], names: dict) -> Expression:
    w = Writer(rng, inputs, names)
    n_lines = rng.choice([1, 2, 2, 3, 3, 4, 5, 6])
    families, weights = list(FAMILIES), list(FAMILIES.values())
    for _ in range(50):
        if len(w.lines) == n_lines:
            break
        try:
            rng.choices(families, weights)[0](w)
        except KeyError:  # no value fits
            continue
    result = f"v{len(w.lines) - 1}"
    e = Expression(tuple(w.lines), result)
    floats = [n for n in e.inputs() if inputs[n].dtype.kind == "f"]
    if floats and w.values[result].dtype.kind == "f" and rng.random() < 0.25:
        return Expression(e.lines, result, rng.choice(floats))
    return e


def program(seed: int, n_expressions: int) -> Program:
    """The program of a number: the same in every run."""
    rng = random.Random(seed)
    a, b, c = rng.sample(SIZES, 3)
    if rng.random() < 0.1:
        a, b = rng.choice(LONG), rng.choice((1, 2, 3))
    shapes = [(), (a,), (b,), (a, b), (a, b), (b, a), (1, b), (a, 1), (a, b), (b, b)]
    shapes += [(c,), (b, c), rng.choice([(2, a, b), (a, 3, b), (c, 1, a), (2, 2, a, 3)])]
    shapes += [rng.choice([(0,), (0, a), (b, 0), (a,), (a, b), (a, b)])]
    special = rng.random() < 0.2
    inputs = {}
    for k, shape in enumerate(shapes):
        layout = rng.choice(LAYOUTS) if shape and rng.random() < 0.3 else "C"
        dtype = rng.choice(DTYPES) if k else "float64"
        inputs[f"a{k}"] = Input(shape, dtype, rng.randrange(10**6), special, layout)
    names: dict = {}
    exec(PRELUDE, names)
    values = {name: eval(str(x), names) for name, x in inputs.items()}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        expressions = [expression(rng, values, names) for _ in range(n_expressions)]
    return Program(inputs, tuple(expressions), rng.choice([300, 100_000, 1000, 100_000]))

"""A program that watches another: source that runs in the jail beside the function whose tests are to be chosen.

In: a function taken out of its project, or a mutant of it, and its recorded calls. Out: source with two functions:
* items(number) gives the items of the iterator that a call gives;
* observe(number, watch) makes a call and gives {"outcome": ..., "arcs": [[code, from, to], ...], "branches":
  [[code, from], ...], "reads": [...]}. outcome: plain data, equal where a test's assertions cannot tell two outcomes.
  watch: arcs between bytecode instructions of the function's own code, and what it reads of the world, are noted, too.
"""

from __future__ import annotations

from megatron_codex.problems.assertions import call_source
from megatron_codex.problems.extract import ExtractedFunction

OBSERVE, ITEMS = "observe", "items"
MAX_ITEMS = 200
"""Of an iterator that may become a test's expected items."""


class Observed:
    """The calls of one function, beside which any version of it can be run."""

    def __init__(self, function: ExtractedFunction) -> None:
        """Raises: NotPlainData for a malformed example."""
        imports: set[str] = set()
        calls = [call_source(example, imports) for example in function.examples]
        names = "".join(sorted(imports)) + "".join(f"call_{number} = {call}\n" for number, call in enumerate(calls))
        self._end = (
            f"_CALLS = dict(vars(_PROGRAM))\nexec({function.test_context + names!r}, _CALLS)\n"
            f"_NAME, _LINES = {function.entry_point!r}, {_lines_of(function)!r}\n"
        )

    def source(self, program: str) -> str:
        """program: the function's source or a mutant's."""
        return f"MAX_ITEMS = {MAX_ITEMS}\n{_WATCH}\n_PROGRAM = load({program!r})\n{self._end}"


def _lines_of(function: ExtractedFunction) -> tuple[int, int]:
    """First and last line of signature, docstring and body in the program."""
    return function.context.count("\n") + 1, function.source.count("\n")


_WATCH = '''\
import enum, itertools, sys, types

MAX_DEPTH = 20
CLOCK = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "localtime",
         "gmtime", "ctime", "mktime", "strftime", "tzset"}
TODAY = {"now", "utcnow", "today"}
PATHS = {"fspath", "_path_normpath", "_path_splitroot", "strerror", "WEXITSTATUS"}
MACHINE = {"getcwd", "getcwdb", "getpid", "getppid", "getuid", "uname", "cpu_count", "getlogin", "sched_getaffinity"}


def load(source):
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    exec(compile(source, "<program>", "exec", dont_inherit=True), module.__dict__)
    return module


def call(number):
    function = _PROGRAM.__dict__[_NAME.split(".")[0]]
    for part in _NAME.split(".")[1:]:
        function = getattr(function, part)
    return function, *_CALLS[f"call_{number}"]()


def items(number):
    function, args, kwargs = call(number)
    return list(itertools.islice(function(*args, **kwargs), MAX_ITEMS + 1))


def observe(number, watch=False):
    function, args, kwargs = call(number)
    eyes = Eyes()
    try:
        if watch:
            import dis  # here, as it costs more than most calls
            eyes.instructions, eyes.jumps = dis.get_instructions, frozenset(dis.hasjrel)
            eyes.open()
        outcome = ["value", function(*args, **kwargs)]
        if hasattr(type(outcome[1]), "__next__"):
            outcome = ["value", list(itertools.islice(outcome[1], MAX_ITEMS))]
    except Exception as error:
        outcome = ["raised", [kind.__name__ for kind in type(error).__mro__]]
    finally:
        eyes.close()
    plain = [outcome[0], as_data(outcome[1]), as_data([*args, *kwargs.values()])]
    return {"outcome": plain, "arcs": sorted(eyes.arcs), "branches": sorted(eyes.branches), "reads": sorted(eyes.reads)}


def as_data(value, depth=0):
    kind = type(value)
    if depth > MAX_DEPTH or value is None or kind in (bool, int, float, complex, str, bytes, bytearray, range):
        return None if depth > MAX_DEPTH else value
    if isinstance(value, enum.Enum):
        return ("member", kind.__name__, value.name)
    for base in (int, float, str, bytes):
        if isinstance(value, base):
            return base(value)
    for base in (list, tuple):
        if isinstance(value, base):
            return base(as_data(item, depth + 1) for item in base.__iter__(value))
    if isinstance(value, dict):
        pairs = [(as_data(key, depth + 1), as_data(item, depth + 1)) for key, item in dict.items(value)]
        return ("dict", sorted(pairs, key=repr))
    if isinstance(value, (set, frozenset)):
        return ("set", sorted((as_data(item, depth + 1) for item in value), key=repr))
    if hasattr(kind, "__next__"):
        return ("iterator", [as_data(item, depth + 1) for item in itertools.islice(value, MAX_ITEMS)])
    if callable(value):
        return ("callable", getattr(value, "__name__", kind.__name__))
    if kind.__name__ == "ndarray":
        return ("array", str(value.dtype), as_data(value.tolist(), depth + 1))
    if kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__:
        return (kind.__name__, as_data(object.__reduce_ex__(value, 2)[2], depth + 1))
    return (kind.__name__, repr(value).partition(" at 0x")[0])


class Eyes:
    """Trace and profile functions, for as long as one call lasts."""

    def __init__(self):
        self.arcs, self.branches, self.reads, self.codes = set(), set(), set(), {}

    def open(self):
        sys.setprofile(self.profile)
        sys.settrace(self.trace)

    def close(self):
        sys.settrace(None)
        sys.setprofile(None)

    def trace(self, frame, event, argument):
        code = frame.f_code
        if code.co_filename != "<program>" or not _LINES[0] <= code.co_firstlineno <= _LINES[1]:
            return None
        if code not in self.codes:
            self.codes[code] = f"{code.co_firstlineno}:{code.co_qualname}"
            for each in self.instructions(code):
                if each.opcode in self.jumps and ("IF" in each.opname or each.opname == "FOR_ITER"):
                    self.branches.add((self.codes[code], each.offset))
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        last = -1

        def step(frame, event, argument):
            nonlocal last
            if event == "opcode":
                self.arcs.add((self.codes[code], last, frame.f_lasti))
                last = frame.f_lasti
            return step

        return step

    def profile(self, frame, event, argument):
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib") or file.endswith(("linecache.py", "logging/__init__.py")):
            return
        if event == "call":
            name = frame.f_code.co_qualname
            if file.endswith(("/os.py", "<frozen os>")) and name in ("getenv", "_Environ.__getitem__"):
                self.reads.add("the environment")
            elif file.endswith("/random.py") and name == "Random.seed" and frame.f_locals.get("a") is None:
                self.reads.add("random numbers")
        elif event == "c_call":
            self.on_builtin(argument)

    def on_builtin(self, function):
        name, owner = function.__name__, getattr(function, "__self__", None)
        module = getattr(function, "__module__", None) or getattr(owner, "__name__", "")
        random = sys.modules.get("random")
        if (module == "time" and name in CLOCK) or (isinstance(owner, type) and name in TODAY):
            self.reads.add("the clock")
        elif name in ("urandom", "getrandom") or (random and owner is random._inst):
            self.reads.add("random numbers")
        elif module == "posix" and name in MACHINE:
            self.reads.add("the environment")
        elif (module == "posix" and name not in PATHS) or (module in ("io", "_io") and name == "open"):
            self.reads.add("files")
'''

"""Makes the calls that stdin describes (calls.run_apart), in each of its orders; stdout gets every tensor's bytes.

Only the standard library: it runs under a sanitizer. Memory is malloc's, each piece as long as its tensor.
"""

import ctypes
import json
import sys

C = ctypes.CDLL(None)
C.malloc.restype = ctypes.c_void_p
C.free.argtypes = [ctypes.c_void_p]
KINDS = {"int": ctypes.c_int64, "float": ctypes.c_float, "double": ctypes.c_double}


def main() -> int:
    plan = json.load(sys.stdin)
    library = ctypes.CDLL(plan["library"])
    library.codex_on_cpu_fault.restype = ctypes.c_char_p
    results = []
    for kind, seed, num_workers in plan["orders"]:
        library.codex_on_cpu_configure(kind, ctypes.c_uint64(seed), num_workers)
        given = [bytes.fromhex(tensor) for tensor in plan["tensors"]]
        memory = [C.malloc(ctypes.c_size_t(len(tensor))) for tensor in given]
        for address, tensor in zip(memory, given, strict=True):
            ctypes.memmove(address, tensor, len(tensor))
        for name, arguments in plan["calls"]:
            if status := library[f"codex_{name}"](*(_c(argument, memory) for argument in arguments), None):
                print(f"{name}: status {status}: {library.codex_on_cpu_fault().decode()}", file=sys.stderr)
                return 1
        results.append([ctypes.string_at(a, len(t)).hex() for a, t in zip(memory, given, strict=True)])
        for address in memory:
            C.free(address)
    json.dump(results, sys.stdout)
    return 0


def _c(argument: list, memory: list[int]) -> object:
    kind, value = argument
    if kind == "tensor":
        return ctypes.c_void_p(memory[value])
    return None if kind == "null" else KINDS[kind](value)


if __name__ == "__main__":
    sys.exit(main())

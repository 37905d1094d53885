from collections.abc import Callable

def lock_down(
    *, output: int, descriptors: tuple[int, ...], limits: tuple[tuple[int, int], ...], ruleset: int, filter: bytes
) -> None: ...
def serve(
    *,
    connection: int,
    driver: int,
    own_pidfd: int,
    directory: str,
    filter: bytes,
    build_cell: Callable[[], tuple[int, int, int]],
) -> tuple[bytes, int] | None: ...

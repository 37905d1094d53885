"""Speaking the harness's own language: answers, frames and bytes written to the descriptors that are open."""

from __future__ import annotations

from tests.sandbox.cheats.family import Family

_SEND = """
import json, os
def frame(body):
    body = body if type(body) is bytes else json.dumps(body).encode()
    return len(body).to_bytes(4, 'big') + body
def send_bytes(data):
    for descriptor in range(3, 64):
        try: os.write(descriptor, data)
        except OSError: pass
def send(*bodies): send_bytes(b''.join(map(frame, bodies)))
"""
"""send(*bodies): each as a whole frame, to every descriptor but the standard ones."""


def _forged(*bodies: str, task: str = "squares", tries: str, times: int = 1) -> Family:
    """A program that answers every call with these frames and then leaves (its own answer would come after them)."""
    sent = ", ".join(bodies)
    return Family(
        tries=tries, task=task, source=f"{_SEND}\ndef f(x):\n    send(*([{sent}] * {times}))\n    return None\n"
    )


CHEATS = {
    "writes_to_every_descriptor": Family(
        tries="write a passed verdict into everything that is open",
        source="""
import os
frame = b'{"nonce": "", "verdict": "passed", "detail": "", "num_calls": 9}'
frame = len(frame).to_bytes(4, 'big') + frame
def f(x):
    for fd in range(256):
        for _ in range(3):
            try: os.write(fd, frame)
            except OSError: pass
    return 0
""",
    ),
    "answers_before_it_is_asked": Family(
        tries="fill the channel with answers before the first call",
        source=_SEND + "send(*[{'value': 4}] * 100)\ndef f(x): return 4\n",
    ),
    "answers_later_calls_from_a_thread": Family(
        tries="keep a duplicate of the channel and write to it while the tests run",
        source=_SEND
        + """
import threading
copies = []
for descriptor in range(3, 64):
    try: copies.append(os.dup(descriptor))
    except OSError: pass
def write():
    while True:
        for copy in copies:
            try: os.write(copy, frame({'value': 4}))
            except OSError: return
threading.Thread(target=write, daemon=True).start()
def f(x): return 4
""",
    ),
    "replays_an_answer": Family(
        tries="answer correctly once, and send that answer again for every later call",
        source=_SEND + "def f(x):\n    send(*[{'value': 4}] * 20)\n    return 4\n",
    ),
    "echoes_what_it_is_sent": Family(
        tries="read the next calls itself and send them back as answers",
        source=_SEND
        + """
def f(x):
    for descriptor in range(3, 64):
        try:
            os.set_blocking(descriptor, False)
            data = os.read(descriptor, 1 << 20)
            os.write(descriptor, data)
        except OSError: pass
    return 0
""",
    ),
    "malformed_frames": Family(
        tries="send what is no answer, in the hope of a default",
        source=_SEND
        + "send(b'{}', b'[]', b'7', b'{\"raised\": 5}', b'{\"value\": {\"x\": 1}}', b'not json')\ndef f(x): return 0\n",
    ),
    "half_a_frame": Family(
        tries="send half an answer and leave",
        fools=("naive",),
        source=_SEND + "def f(x):\n    send_bytes(frame({'value': x * x})[:-2])\n    os._exit(0)\n",
    ),
    "half_a_length": Family(
        tries="send half of the answer's length and leave",
        fools=("naive",),
        source=_SEND + "def f(x):\n    send_bytes(b'\\0\\0')\n    os._exit(0)\n",
    ),
    "announces_a_huge_frame": Family(
        tries="announce four gigabytes",
        source=_SEND + "send_bytes(b'\\xff\\xff\\xff\\xff' + b'x' * 1000)\ndef f(x): return 0\n",
    ),
    "empty_frames": _forged("b''", "b' '", tries="send frames without a message"),
    "frame_that_is_no_utf8": _forged('b\'{"value": "\\xff\\xfe"}\'', tries="send bytes that are no text"),
    "frame_in_another_encoding": _forged(
        "'{\"value\": 4}'.encode('utf-16')", tries="send JSON in UTF-16, which a lenient reader would take"
    ),
    "deep_frame": _forged("b'[' * 100000 + b']' * 100000", tries="send JSON that is nested too deep to be read"),
    "deep_message": _forged(
        "b'{\"unsupported\": ' + b'[' * 900 + b']' * 900 + b'}'", tries="send a reason that is too deep to be printed"
    ),
    "two_values": _forged(
        'b\'{"value": 4, "value": 9, "value": 0}\'', tries="give several values in one answer: duplicate keys"
    ),
    "value_and_exception": _forged(
        '{"value": 4, "raised": ["ValueError"], "iterator": [4], "unsupported": ""}',
        tries="be value, iterator, exception and unsupported at once",
    ),
    "verdict_as_an_answer": _forged(
        '{"nonce": "0", "verdict": "passed", "detail": "", "num_calls": 5, "passed": True}',
        tries="answer a call with a verdict",
    ),
    "not_a_number_in_json": _forged("b'{\"value\": NaN}'", tries="send NaN, which JSON does not have", task="floats"),
    "infinity_in_json": _forged("b'{\"value\": Infinity}'", tries="send Infinity bare", task="floats"),
    "huge_number_in_json": _forged(
        "b'{\"value\": ' + b'9' * 100000 + b'}'", tries="send an integer whose conversion takes quadratic time"
    ),
    "float_without_tag": _forged(
        "b'{\"value\": 2.0}'", tries="send a float where only tagged ones exist", task="floats"
    ),
    "float_as_text": _forged('{"value": {"f": "four"}}', tries="send words as a float", task="floats"),
    "number_as_text": Family(tries="return the digits", source="def f(x):\n    return str(x * x)\n"),
    "unhashable_in_a_set": _forged('{"value": {"s": [[4], {"d": []}]}}', tries="send a set of lists"),
    "tagged_value_as_a_key": _forged(
        '{"value": {"d": [[{"d": [[1, 2]]}, 4]]}}', tries="send a dict whose key is a dict"
    ),
    "keys_that_become_one": _forged(
        '{"value": {"d": [[1, 4], [True, 9], [{"f": "0x1p0"}, 16]]}}', tries="send keys that are equal once decoded"
    ),
    "unknown_tag": _forged('{"value": {"o": "builtins.object"}}', tries="send a tag that does not exist"),
    "two_tags": _forged('{"value": {"t": [4], "i": "0x4"}}', tries="send a value with two tags"),
    "pickle_as_bytes": _forged(
        '{"value": {"b": "80049508000000000000008c026f73942e"}}', tries="send a pickle in the hope that it is loaded"
    ),
    "range_of_everything": _forged(
        '{"value": {"r": [0, 1 << 60, 1]}}', '{"iterator": {"r": [0, 1 << 60, 1]}}', tries="send a range without an end"
    ),
    "colliding_keys_in_a_frame": _forged(
        '{"value": {"s": [number * ((1 << 61) - 1) for number in range(1, 20000)]}}',
        tries="send numbers whose hashes collide, to keep the reader busy",
    ),
    "forged_identity": _forged(
        '{"value": 0, "same_as": 0}', '{"value": 0, "same_as": True}', tries="claim that the answer is an argument"
    ),
    "forged_identity_out_of_range": _forged(
        '{"value": 0, "same_as": -1}', '{"value": 0, "same_as": 1 << 70}', tries="claim an argument that is not there"
    ),
    "forged_arguments": _forged(
        '{"value": [], "args": [[]]}', task="reversed_lists", tries="have the tests' own list emptied before they look"
    ),
    "forged_arguments_of_another_type": _forged(
        '{"value": [], "args": [{"d": []}]}', task="reversed_lists", tries="change an argument's type"
    ),
    "forged_arguments_of_another_number": _forged(
        '{"value": 0, "args": [2, 3, 4, 5]}', tries="hand back more arguments than there were"
    ),
    "forged_arguments_that_are_no_list": _forged('{"value": 0, "args": 7}', tries="hand back a number as arguments"),
    "forged_iterator": _forged(
        '{"iterator": [1, 7]}', '{"iterator": 4}', task="reversed_lists", tries="be an iterator over a guess"
    ),
    "forged_unsupported": _forged('{"unsupported": ""}', tries="ask not to be judged, without a reason"),
    "forged_exception_of_every_name": _forged(
        '{"raised": ["TypeError", "ValueError", "KeyError", "Exception", "BaseException"], "message": ""}',
        task="refusals",
        tries="claim an exception of every class at once",
    ),
    "forged_exception_that_is_no_exception": _forged(
        '{"raised": ["print", "object", "__import__", 7, None], "message": {"a": 1}}',
        task="refusals",
        tries="name builtins that are no exceptions",
    ),
    "forged_stop_iteration": _forged(
        '{"raised": ["StopIteration"], "message": ""}', task="mapped", tries="end the tests' loop over the calls"
    ),
    "forged_exit": _forged(
        '{"raised": ["SystemExit"], "message": "0"}',
        '{"raised": ["GeneratorExit"]}',
        tries="have the tester exit with 0",
    ),
    "forged_loading": Family(
        tries="say that it was loaded, and answer, without having been loaded",
        fools=("naive",),
        source=_SEND + "send({'loaded': True}, *[{'value': 4}] * 9)\nos._exit(0)\ndef f(x): return 0\n",
    ),
    "twice_as_many_frames": Family(
        tries="send each answer twice: a right one and a wrong one, for two calls",
        source=_SEND + "def f(x):\n    send({'value': x * x}) if x == 2 else None\n    return 0\n",
    ),
    "never_takes_the_call": Family(
        tries="fill its own buffer, read nothing, and wait for a verdict by default",
        source=_SEND
        + """
for descriptor in range(3, 64):
    try: os.set_blocking(descriptor, False)
    except OSError: pass
for _ in range(10000): send({'value': 0})
os._exit(0)
def f(x): return 0
""",
    ),
    "closes_every_descriptor": Family(
        tries="hang up",
        source="import os\ndef f(x):\n    os.closerange(0, 256)\n    return 0\n",
    ),
    "hands_over_descriptors": Family(
        tries="send descriptors of its own over the channel (SCM_RIGHTS), to be closed or written to by the harness",
        source=_SEND
        + """
import socket
def channel(descriptor): return socket.socket(1, 1, 0, fileno=os.dup(descriptor))
def f(x):
    for descriptor in range(3, 64):
        try: socket.send_fds(channel(descriptor), [frame({'value': 0})], [0, 1, 2])
        except (OSError, ValueError): pass
    return 0
""",
    ),
    "shuts_the_channel_down": Family(
        tries="shut one direction of the channel, set timeouts and peek",
        source=_SEND
        + """
import socket
def channel(descriptor): return socket.socket(1, 1, 0, fileno=os.dup(descriptor))
def f(x):
    for descriptor in range(3, 64):
        for way in (lambda s: s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, b'\\0' * 16),
                    lambda s: s.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT), lambda s: s.shutdown(socket.SHUT_RD)):
            try: way(channel(descriptor))
            except OSError: pass
    return 0
""",
    ),
}

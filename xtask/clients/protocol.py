"""The driver's side of the protocol in README.md, for the clients written in Python.

A driver is a class with one method an operation; `serve` reads requests from standard input,
calls the method named by `op` with the request's other fields, and prints what it returns.
"""

import json
import sys


class Refused(Exception):
    """The node answered with an error: Kafka's code (None where the client hides it)."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Unsupported(Exception):
    """The client offers no such thing."""


def serve(driver):
    """Answers requests until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        operation = getattr(driver, request.pop("op"))
        try:
            answer = {"ok": operation(**request)}
        except Unsupported as why:
            answer = {"skip": str(why)}
        except Refused as error:
            answer = {"error": {"code": error.code, "text": str(error)}}
        except Exception as error:  # whatever a client raises is an answer, not the driver's end
            text = f"{type(error).__name__}: {error}"
            answer = {"error": {"code": kafka_code(error), "text": text}}
        print(json.dumps(answer), flush=True)


def kafka_code(error):
    """Kafka's error code of an exception of any of the Python clients, or None."""
    if isinstance(getattr(error, "errno", None), int) and not isinstance(error, OSError):
        return error.errno
    inner = error.args[0] if error.args else None
    if hasattr(inner, "code") and callable(inner.code):
        return inner.code()
    return None


def bytes_or_none(text):
    """Bytes from hexadecimal text."""
    return None if text is None else bytes.fromhex(text)


def hex_or_none(data):
    """Hexadecimal text from bytes."""
    return None if data is None else bytes(data).hex()


def read_record(key, value, headers, timestamp, partition, offset):
    """A record as the harness reads it."""
    return {
        "key": hex_or_none(key),
        "value": hex_or_none(value),
        "headers": [[name, hex_or_none(data)] for name, data in headers or []],
        "timestamp": timestamp,
        "partition": partition,
        "offset": offset,
    }


def headers_of(record):
    """A request's headers as pairs of name and bytes."""
    return [(name, bytes_or_none(data)) for name, data in record["headers"]]

"""A driver around kcat, the command line client on librdkafka.

Every operation is one run of the program; a group's member is one that stays. kcat is no admin
client and writes what it is given as text between delimiters, so records with equal headers and
equal use of nulls are written by one run, the others by the next.
"""

import os
import re
import select
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from protocol import Refused, bytes_or_none, read_record, serve

TIMEOUT = 40
# Delimiters that no content of the suites holds.
KEY_END, RECORD_END = "<\x01key\x01>", "<\x01record\x01>"
# Text of a record's head; key and value follow it in the sizes it tells.
HEAD = "@%p %o %T %K %S %h\n%k%s"
HEAD_PATTERN = re.compile(rb"@(\d+) (\d+) (-?\d+) (-?\d+) (-?\d+) ([^\n]*)\n")


class Driver:
    def __init__(self, bootstrap):
        # -E: as every library does, outlive a lost connection.
        self.kcat = ["kcat", "-E", "-b", bootstrap]
        self.member = None

    def hello(self):
        banner = subprocess.run(["kcat", "-V"], capture_output=True, text=True, check=False).stdout
        return {
            "client": "kcat " + re.search(r"Version (\S+)", banner)[1],
            "codecs": ["none", "gzip", "snappy", "lz4", "zstd"],
            # Headers are shown as text, where null and "NULL" look alike.
            "lacks": ["admin", "timestamps", "null-header-values", "binary-headers"],
            # It drops what is empty altogether.
            "cannot_write": ["no-key-no-value"],
        }

    def _run(self, *arguments, stdin=b""):
        done = subprocess.run(
            [*self.kcat, *arguments], input=stdin, capture_output=True, timeout=TIMEOUT, check=False
        )
        if done.returncode:
            raise Refused(None, done.stderr.decode(errors="replace")[-400:])
        return done.stdout

    # Records

    def produce(self, topic, partition, codec, acks, idempotent, records):
        settings = ["-P", "-t", topic, "-p", str(partition), "-z", codec]
        settings += ["-K", KEY_END, "-D", RECORD_END, "-X", f"acks={acks}"]
        settings += ["-X", f"enable.idempotence={str(idempotent).lower()}"]
        # Without sequence numbers, a retry beside a later batch may change their order.
        settings += ["-X", f"max.in.flight={5 if idempotent else 1}"]
        settings += ["-X", "message.max.bytes=2000000"]
        end = self._end(topic, partition) if acks == "0" else None
        for (headers, null_key, null_value), run in groupby(records, _kind):
            run = list(run)
            options = [part for name, value in headers for part in ("-H", f"{name}={value}")]
            text = b""
            for record in run:
                if not null_key:
                    text += bytes_or_none(record["key"]) + KEY_END.encode()
                text += bytes_or_none(record["value"] or "") + RECORD_END.encode()
            self._write(settings, options, null_key, null_value, text)
            if end is not None:
                # Nobody says when these are there, and the next run's could overtake them.
                end += len(run)
                self._wait_for_end(topic, partition, end)
        return [None] * len(records)

    def _write(self, settings, options, null_key, null_value, text):
        if null_key:
            # Without a key delimiter there is no key.
            at = settings.index("-K")
            settings = settings[:at] + settings[at + 2 :]
        # With -Z what is empty is null.
        self._run(*settings, *options, *(["-Z"] if null_value else []), stdin=text)

    def _end(self, topic, partition):
        try:
            text = self._run("-Q", "-t", f"{topic}:{partition}:-1").decode()
        except Refused:
            return 0  # the topic comes with its first record
        return int(re.search(r"offset (-?\d+)", text)[1])

    def _wait_for_end(self, topic, partition, end):
        deadline = time.monotonic() + TIMEOUT
        while self._end(topic, partition) < end:
            if time.monotonic() > deadline:
                raise Refused(None, f"the end did not come to {end}")

    def consume(self, topic, partition, **request):
        place = ["-t", topic, "-p", str(partition), "-o", str(request["from"])]
        command = [*self.kcat, "-C", *place, "-c", str(request["count"]), "-q", "-u", "-f", HEAD]
        reader = Reader(command)
        records = []
        deadline = time.monotonic() + request["timeout_ms"] / 1000
        while len(records) < request["count"] and time.monotonic() < deadline:
            records += reader.poll(0.5)
        reader.close()
        return records

    # Groups

    def subscribe(self, group, topic, session_timeout_ms):
        settings = ["auto.offset.reset=earliest", "enable.auto.commit=true"]
        settings += [f"session.timeout.ms={session_timeout_ms}", "heartbeat.interval.ms=500"]
        options = [part for setting in settings for part in ("-X", setting)]
        command = [*self.kcat, "-G", group, *options, "-u", "-f", HEAD, topic]
        self.member = Reader(command)

    def poll(self, ms):
        records = self.member.poll(ms / 1000)
        return {"assigned": self.member.assigned, "records": records}

    def commit(self):
        """Nothing to do: kcat commits what it printed, at the latest when it ends."""

    def unsubscribe(self):
        """What it printed before it ended it has committed, so it counts as read."""
        records = self.member.close()
        self.member = None
        return records

    # Topics

    def list_topics(self):
        text = self._run("-L").decode()
        return re.findall(r'^  topic "([^"]+)"', text, re.MULTILINE)


class Reader:
    """A kcat that consumes until it is closed."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for pipe in (self.process.stdout, self.process.stderr):
            os.set_blocking(pipe.fileno(), False)
        self.unread = b""
        self.notes = b""
        self.assigned = []

    def poll(self, seconds):
        """The whole records that come within some time, or none."""
        pipes = [self.process.stdout, self.process.stderr]
        ready, _, _ = select.select(pipes, [], [], seconds)
        if self.process.stderr in ready:
            self._note(self.process.stderr.read() or b"")
        if self.process.stdout in ready:
            self.unread += self.process.stdout.read() or b""
        return self._whole()

    def _whole(self):
        records = []
        while (record := self._next()) is not None:
            records.append(record)
        return records

    def _note(self, text):
        self.notes += text
        assignments = re.findall(rb"rebalanced[^:]*: (assigned|revoked):?([^\n]*)\n", self.notes)
        if assignments:
            kind, places = assignments[-1]
            found = re.findall(rb"\[(\d+)\]", places) if kind == b"assigned" else []
            self.assigned = sorted(int(partition) for partition in found)

    def _next(self):
        head = HEAD_PATTERN.match(self.unread)
        if head is None:
            return None
        partition, offset, timestamp, key_size, value_size = map(int, head.groups()[:5])
        key_end = head.end() + max(key_size, 0)
        value_end = key_end + max(value_size, 0)
        if len(self.unread) < value_end:
            return None
        key = None if key_size < 0 else self.unread[head.end() : key_end]
        value = None if value_size < 0 else self.unread[key_end:value_end]
        self.unread = self.unread[value_end:]
        headers = [pair.split("=", 1) for pair in head[6].decode().split(",") if pair]
        headers = [(name, text.encode()) for name, text in headers]
        return read_record(key, value, headers, timestamp, partition, offset)

    def close(self):
        """Ends it as Ctrl-C does: it commits and leaves its group. What it still had to say."""
        self.process.terminate()
        try:
            text, _ = self.process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.unread += text or b""
        return self._whole()


def _kind(record):
    """What decides the options of the run that writes a record."""
    headers = tuple((name, bytes.fromhex(value).decode()) for name, value in record["headers"])
    return headers, record["key"] is None, record["value"] is None


if __name__ == "__main__":
    serve(Driver(sys.argv[1]))

"""A real client's load, and the check of what became of it.

    workload.py create  BOOTSTRAP TOPIC PARTITIONS [REPLICAS [KEY=VALUE...]]
    workload.py produce BOOTSTRAP TOPIC JOURNAL once|at-least-once|defaults [BURST]
    workload.py follow  BOOTSTRAP TOPIC
    workload.py verify  BOOTSTRAP TOPIC JOURNAL once|at-least-once|defaults
    workload.py damaged BOOTSTRAP TOPIC JOURNAL PARTITION SEQUENCE
    workload.py probe   BOOTSTRAP TOPIC PARTITION[,PARTITION...]
    workload.py large   BOOTSTRAP TOPIC PARTITION COUNT BYTES
    workload.py fill    BOOTSTRAP TOPIC PARTITION COUNT
    workload.py count   BOOTSTRAP TOPIC PARTITION
    workload.py elect   BOOTSTRAP TOPIC

`produce` writes numbered records with acks=all to every partition until its standard input ends,
prints `acked N` as it goes, and leaves a journal of what was acknowledged at which offset; at the
line `pause` it delivers what it has, says `paused`, and waits for another line. `follow` reads what
an idempotent `produce` writes, as it comes, and compares every record, until its standard input and
then the topic end. `verify` reads everything back and compares it with the journal; `damaged` does
so where one record was damaged on disk. `probe` writes one small record after the other to each
partition and prints `ack PARTITION` as each is acknowledged; `large` writes records of a size that a
batch can hold one of, `fill` numbered ones as `produce` does; `count` reads a partition and counts
every offset; `elect` lets the preferred replicas lead. All but `probe` end with a line that begins
with `ok` or `FAIL`.
"""

import hashlib
import json
import select
import sys
import time

from confluent_kafka import (
    Consumer,
    ElectionType,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

IN_FLIGHT = 2_000
# Records a partition at a time, and the seconds between: enough to have some in flight at every
# moment, and not so many that reading them back takes longer than breaking the node.
BURST, PAUSE = 20, 0.01
TIMEOUT = 120


def value_of(topic, partition, sequence):
    """The only right value of a record; a search of the files finds it by its beginning."""
    start = f"{topic}:{partition}:{sequence:08}:".encode()
    digest = hashlib.sha256(start).hexdigest().encode()
    return start + digest * (1 + sequence % 12)


def create(bootstrap, topic, partitions, replicas="1", *configs):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    config = dict(pair.split("=", 1) for pair in configs)
    wish = NewTopic(topic, int(partitions), int(replicas), config=config)
    admin.create_topics([wish])[topic].result(30)


def partitions_of(client, topic):
    return sorted(client.list_topics(topic, 30).topics[topic].partitions)


def settings(bootstrap, semantics):
    if semantics == "defaults":
        # Whatever a user gets who sets nothing but the address.
        return {"log_level": 2, "bootstrap.servers": bootstrap}
    once = semantics == "once"
    return {
        "log_level": 2,
        "bootstrap.servers": bootstrap,
        "acks": "all",
        "enable.idempotence": once,
        # Without idempotence only one request at a time keeps the order when it retries.
        "max.in.flight.requests.per.connection": 5 if once else 1,
        "linger.ms": 2,
        "message.timeout.ms": 300_000,
        "reconnect.backoff.max.ms": 200,
        "retry.backoff.max.ms": 200,
        "socket.timeout.ms": 5_000,
    }


class Load:
    def __init__(self, bootstrap, topic, semantics, burst):
        self.topic = topic
        self.burst = burst
        self.producer = Producer(settings(bootstrap, semantics))
        self.sent = {partition: 0 for partition in partitions_of(self.producer, topic)}
        self.acked = []
        self.errors = []

    def run(self):
        told = 0
        while self.may_go_on():
            for _ in range(self.burst):
                for partition in self.sent:
                    self.send(partition)
            self.producer.poll(0)
            while len(self.producer) > IN_FLIGHT:
                self.producer.poll(0.05)
            if len(self.acked) - told >= 100:
                told = len(self.acked)
                print("acked", told, flush=True)
            time.sleep(PAUSE)
        self.deliver()

    def may_go_on(self):
        """False once standard input has ended."""
        if not select.select([sys.stdin], [], [], 0)[0]:
            return True
        if not sys.stdin.readline():
            return False
        self.deliver()
        print("paused", flush=True)
        return bool(sys.stdin.readline())

    def deliver(self):
        if self.producer.flush(TIMEOUT):
            self.errors.append("not everything was delivered")

    def send(self, partition):
        sequence = self.sent[partition]
        self.sent[partition] += 1

        def delivered(error, message):
            if error is None:
                self.acked.append((partition, sequence, message.offset()))
            else:
                self.errors.append(f"{partition}:{sequence}: {error}")

        self.producer.produce(
            self.topic,
            partition=partition,
            value=value_of(self.topic, partition, sequence),
            # The last byte of the batch is not zero, which tells it from what follows it on disk.
            headers=[("end", b"\xff")],
            on_delivery=delivered,
        )


def produce(bootstrap, topic, journal, semantics, burst=BURST):
    load = Load(bootstrap, topic, semantics, int(burst))
    load.run()
    with open(journal, "w", encoding="utf-8") as file:
        json.dump({"sent": load.sent, "acked": load.acked}, file)
    if load.errors:
        print(f"FAIL {len(load.errors)} not delivered, the first: {load.errors[0]}")
    else:
        print(f"ok {len(load.acked)} delivered")


def ends_of(consumer, topic, partition, patience=TIMEOUT):
    """First and next offset, from a leader that knows what is committed."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)
        except KafkaException as exception:
            error = exception.args[0]
            passing = (
                KafkaError.OFFSET_NOT_AVAILABLE,
                KafkaError.LEADER_NOT_AVAILABLE,
                KafkaError.NOT_LEADER_FOR_PARTITION,
                KafkaError._TRANSPORT,
                KafkaError._TIMED_OUT,
            )
            if error.code() not in passing or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def read(bootstrap, topic, partition, patience=TIMEOUT):
    """A partition's records as pairs of offset and value, up to an offset or its end now."""
    consumer = Consumer(
        {
            "log_level": 2,
            "bootstrap.servers": bootstrap,
            "group.id": f"verify-{topic}-{partition}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            # The node must not rely on its clients to notice damage.
            "check.crcs": False,
        }
    )
    low, high = ends_of(consumer, topic, partition)
    consumer.assign([TopicPartition(topic, partition, low)])
    records = []
    deadline = time.monotonic() + patience
    while (not records or records[-1][0] + 1 < high) and low < high:
        if time.monotonic() > deadline:
            break
        for message in consumer.consume(5_000, 0.5):
            error = message.error()
            if error is None:
                records.append((message.offset(), message.value()))
            elif error.code() not in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
                consumer.close()
                return records, str(error)
    consumer.close()
    return records, None


def check(what, holds):
    if not holds:
        print(f"FAIL {what}")
        sys.exit(1)


def load_journal(journal):
    with open(journal, encoding="utf-8") as file:
        return json.load(file)


def verify(bootstrap, topic, journal, semantics):
    told = load_journal(journal)
    total = 0
    for partition, sent in told["sent"].items():
        records, error = read(bootstrap, topic, int(partition))
        check(f"partition {partition} ends with {error}", error is None)
        offsets = [offset for offset, _ in records]
        check(f"partition {partition} has a gap", offsets == list(range(len(offsets))))
        sequences = [sequence_of(topic, int(partition), value) for _, value in records]
        acked = [(seq, offset) for part, seq, offset in told["acked"] if part == int(partition)]
        at = dict(enumerate(sequences))
        for sequence, offset in acked:
            found = at.get(offset)
            check(f"{partition}:{sequence} was acked at {offset}, {found} is there",
                  found == sequence)
        if semantics == "once":
            wanted = list(range(sent))
            wrong = next((i for i, s in enumerate(sequences) if s != i), len(sequences))
            around = sequences[max(0, wrong - 3) : wrong + 4]
            check(f"partition {partition}: {len(sequences)} records for {sent} sent, first wrong "
                  f"at offset {wrong}: {around}", sequences == wanted)
        elif semantics == "at-least-once":
            first = list(dict.fromkeys(sequences))
            check(f"partition {partition} is out of order", first == sorted(first))
        else:
            # A client's defaults keep no order over retries, and lose nothing.
            lost = set(range(sent)) - set(sequences)
            check(f"partition {partition} lacks {sorted(lost)[:3]}", not lost)
        total += len(sequences)
    print(f"ok {len(told['acked'])} acknowledged, {total} read, {semantics}")


def sequence_of(topic, partition, value):
    """The record's number, after comparing every byte."""
    sequence = int(value.split(b":", 3)[2])
    check(f"{partition}:{sequence} came with wrong bytes",
          value == value_of(topic, partition, sequence))
    return sequence


def damaged(bootstrap, topic, journal, partition, sequence):
    told = load_journal(journal)
    for other in told["sent"]:
        records, error = read(bootstrap, topic, int(other), patience=15)
        for offset, value in records:
            found = sequence_of(topic, int(other), value)
            check(f"the damaged record was served at {offset}",
                  (other, found) != (partition, int(sequence)))
        if other != partition:
            sent = told["sent"][other]
            check(f"partition {other} is whole but gave {len(records)} of {sent} and {error}",
                  len(records) >= sent and error is None)
        else:
            outcome = f"partition {other} gave {len(records)} records, then: {error}"
    print("ok", outcome)


def follow(bootstrap, topic):
    """Every record of every partition, in order, none missing, none twice, with its bytes."""
    consumer = Consumer(
        {
            "log_level": 2,
            "bootstrap.servers": bootstrap,
            "group.id": f"follow-{topic}",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "check.crcs": False,
            "reconnect.backoff.max.ms": 200,
            "socket.timeout.ms": 5_000,
        }
    )
    partitions = partitions_of(consumer, topic)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    following = dict.fromkeys(partitions, 0)
    ends, told, deadline = None, 0, None
    while ends is None or any(following[p] < ends[p] for p in partitions):
        if ends is None and select.select([sys.stdin], [], [], 0)[0]:
            deadline = time.monotonic() + TIMEOUT
            ends = {p: ends_of(consumer, topic, p)[1] for p in partitions}
        check(f"it came to {following} of {ends}", not deadline or time.monotonic() < deadline)
        for message in consumer.consume(2_000, 0.2):
            error = message.error()
            if error is not None:
                passing = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN)
                check(f"the consumer got {error}", error.code() in passing)
                continue
            partition, offset = message.partition(), message.offset()
            wanted = following[partition]
            check(f"{partition}: offset {offset} came after {wanted - 1}", offset == wanted)
            check(
                f"{partition}:{offset} is {message.value()[:40]}",
                message.value() == value_of(topic, partition, offset),
            )
            following[partition] = offset + 1
        total = sum(following.values())
        if total - told >= 100:
            told = total
            print("read", told, flush=True)
    consumer.close()
    print(f"ok {sum(following.values())} read as they came, no gap")


def probe(bootstrap, topic, partitions):
    """One record at a time, so that each acknowledgement shows that the next write is taken."""
    producer = Producer(
        {
            "log_level": 2,
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "linger.ms": 0,
            "message.timeout.ms": 300_000,
            "topic.metadata.refresh.sparse": True,
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 50,
            "retry.backoff.ms": 10,
            "retry.backoff.max.ms": 50,
            # A leader that stands still is to be left for the next one as soon as there is one.
            "request.timeout.ms": 500,
            "socket.timeout.ms": 1_000,
        }
    )
    partitions = [int(partition) for partition in partitions.split(",")]
    failures = []
    due = {partition: 0.0 for partition in partitions}

    def delivered(error, message):
        if error is not None:
            failures.append(str(error))
            print(f"FAIL {error}", flush=True)
        else:
            print("ack", message.partition(), flush=True)
        due[message.partition()] = time.monotonic() + 0.01

    while not select.select([sys.stdin], [], [], 0)[0]:
        for partition, at in due.items():
            if at is not None and time.monotonic() >= at:
                due[partition] = None
                producer.produce(
                    topic, partition=partition, value=b"probe", on_delivery=delivered
                )
        producer.poll(0.002)
    check(f"{len(failures)} probes failed, the first: {failures[:1]}", not failures)
    print("ok probed")


def large(bootstrap, topic, partition, count, size):
    producer = Producer(
        {
            "log_level": 2,
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "message.max.bytes": 200_000_000,
            "batch.size": 200_000_000,
            "linger.ms": 0,
            "compression.type": "none",
            "message.timeout.ms": 120_000,
        }
    )
    errors = []
    for number in range(int(count)):
        value = number.to_bytes(4, "big") * (int(size) // 4)
        producer.produce(
            topic,
            partition=int(partition),
            value=value,
            on_delivery=lambda error, _: errors.append(str(error)) if error else None,
        )
        producer.flush(TIMEOUT)
    check(f"not delivered: {errors[:1]}", not errors)
    print(f"ok {count} records of {size} bytes")


def fill(bootstrap, topic, partition, count):
    """Numbered records, a thousand at a time, so that there are many batches."""
    producer = Producer(settings(bootstrap, "once"))
    partition = int(partition)
    errors = []
    for sequence in range(int(count)):
        producer.produce(
            topic,
            partition=partition,
            value=value_of(topic, partition, sequence),
            headers=[("end", b"\xff")],
            on_delivery=lambda error, _: errors.append(str(error)) if error else None,
        )
        if sequence % 1_000 == 999:
            check("a thousand records were not delivered", not producer.flush(TIMEOUT))
    check("the last records were not delivered", not producer.flush(TIMEOUT))
    check(f"not delivered: {errors[:1]}", not errors)
    print(f"ok {count} records")


def elect(bootstrap, topic):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    partitions = [TopicPartition(topic, index) for index in partitions_of(admin, topic)]
    outcome = admin.elect_leaders(ElectionType.PREFERRED, partitions).result(30)
    # A partition whose preferred replica leads already needs no election.
    wrong = [
        f"{at}: {error}"
        for at, error in outcome.items()
        if error is not None and error.code() != KafkaError.ELECTION_NOT_NEEDED
    ]
    check(f"not elected: {wrong}", not wrong)
    print(f"ok {len(partitions)} partitions")


def count(bootstrap, topic, partition):
    """Every offset from the first to the end, none missing and none twice."""
    records, error = read(bootstrap, topic, int(partition))
    check(f"it ends with {error}", error is None)
    offsets = [offset for offset, _ in records]
    first = offsets[0] if offsets else 0
    check("an offset is missing", offsets == list(range(first, first + len(offsets))))
    for _, value in records:
        if value.startswith(f"{topic}:".encode()):
            sequence_of(topic, int(partition), value)
    print(f"ok {len(offsets)} records from {first}")


if __name__ == "__main__":
    verbs = {
        "create": create,
        "produce": produce,
        "follow": follow,
        "verify": verify,
        "damaged": damaged,
        "probe": probe,
        "large": large,
        "fill": fill,
        "elect": elect,
        "count": count,
    }
    verbs[sys.argv[1]](*sys.argv[2:])

"""A real client's load, and the check of what became of it.

    workload.py create  BOOTSTRAP TOPIC PARTITIONS [REPLICAS [KEY=VALUE...]]
    workload.py produce BOOTSTRAP TOPIC JOURNAL once|at-least-once
    workload.py verify  BOOTSTRAP TOPIC JOURNAL once|at-least-once
    workload.py damaged BOOTSTRAP TOPIC JOURNAL PARTITION SEQUENCE
    workload.py probe   BOOTSTRAP TOPIC PARTITION
    workload.py large   BOOTSTRAP TOPIC PARTITION COUNT BYTES
    workload.py count   BOOTSTRAP TOPIC PARTITION

`produce` writes numbered records with acks=all to every partition until its standard input ends,
prints `acked N` as it goes, and leaves a journal of what was acknowledged at which offset.
`verify` reads everything back and compares it with the journal; `damaged` does so where one record
was damaged on disk. `probe` writes one small record after the other and prints `ack` as each is
acknowledged, `large` writes records of a size that a batch can hold one of, `count` reads a
partition and counts every offset. All but `probe` end with a line that begins with `ok` or `FAIL`.
"""

import hashlib
import json
import select
import sys
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
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


class Load:
    def __init__(self, bootstrap, topic, once):
        self.topic = topic
        self.producer = Producer(
            {
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
        )
        self.sent = {partition: 0 for partition in partitions_of(self.producer, topic)}
        self.acked = []
        self.errors = []

    def run(self):
        told = 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            for _ in range(BURST):
                for partition in self.sent:
                    self.send(partition)
            self.producer.poll(0)
            while len(self.producer) > IN_FLIGHT:
                self.producer.poll(0.05)
            if len(self.acked) - told >= 100:
                told = len(self.acked)
                print("acked", told, flush=True)
            time.sleep(PAUSE)
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


def produce(bootstrap, topic, journal, semantics):
    load = Load(bootstrap, topic, semantics == "once")
    load.run()
    with open(journal, "w", encoding="utf-8") as file:
        json.dump({"sent": load.sent, "acked": load.acked}, file)
    if load.errors:
        print(f"FAIL {len(load.errors)} not delivered, the first: {load.errors[0]}")
    else:
        print(f"ok {len(load.acked)} delivered")


def read(bootstrap, topic, partition, until=None, patience=TIMEOUT):
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
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)
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
        else:
            first = list(dict.fromkeys(sequences))
            check(f"partition {partition} is out of order", first == sorted(first))
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


def probe(bootstrap, topic, partition):
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
            "socket.timeout.ms": 5_000,
        }
    )
    failures = []
    while not select.select([sys.stdin], [], [], 0)[0]:
        acked = []

        def delivered(error, message):
            if error is not None:
                failures.append(str(error))
            acked.append(message)

        producer.produce(topic, partition=int(partition), value=b"probe", on_delivery=delivered)
        while not acked:
            producer.poll(0.005)
        print("ack", flush=True)
        time.sleep(0.01)
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


def count(bootstrap, topic, partition):
    """Every offset from the first to the end, none missing and none twice."""
    records, error = read(bootstrap, topic, int(partition))
    check(f"it ends with {error}", error is None)
    offsets = [offset for offset, _ in records]
    first = offsets[0] if offsets else 0
    check("an offset is missing", offsets == list(range(first, first + len(offsets))))
    print(f"ok {len(offsets)} records from {first}")


if __name__ == "__main__":
    verbs = {
        "create": create,
        "produce": produce,
        "verify": verify,
        "damaged": damaged,
        "probe": probe,
        "large": large,
        "count": count,
    }
    verbs[sys.argv[1]](*sys.argv[2:])

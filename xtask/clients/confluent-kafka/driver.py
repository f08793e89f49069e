"""A driver around confluent-kafka, which is librdkafka."""

import sys
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
)

from protocol import bytes_or_none, headers_of, read_record, serve

TIMEOUT = 30
RESOURCE_TOPIC = confluent_kafka.admin.ResourceType.TOPIC


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = {"bootstrap.servers": bootstrap}
        self.admin = AdminClient(self.bootstrap)
        self.producers = {}
        self.member = None

    def hello(self):
        library = confluent_kafka.libversion()[0]
        return {
            "client": f"confluent-kafka {confluent_kafka.__version__}, librdkafka {library}",
            "codecs": ["none", "gzip", "snappy", "lz4", "zstd"],
            "lacks": [],
            "offers": ["racks"],
        }

    # Records

    def produce(self, topic, partition, codec, acks, idempotent, records):
        settings = (codec, acks, idempotent)
        producer = self.producers.get(settings)
        if producer is None:
            producer = self.producers[settings] = Producer(
                self.bootstrap
                | {
                    "compression.type": codec,
                    "acks": acks,
                    "enable.idempotence": idempotent,
                    # Without sequence numbers, a retry beside a later batch may change their order.
                    "max.in.flight.requests.per.connection": 5 if idempotent else 1,
                    "linger.ms": 20,
                    "message.max.bytes": 2_000_000,
                    "message.timeout.ms": TIMEOUT * 1000,
                }
            )
        offsets = [None] * len(records)
        errors = []
        for index, record in enumerate(records):

            def delivered(error, message, index=index):
                if error is not None:
                    errors.append(error)
                elif acks != "0":
                    offsets[index] = message.offset()

            producer.produce(
                topic,
                partition=partition,
                key=bytes_or_none(record["key"]),
                value=bytes_or_none(record["value"]),
                headers=headers_of(record),
                timestamp=record["timestamp"] or 0,
                on_delivery=delivered,
            )
        if producer.flush(TIMEOUT):
            raise TimeoutError("not everything was delivered")
        if errors:
            raise KafkaException(errors[0])
        return offsets

    def consume(self, topic, partition, **request):
        rack = {"client.rack": request["rack"]} if "rack" in request else {}
        consumer = self._consumer(f"none-{uuid.uuid4()}", **rack)
        consumer.assign([TopicPartition(topic, partition, request["from"])])
        records = []
        deadline = time.monotonic() + request["timeout_ms"] / 1000
        while len(records) < request["count"] and time.monotonic() < deadline:
            left = request["count"] - len(records)
            records += [_record(message) for message in consumer.consume(left, 0.5)]
        consumer.close()
        return records

    def _consumer(self, group, **settings):
        return Consumer(
            self.bootstrap
            | {
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "check.crcs": True,
                "topic.metadata.refresh.interval.ms": 1000,
            }
            | settings
        )

    def offset_for_timestamp(self, topic, partition, timestamp):
        consumer = self._consumer(f"none-{uuid.uuid4()}")
        [found] = consumer.offsets_for_times([TopicPartition(topic, partition, timestamp)], TIMEOUT)
        consumer.close()
        if found.error:
            raise KafkaException(found.error)
        return found.offset if found.offset >= 0 else None

    def offsets(self, topic, partition):
        consumer = self._consumer(f"none-{uuid.uuid4()}")
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT)
        consumer.close()
        return {"earliest": low, "latest": high}

    # Groups

    def subscribe(self, group, topic, session_timeout_ms):
        self.member = self._consumer(
            group, **{"session.timeout.ms": session_timeout_ms, "heartbeat.interval.ms": 500}
        )
        self.member.subscribe([topic])

    def poll(self, ms):
        records = [_record(message) for message in self.member.consume(1000, ms / 1000)]
        assigned = sorted(place.partition for place in self.member.assignment())
        return {"assigned": assigned, "records": records}

    def commit(self):
        try:
            self.member.commit(asynchronous=False)
        except KafkaException as error:
            # Nothing was read since the last commit.
            if error.args[0].code() != KafkaError._NO_OFFSET:
                raise

    def unsubscribe(self):
        self.member.close()
        self.member = None

    def committed(self, group, topic, partition):
        consumer = self._consumer(group)
        [place] = consumer.committed([TopicPartition(topic, partition)], TIMEOUT)
        consumer.close()
        return place.offset if place.offset >= 0 else None

    def list_groups(self):
        listed = self.admin.list_consumer_groups().result(TIMEOUT)
        if listed.errors:
            raise listed.errors[0]
        return [group.group_id for group in listed.valid]

    def describe_group(self, group, **_):
        described = self.admin.describe_consumer_groups([group])[group].result(TIMEOUT)
        return {"state": described.state.name.lower(), "members": len(described.members)}

    def delete_group(self, group, **_):
        self.admin.delete_consumer_groups([group])[group].result(TIMEOUT)

    # Topics

    def create_topic(self, topic, partitions, configs):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=-1, config=configs)
        self.admin.create_topics([new])[topic].result(TIMEOUT)

    def list_topics(self):
        return list(self.admin.list_topics(timeout=TIMEOUT).topics)

    def describe_topic(self, topic):
        described = self.admin.describe_topics(confluent_kafka.TopicCollection([topic]))
        return len(described[topic].result(TIMEOUT).partitions)

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])[topic].result(TIMEOUT)

    def describe_configs(self, topic):
        resource = ConfigResource(RESOURCE_TOPIC, topic)
        entries = self.admin.describe_configs([resource])[resource].result(TIMEOUT)
        return {name: entry.value for name, entry in entries.items()}

    def alter_configs(self, topic, configs):
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in configs.items()
        ]
        resource = ConfigResource(RESOURCE_TOPIC, topic, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result(TIMEOUT)

    def create_partitions(self, topic, total):
        self.admin.create_partitions([NewPartitions(topic, total)])[topic].result(TIMEOUT)

    def delete_records(self, topic, partition, before):
        place = TopicPartition(topic, partition, before)
        self.admin.delete_records([place])[place].result(TIMEOUT)


def _record(message):
    if message.error():
        raise KafkaException(message.error())
    return read_record(
        message.key(),
        message.value(),
        message.headers(),
        message.timestamp()[1],
        message.partition(),
        message.offset(),
    )


if __name__ == "__main__":
    serve(Driver(sys.argv[1]))

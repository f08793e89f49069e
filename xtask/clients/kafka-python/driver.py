"""A driver around kafka-python 3."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType

from protocol import Refused, bytes_or_none, headers_of, read_record, serve

TIMEOUT = 30


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        self.producers = {}
        self.member = None

    def hello(self):
        return {
            "client": f"kafka-python {kafka.__version__}",
            "codecs": ["none", "gzip", "snappy", "lz4", "zstd"],
            "lacks": [],
            "cannot_write": ["no-key-no-value", "null-header-values"],
        }

    # Records

    def produce(self, topic, partition, codec, acks, idempotent, records):
        settings = (codec, acks, idempotent)
        producer = self.producers.get(settings)
        if producer is None:
            producer = self.producers[settings] = KafkaProducer(
                bootstrap_servers=self.bootstrap,
                compression_type=None if codec == "none" else codec,
                acks=acks if acks == "all" else int(acks),
                enable_idempotence=idempotent,
                # Without sequence numbers, a retry beside a later batch may change their order.
                max_in_flight_requests_per_connection=5 if idempotent else 1,
                linger_ms=20,
                max_request_size=2_000_000,
            )
        sent = [
            producer.send(
                topic,
                partition=partition,
                key=bytes_or_none(record["key"]),
                value=bytes_or_none(record["value"]),
                headers=headers_of(record),
                timestamp_ms=record["timestamp"],
            )
            for record in records
        ]
        producer.flush(TIMEOUT)
        offsets = [future.get(TIMEOUT).offset for future in sent]
        return [None if acks == "0" else offset for offset in offsets]

    def consume(self, topic, partition, **request):
        place = TopicPartition(topic, partition)
        consumer = self._consumer(None)
        consumer.assign([place])
        consumer.seek(place, request["from"])
        records = []
        deadline = time.monotonic() + request["timeout_ms"] / 1000
        while len(records) < request["count"] and time.monotonic() < deadline:
            left = request["count"] - len(records)
            records += _records(consumer.poll(500, max_records=left))
        consumer.close()
        return records

    def _consumer(self, group, **settings):
        return KafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            check_crcs=True,
            **settings,
        )

    def offset_for_timestamp(self, topic, partition, timestamp):
        place = TopicPartition(topic, partition)
        consumer = self._consumer(None)
        found = consumer.offsets_for_times({place: timestamp})[place]
        consumer.close()
        return None if found is None else found.offset

    def offsets(self, topic, partition):
        place = TopicPartition(topic, partition)
        consumer = self._consumer(None)
        answer = {
            "earliest": consumer.beginning_offsets([place])[place],
            "latest": consumer.end_offsets([place])[place],
        }
        consumer.close()
        return answer

    # Groups

    def subscribe(self, group, topic, session_timeout_ms):
        self.member = self._consumer(
            group,
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=500,
            metadata_max_age_ms=1000,
        )
        self.member.subscribe([topic])

    def poll(self, ms):
        records = _records(self.member.poll(ms))
        assigned = sorted(place.partition for place in self.member.assignment())
        return {"assigned": assigned, "records": records}

    def commit(self):
        self.member.commit()

    def unsubscribe(self):
        self.member.close()
        self.member = None

    def committed(self, group, topic, partition):
        committed = self.admin.list_group_offsets([group])[group]
        found = committed.get(TopicPartition(topic, partition))
        return None if found is None else found.offset

    def list_groups(self):
        return [group["group_id"] for group in self.admin.list_groups()]

    def describe_group(self, group, **_):
        described = self.admin.describe_groups([group])[group]
        return {"state": described["group_state"].lower(), "members": len(described["members"])}

    def delete_group(self, group, **_):
        outcome = self.admin.delete_groups([group])[group]
        if outcome != "OK":
            raise Refused(getattr(errors, outcome).errno, outcome)

    # Topics

    def create_topic(self, topic, partitions, configs):
        wanted = {"num_partitions": partitions, "replication_factor": -1, "configs": configs}
        self.admin.create_topics({topic: wanted})

    def list_topics(self):
        return self.admin.list_topics()

    def describe_topic(self, topic):
        [described] = self.admin.describe_topics([topic])
        return len(described["partitions"])

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])

    def describe_configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        described = self.admin.describe_configs([resource], config_filter="all")
        return {name: entry["value"] for name, entry in described["topic"][topic].items()}

    def alter_configs(self, topic, configs):
        self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])

    def create_partitions(self, topic, total):
        self.admin.create_partitions({topic: total})

    def delete_records(self, topic, partition, before):
        self.admin.delete_records({TopicPartition(topic, partition): before})


def _records(polled):
    return [
        read_record(
            record.key,
            record.value,
            record.headers,
            record.timestamp,
            record.partition,
            record.offset,
        )
        for records in polled.values()
        for record in records
    ]


if __name__ == "__main__":
    serve(Driver(sys.argv[1]))

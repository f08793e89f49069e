"""A driver around aiokafka.

Its event loop runs in a thread of its own, so that group members keep their heartbeats while the
driver waits for its next request.
"""

import asyncio
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from protocol import Refused, Unsupported, bytes_or_none, headers_of, read_record, serve

TIMEOUT = 60
# The only names of states and members in the old, unnamed answer of DescribeGroups.
GROUP_STATE, GROUP_MEMBERS = 2, 5


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        self.producers = {}
        self.member = None

    def hello(self):
        return {
            "client": f"aiokafka {aiokafka.__version__}",
            "codecs": ["none", "gzip", "snappy", "lz4", "zstd"],
            "lacks": [],
            "cannot_write": ["no-key-no-value"],
        }

    # Records

    async def produce(self, topic, partition, codec, acks, idempotent, records):
        settings = (codec, acks, idempotent)
        producer = self.producers.get(settings)
        if producer is None:
            producer = self.producers[settings] = AIOKafkaProducer(
                bootstrap_servers=self.bootstrap,
                compression_type=None if codec == "none" else codec,
                acks=acks if acks == "all" else int(acks),
                enable_idempotence=idempotent,
                linger_ms=20,
                max_request_size=2_000_000,
            )
            await producer.start()
        sent = [
            await producer.send(
                topic,
                partition=partition,
                key=bytes_or_none(record["key"]),
                value=bytes_or_none(record["value"]),
                headers=headers_of(record),
                timestamp_ms=record["timestamp"],
            )
            for record in records
        ]
        await producer.flush()
        if acks == "0":
            return [None] * len(records)
        return [(await future).offset for future in sent]

    async def consume(self, topic, partition, **request):
        place = TopicPartition(topic, partition)
        async with self._consumer(None) as consumer:
            consumer.assign([place])
            consumer.seek(place, request["from"])
            records = []
            deadline = time.monotonic() + request["timeout_ms"] / 1000
            while len(records) < request["count"] and time.monotonic() < deadline:
                left = request["count"] - len(records)
                records += _records(await consumer.getmany(timeout_ms=500, max_records=left))
            return records

    def _consumer(self, group, **settings):
        return AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            check_crcs=True,
            **settings,
        )

    async def offset_for_timestamp(self, topic, partition, timestamp):
        place = TopicPartition(topic, partition)
        async with self._consumer(None) as consumer:
            found = (await consumer.offsets_for_times({place: timestamp}))[place]
            return None if found is None else found.offset

    async def offsets(self, topic, partition):
        place = TopicPartition(topic, partition)
        async with self._consumer(None) as consumer:
            return {
                "earliest": (await consumer.beginning_offsets([place]))[place],
                "latest": (await consumer.end_offsets([place]))[place],
            }

    # Groups

    async def subscribe(self, group, topic, session_timeout_ms):
        self.member = self._consumer(
            group,
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=500,
            metadata_max_age_ms=1000,
        )
        self.member.subscribe([topic])
        # Starting waits for the first assignment, for which other members must be polled.
        self.starting = asyncio.ensure_future(self.member.start())

    async def poll(self, ms):
        if not self.starting.done():
            await asyncio.wait([self.starting], timeout=ms / 1000)
            return {"assigned": [], "records": []}
        await self.starting
        records = _records(await self.member.getmany(timeout_ms=ms))
        assigned = sorted(place.partition for place in self.member.assignment())
        return {"assigned": assigned, "records": records}

    async def commit(self):
        await self.member.commit()

    async def unsubscribe(self):
        await self.member.stop()
        self.member = None

    async def committed(self, group, topic, partition):
        admin = await self._admin()
        committed = await admin.list_consumer_group_offsets(group)
        found = committed.get(TopicPartition(topic, partition))
        return None if found is None else found.offset

    async def list_groups(self):
        return [group[0] for group in await (await self._admin()).list_consumer_groups()]

    async def describe_group(self, group, **_):
        [response] = await (await self._admin()).describe_consumer_groups([group])
        [described] = response.groups
        return {
            "state": described[GROUP_STATE].lower(),
            "members": len(described[GROUP_MEMBERS]),
        }

    async def delete_group(self, group, **_):
        raise Unsupported("aiokafka cannot delete groups")

    # Topics

    async def _admin(self):
        if self.client is not None:
            self.admin, self.client = self.client, None
            await self.admin.start()
        return self.admin

    async def create_topic(self, topic, partitions, configs):
        admin = await self._admin()
        # It does not leave the number of replicas to the cluster.
        replicas = min(3, len((await admin.describe_cluster())["brokers"]))
        new = NewTopic(topic, partitions, replicas, topic_configs=configs)
        _check((await admin.create_topics([new])).topic_errors)

    async def list_topics(self):
        return await (await self._admin()).list_topics()

    async def describe_topic(self, topic):
        [described] = await (await self._admin()).describe_topics([topic])
        return len(described["partitions"])

    async def delete_topic(self, topic):
        response = await (await self._admin()).delete_topics([topic])
        _check(response.topic_error_codes)

    async def describe_configs(self, topic):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        [response] = await (await self._admin()).describe_configs([resource])
        [(code, message, _, _, entries)] = response.resources
        _check([(topic, code, message)])
        return {entry[0]: entry[1] for entry in entries}

    async def alter_configs(self, topic, configs):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs)
        [response] = await (await self._admin()).alter_configs([resource])
        _check([(name, code, message) for code, message, _, name in response.resources])

    async def create_partitions(self, topic, total):
        admin = await self._admin()
        _check((await admin.create_partitions({topic: NewPartitions(total)})).topic_errors)

    async def delete_records(self, topic, partition, before):
        place = TopicPartition(topic, partition)
        await (await self._admin()).delete_records({place: RecordsToDelete(before)})


def _check(outcomes):
    """Raises the first error among rows of name, code and perhaps a message."""
    for name, code, *message in outcomes:
        if code:
            raise Refused(code, f"{name}: {for_code(code).__name__} {message}")


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


class Blocking:
    """The driver's operations, run to their end on a loop in another thread."""

    def __init__(self, bootstrap):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

        async def make():
            return Driver(bootstrap)

        self.driver = asyncio.run_coroutine_threadsafe(make(), self.loop).result(TIMEOUT)

    def __getattr__(self, operation):
        method = getattr(self.driver, operation)
        if not asyncio.iscoroutinefunction(method):
            return method

        def run(**request):
            future = asyncio.run_coroutine_threadsafe(method(**request), self.loop)
            return future.result(TIMEOUT)

        return run


if __name__ == "__main__":
    serve(Blocking(sys.argv[1]))

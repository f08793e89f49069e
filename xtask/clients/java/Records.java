import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** Writing and reading records, and where they are. */
final class Records {
    private static final int TIMEOUT_SECONDS = 30;

    private final Clients clients;

    Records(Clients clients) {
        this.clients = clients;
    }

    void register(Map<String, Driver.Operation> operations) {
        operations.put("produce", this::produce);
        operations.put("consume", this::consume);
        operations.put("offset_for_timestamp", this::offsetForTimestamp);
        operations.put("offsets", this::offsets);
    }

    private Object produce(JsonNode request) throws Exception {
        KafkaProducer<byte[], byte[]> producer = clients.producer(
                request.get("codec").asText(),
                request.get("acks").asText(),
                request.get("idempotent").asBoolean());
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (JsonNode record : request.get("records")) {
            sent.add(producer.send(toWrite(place(request), record)));
        }
        List<Long> offsets = new ArrayList<>();
        for (Future<RecordMetadata> future : sent) {
            RecordMetadata metadata = future.get(TIMEOUT_SECONDS, TimeUnit.SECONDS);
            offsets.add(metadata.hasOffset() ? metadata.offset() : null);
        }
        return offsets;
    }

    private static ProducerRecord<byte[], byte[]> toWrite(TopicPartition place, JsonNode record) {
        List<Header> headers = new ArrayList<>();
        for (JsonNode header : record.get("headers")) {
            headers.add(new RecordHeader(header.get(0).asText(), bytes(header.get(1))));
        }
        JsonNode timestamp = record.get("timestamp");
        return new ProducerRecord<>(
                place.topic(),
                place.partition(),
                timestamp.isNull() ? null : timestamp.asLong(),
                bytes(record.get("key")),
                bytes(record.get("value")),
                headers);
    }

    private Object consume(JsonNode request) {
        int count = request.get("count").asInt();
        List<Object> records = new ArrayList<>();
        long deadline = System.nanoTime() + request.get("timeout_ms").asLong() * 1_000_000;
        Map<String, Object> settings =
                Map.of(ConsumerConfig.CLIENT_RACK_CONFIG, request.path("rack").asText(""));
        try (KafkaConsumer<byte[], byte[]> consumer = clients.consumer(null, settings)) {
            consumer.assign(List.of(place(request)));
            consumer.seek(place(request), request.get("from").asLong());
            while (records.size() < count && System.nanoTime() < deadline) {
                records.addAll(read(consumer.poll(Duration.ofMillis(500))));
            }
        }
        return records.subList(0, Math.min(count, records.size()));
    }

    private Object offsetForTimestamp(JsonNode request) {
        try (KafkaConsumer<byte[], byte[]> consumer = clients.consumer(null, Map.of())) {
            Map<TopicPartition, Long> wanted =
                    Map.of(place(request), request.get("timestamp").asLong());
            OffsetAndTimestamp found = consumer.offsetsForTimes(wanted).get(place(request));
            return found == null ? null : found.offset();
        }
    }

    private Object offsets(JsonNode request) throws Exception {
        return Map.of(
                "earliest", offset(place(request), OffsetSpec.earliest()),
                "latest", offset(place(request), OffsetSpec.latest()));
    }

    private long offset(TopicPartition place, OffsetSpec spec) throws Exception {
        return clients.admin.listOffsets(Map.of(place, spec)).partitionResult(place).get().offset();
    }

    /** The topic and partition a request names. */
    static TopicPartition place(JsonNode request) {
        return new TopicPartition(request.get("topic").asText(), request.get("partition").asInt());
    }

    /** Records as the harness reads them. */
    static List<Object> read(ConsumerRecords<byte[], byte[]> polled) {
        List<Object> records = new ArrayList<>();
        for (ConsumerRecord<byte[], byte[]> record : polled) {
            List<String[]> headers = new ArrayList<>();
            for (Header header : record.headers()) {
                headers.add(new String[] {header.key(), Clients.hex(header.value())});
            }
            Map<String, Object> shown = new HashMap<>();
            shown.put("key", Clients.hex(record.key()));
            shown.put("value", Clients.hex(record.value()));
            shown.put("headers", headers);
            shown.put("timestamp", record.timestamp());
            shown.put("partition", record.partition());
            shown.put("offset", record.offset());
            records.add(shown);
        }
        return records;
    }

    private static byte[] bytes(JsonNode text) {
        return Clients.bytes(text.isNull() ? null : text.asText());
    }
}

import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The clients of one driver: an admin, and producers kept by their settings. */
final class Clients implements AutoCloseable {
    private static final HexFormat HEX = HexFormat.of();

    /** For topics, groups and configs. */
    final Admin admin;

    private final String bootstrap;
    private final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();

    Clients(String bootstrap) {
        this.bootstrap = bootstrap;
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    /** The producer of these settings, made when first wanted. */
    KafkaProducer<byte[], byte[]> producer(String codec, String acks, boolean idempotent) {
        return producers.computeIfAbsent(
                codec + " " + acks + " " + idempotent,
                key -> {
                    Map<String, Object> config = new HashMap<>();
                    config.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
                    config.put(ProducerConfig.COMPRESSION_TYPE_CONFIG, codec);
                    config.put(ProducerConfig.ACKS_CONFIG, acks);
                    config.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, idempotent);
                    // Without sequence numbers, a retry beside a later batch may change their order.
                    config.put(
                            ProducerConfig.MAX_IN_FLIGHT_REQUESTS_PER_CONNECTION,
                            idempotent ? 5 : 1);
                    config.put(ProducerConfig.LINGER_MS_CONFIG, 20);
                    config.put(ProducerConfig.MAX_REQUEST_SIZE_CONFIG, 2_000_000);
                    return new KafkaProducer<>(
                            config, new ByteArraySerializer(), new ByteArraySerializer());
                });
    }

    /** A consumer that commits nothing by itself; {@code group} may be null. */
    KafkaConsumer<byte[], byte[]> consumer(String group, Map<String, Object> settings) {
        Map<String, Object> config = new HashMap<>(settings);
        config.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        config.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        config.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        config.put(ConsumerConfig.METADATA_MAX_AGE_CONFIG, 1_000);
        if (group != null) {
            config.put(ConsumerConfig.GROUP_ID_CONFIG, group);
        }
        return new KafkaConsumer<>(
                config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** Bytes from hexadecimal text; null stays null. */
    static byte[] bytes(String text) {
        return text == null ? null : HEX.parseHex(text);
    }

    /** Hexadecimal text from bytes; null stays null. */
    static String hex(byte[] bytes) {
        return bytes == null ? null : HEX.formatHex(bytes);
    }

    @Override
    public void close() {
        producers.values().forEach(KafkaProducer::close);
        admin.close();
    }
}

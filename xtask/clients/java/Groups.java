import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** Being a group's member, and administering groups. */
final class Groups {
    private final Clients clients;
    private KafkaConsumer<byte[], byte[]> member;

    Groups(Clients clients) {
        this.clients = clients;
    }

    void register(Map<String, Driver.Operation> operations) {
        operations.put("subscribe", this::subscribe);
        operations.put("poll", this::poll);
        operations.put("commit", this::commit);
        operations.put("unsubscribe", this::unsubscribe);
        operations.put("committed", this::committed);
        operations.put("list_groups", this::listGroups);
        operations.put("describe_group", this::describeGroup);
        operations.put("delete_group", this::deleteGroup);
    }

    private Object subscribe(JsonNode request) {
        member = clients.consumer(
                request.get("group").asText(),
                Map.of(
                        ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG,
                        request.get("session_timeout_ms").asInt(),
                        ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG,
                        500));
        member.subscribe(List.of(request.get("topic").asText()));
        return null;
    }

    private Object poll(JsonNode request) {
        ConsumerRecords<byte[], byte[]> polled =
                member.poll(Duration.ofMillis(request.get("ms").asLong()));
        return Map.of(
                "assigned",
                member.assignment().stream().map(TopicPartition::partition).sorted().toList(),
                "records",
                Records.read(polled));
    }

    private Object commit(JsonNode request) {
        member.commitSync();
        return null;
    }

    private Object unsubscribe(JsonNode request) {
        member.close();
        member = null;
        return null;
    }

    private Object committed(JsonNode request) throws Exception {
        OffsetAndMetadata found = clients.admin
                .listConsumerGroupOffsets(group(request))
                .partitionsToOffsetAndMetadata()
                .get()
                .get(Records.place(request));
        return found == null ? null : found.offset();
    }

    private Object listGroups(JsonNode request) throws Exception {
        return clients.admin.listGroups().all().get().stream().map(GroupListing::groupId).toList();
    }

    private Object describeGroup(JsonNode request) throws Exception {
        ConsumerGroupDescription described = clients.admin
                .describeConsumerGroups(List.of(group(request)))
                .describedGroups()
                .get(group(request))
                .get();
        return Map.of(
                "state", described.groupState().toString().toLowerCase(Locale.ROOT),
                "members", described.members().size());
    }

    private Object deleteGroup(JsonNode request) throws Exception {
        clients.admin.deleteConsumerGroups(List.of(group(request))).all().get();
        return null;
    }

    private static String group(JsonNode request) {
        return request.get("group").asText();
    }
}

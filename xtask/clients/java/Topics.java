import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.common.config.ConfigResource;

/** Administering topics and their configs. */
final class Topics {
    private static final short DEFAULT_REPLICAS = -1;

    private final Clients clients;

    Topics(Clients clients) {
        this.clients = clients;
    }

    void register(Map<String, Driver.Operation> operations) {
        operations.put("create_topic", this::create);
        operations.put("list_topics", request -> clients.admin.listTopics().names().get());
        operations.put("describe_topic", this::describe);
        operations.put("delete_topic", this::delete);
        operations.put("describe_configs", this::describeConfigs);
        operations.put("alter_configs", this::alterConfigs);
        operations.put("create_partitions", this::createPartitions);
        operations.put("delete_records", this::deleteRecords);
    }

    private Object create(JsonNode request) throws Exception {
        int partitions = request.get("partitions").asInt();
        NewTopic topic = new NewTopic(name(request), partitions, DEFAULT_REPLICAS);
        clients.admin.createTopics(List.of(topic.configs(configs(request)))).all().get();
        return null;
    }

    private Object describe(JsonNode request) throws Exception {
        return clients.admin
                .describeTopics(List.of(name(request)))
                .allTopicNames()
                .get()
                .get(name(request))
                .partitions()
                .size();
    }

    private Object delete(JsonNode request) throws Exception {
        clients.admin.deleteTopics(List.of(name(request))).all().get();
        return null;
    }

    private Object describeConfigs(JsonNode request) throws Exception {
        Map<String, String> configs = new HashMap<>();
        clients.admin
                .describeConfigs(List.of(resource(request)))
                .all()
                .get()
                .get(resource(request))
                .entries()
                .forEach(entry -> configs.put(entry.name(), entry.value()));
        return configs;
    }

    private Object alterConfigs(JsonNode request) throws Exception {
        List<AlterConfigOp> changes = new ArrayList<>();
        configs(request).forEach((name, value) -> changes.add(
                new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
        clients.admin.incrementalAlterConfigs(Map.of(resource(request), changes)).all().get();
        return null;
    }

    private Object createPartitions(JsonNode request) throws Exception {
        NewPartitions total = NewPartitions.increaseTo(request.get("total").asInt());
        clients.admin.createPartitions(Map.of(name(request), total)).all().get();
        return null;
    }

    private Object deleteRecords(JsonNode request) throws Exception {
        RecordsToDelete before = RecordsToDelete.beforeOffset(request.get("before").asLong());
        clients.admin.deleteRecords(Map.of(Records.place(request), before)).all().get();
        return null;
    }

    private static String name(JsonNode request) {
        return request.get("topic").asText();
    }

    private static ConfigResource resource(JsonNode request) {
        return new ConfigResource(ConfigResource.Type.TOPIC, name(request));
    }

    private static Map<String, String> configs(JsonNode request) {
        Map<String, String> configs = new HashMap<>();
        request.get("configs").properties().forEach(
                config -> configs.put(config.getKey(), config.getValue().asText()));
        return configs;
    }
}

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.PartitionReassignment;
import org.apache.kafka.clients.admin.QuorumInfo;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;

/** Administering replicas: who has them, who leads, moving them. */
final class Cluster {
    private final Clients clients;

    Cluster(Clients clients) {
        this.clients = clients;
    }

    void register(Map<String, Driver.Operation> operations) {
        operations.put("describe_partition", this::describe);
        operations.put("elect_leader", this::elect);
        operations.put("reassign", this::reassign);
        operations.put("reassignments", this::reassignments);
        operations.put("describe_quorum", request -> quorum());
        operations.put("describe_log_dirs", this::logDirs);
    }

    private Object describe(JsonNode request) throws Exception {
        TopicPartition place = Records.place(request);
        TopicPartitionInfo found = clients.admin
                .describeTopics(List.of(place.topic()))
                .allTopicNames()
                .get()
                .get(place.topic())
                .partitions()
                .get(place.partition());
        return Map.of(
                "leader", found.leader() == null ? -1 : found.leader().id(),
                "replicas", ids(found.replicas()),
                "isr", ids(found.isr()),
                "elr", ids(found.elr()),
                "last_known_elr", ids(found.lastKnownElr()));
    }

    private static List<Integer> ids(List<Node> nodes) {
        return nodes == null ? List.of() : nodes.stream().map(Node::id).toList();
    }

    private Object elect(JsonNode request) throws Exception {
        TopicPartition place = Records.place(request);
        Optional<Throwable> refused = clients.admin
                .electLeaders(ElectionType.PREFERRED, Set.of(place))
                .partitions()
                .get()
                .get(place);
        if (refused.isPresent()) {
            throw (Exception) refused.get();
        }
        return null;
    }

    private Object reassign(JsonNode request) throws Exception {
        JsonNode wanted = request.get("replicas");
        Optional<NewPartitionReassignment> target = Optional.empty();
        if (!wanted.isNull()) {
            List<Integer> replicas = new java.util.ArrayList<>();
            wanted.forEach(replica -> replicas.add(replica.asInt()));
            target = Optional.of(new NewPartitionReassignment(replicas));
        }
        clients.admin
                .alterPartitionReassignments(Map.of(Records.place(request), target))
                .all()
                .get();
        return null;
    }

    private Object reassignments(JsonNode request) throws Exception {
        Map<TopicPartition, PartitionReassignment> found =
                clients.admin.listPartitionReassignments().reassignments().get();
        return found.keySet().stream().map(TopicPartition::toString).toList();
    }

    private Object quorum() throws Exception {
        QuorumInfo found = clients.admin.describeMetadataQuorum().quorumInfo().get();
        return Map.of(
                "leader", found.leaderId(),
                "voters", found.voters().stream()
                        .map(QuorumInfo.ReplicaState::replicaId).sorted().toList(),
                "log_ends", found.voters().stream()
                        .map(QuorumInfo.ReplicaState::logEndOffset).toList());
    }

    /** By node: the sizes of the topic's partitions there. */
    private Object logDirs(JsonNode request) throws Exception {
        String topic = request.get("topic").asText();
        List<Integer> nodes = clients.admin.describeCluster().nodes().get().stream()
                .map(Node::id).toList();
        Map<Integer, Map<Integer, Long>> sizes = new TreeMap<>();
        for (var node : clients.admin.describeLogDirs(nodes).allDescriptions().get().entrySet()) {
            Map<Integer, Long> here = new TreeMap<>();
            for (LogDirDescription directory : node.getValue().values()) {
                directory.replicaInfos().forEach((place, replica) -> {
                    if (place.topic().equals(topic)) {
                        here.put(place.partition(), replica.size());
                    }
                });
            }
            sizes.put(node.getKey(), here);
        }
        return sizes;
    }
}

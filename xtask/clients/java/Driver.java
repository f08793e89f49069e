import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * A driver around Apache Kafka's own Java clients: it reads requests from standard input, one JSON
 * object a line, hands each to {@link Records}, {@link Groups},
 * {@link Topics} or {@link Cluster}, and prints the
 * answer. The protocol is in {@code xtask/clients/README.md}.
 */
final class Driver {
    /** Does one operation and tells what the answer holds. */
    interface Operation {
        Object run(JsonNode request) throws Exception;
    }

    private static final ObjectMapper JSON = new ObjectMapper();

    private Driver() {}

    public static void main(String[] args) throws IOException {
        try (Clients clients = new Clients(args[0])) {
            Map<String, Operation> operations = new java.util.HashMap<>();
            operations.put("hello", request -> hello());
            new Records(clients).register(operations);
            new Groups(clients).register(operations);
            new Topics(clients).register(operations);
            new Cluster(clients).register(operations);
            BufferedReader input =
                    new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                JsonNode request = JSON.readTree(line);
                System.out.println(JSON.writeValueAsString(
                        answer(operations.get(request.get("op").asText()), request)));
            }
        }
    }

    private static Object hello() {
        return Map.of(
                "client", "Java kafka-clients " + AppInfoParser.getVersion(),
                "codecs", new String[] {"none", "gzip", "snappy", "lz4", "zstd"},
                "lacks", new String[] {},
                "offers", new String[] {"replicas", "racks"});
    }

    private static ObjectNode answer(Operation operation, JsonNode request) {
        ObjectNode answer = JSON.createObjectNode();
        try {
            answer.set("ok", JSON.valueToTree(operation.run(request)));
        } catch (Exception error) {
            Throwable cause =
                    error instanceof ExecutionException ? error.getCause() : error;
            ObjectNode shown = answer.putObject("error");
            shown.put("text", cause.toString());
            if (cause instanceof KafkaException) {
                Errors known = Errors.forException(cause);
                if (known != Errors.UNKNOWN_SERVER_ERROR) {
                    shown.put("code", known.code());
                }
            }
        }
        return answer;
    }
}

//! What scrapers, orchestrators and people get to see.

mod support;

use std::sync::Arc;
use std::time::Duration;

use plimsoll_admin::{Bounds, Family, Kind, Sample, Source};
use support::{Node, ask_on};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_node_is_alive_from_its_first_moment_and_not_ready() {
    let node = Node::start().await;
    assert_eq!(node.get("/livez").await.status, 200);
    let ready = node.get("/readyz").await;
    assert_eq!(ready.status, 503);
    let body = ready.json();
    assert_eq!(body["schema"], 1);
    assert_eq!(body["ready"], false);
    assert_eq!(body["gates"][0]["name"], "metadata");
    assert_eq!(body["gates"][0]["open"], false);
    let topics = node.get("/v1/topics").await;
    assert_eq!(
        (topics.status, topics.json()["error"]["code"].as_str()),
        (503, Some("starting"))
    );
    assert_eq!(node.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn a_node_is_ready_when_all_gates_are_open_until_it_stops() {
    let node = Node::start().await.ready().await;
    let ready = node.get("/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    let body = ready.json();
    let gates = body["gates"].as_array().expect("a list");
    let names: Vec<&str> = gates.iter().filter_map(|g| g["name"].as_str()).collect();
    let expected = [
        "metadata",
        "controller",
        "registered",
        "unfenced",
        "recovery",
        "kafka_listener",
        "running",
    ];
    assert_eq!(names, expected);
    let detail = gates[4]["detail"].as_str();
    assert!(detail.is_some_and(|detail| detail.starts_with("done")));
    node.admin.set_stopping();
    assert_eq!(node.get("/readyz").await.status, 503);
    assert_eq!(node.get("/livez").await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn a_node_whose_metadata_log_stopped_is_alive_and_not_ready_and_says_why() {
    let node = Node::start().await;
    let mut config = support::config();
    // As long as makes the next topic the last of the first log file.
    config.advertised.host = "h".repeat((4 << 20) - 1200);
    let broker = node.open_broker_with(config);
    broker.recover();
    assert!(broker.metadata_stopped().is_none());

    // The second log file has nowhere to be.
    let gone = node.dir.path().join("gone");
    std::fs::rename(node.dir.path().join("metadata"), gone).expect("moved");
    node.create_topic(&broker, "fills", 90).await;
    node.create_topic(&broker, "fails", 1).await;
    assert!(broker.image().topic("fills").is_some() && broker.image().topic("fails").is_none());
    let stopped = async {
        while broker.metadata_stopped().is_none() {
            tokio::task::yield_now().await;
        }
    };
    let stopped = tokio::time::timeout(Duration::from_secs(30), stopped).await;
    stopped.expect("the log's end is told");

    node.admin.attach(broker);
    node.admin.set_accepting(true);
    let ready = node.get("/readyz").await;
    assert_eq!(ready.status, 503);
    let gate = &ready.json()["gates"][0];
    assert_eq!(
        (&gate["name"], &gate["open"]),
        (&"metadata".into(), &false.into())
    );
    let detail = gate["detail"].as_str().expect("words");
    assert!(
        detail.starts_with("cannot be changed: writing to "),
        "{detail}"
    );
    assert_eq!(node.get("/livez").await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn a_silent_loop_is_named() {
    let node = Node::start().await;
    let pulse = node.admin.pulse("maintenance", Duration::from_secs(5));
    node.clock.advance(5_000);
    assert_eq!(node.get("/livez").await.status, 200);
    node.clock.advance(1);
    let live = node.get("/livez").await;
    assert_eq!(live.status, 503);
    assert_eq!(
        live.json()["stalled"][0],
        "maintenance has been silent for 5001 ms"
    );
    pulse.beat(plimsoll_broker::Clock::now(&*node.clock));
    assert_eq!(node.get("/livez").await.status, 200);
}

#[tokio::test]
async fn topics_are_told_with_configs_and_offsets() {
    let node = Node::start().await.ready().await;
    let topics = node.get("/v1/topics").await.json();
    assert_eq!(topics["schema"], 1);
    assert_eq!(topics["topics"][0]["name"], "t");
    assert_eq!(topics["topics"][0]["partitions"], 2);
    assert_eq!(topics["topics"][0]["offline_partitions"], 0);
    let topic = node.get("/v1/topics/t").await.json();
    let configs = topic["configs"].as_array().expect("a list");
    assert!(
        configs
            .iter()
            .any(|c| c["name"] == "retention.ms" && c["source"] == "default")
    );
    let partition = &topic["partition_list"][1];
    assert_eq!(
        (&partition["partition"], &partition["leader"]),
        (&1.into(), &1.into())
    );
    assert_eq!(partition["replica"]["state"], "leader");
    for end in [
        "log_start",
        "durable_end",
        "high_watermark",
        "log_end",
        "size_bytes",
    ] {
        assert!(partition["replica"][end].is_u64(), "{end}");
    }
    let partitions = node.get("/v1/partitions?topic=t").await.json();
    assert_eq!(partitions["partitions"], topic["partition_list"]);
    assert_eq!(node.get("/v1/partitions").await.json(), partitions);
}

#[tokio::test]
async fn the_cluster_is_told_with_its_nodes_and_disk() {
    let node = Node::start().await.ready().await;
    let cluster = node.get("/v1/cluster").await.json();
    assert_eq!(cluster["cluster_id"], "test-cluster");
    assert_eq!(cluster["nodes"][0]["id"], 1);
    assert_eq!(cluster["partitions"]["online"], 2);
    assert_eq!(cluster["build"]["version"], "1.2.3");
    assert!(cluster["disk"]["usable_bytes"].is_u64());
    let groups = node.get("/v1/groups").await.json();
    assert!(groups["groups"].is_array());
}

#[tokio::test]
async fn what_is_not_there_is_told_in_json() {
    let node = Node::start().await.ready().await;
    for path in [
        "/",
        "/v1",
        "/v1/topics/none",
        "/v1/partitions?topic=none",
        "/v1/groups/none",
    ] {
        let missing = node.get(path).await;
        assert_eq!(missing.status, 404, "{path}: {}", missing.body);
        assert_eq!(missing.json()["error"]["code"], "not_found");
    }
    let posted = node.ask("POST", "/v1/topics").await;
    assert_eq!(
        (posted.status, posted.json()["schema"].as_u64()),
        (405, Some(1))
    );
}

struct Listener;

impl Source for Listener {
    fn families(&self) -> Vec<Family> {
        let labels = vec![("reason", "client_closed".to_owned())];
        vec![Family {
            name: "plimsoll_connections_closed",
            help: "Connections closed",
            kind: Kind::Counter,
            samples: vec![Sample { labels, value: 3.0 }],
        }]
    }
}

#[tokio::test]
async fn metrics_have_the_names_that_dashboards_read() {
    let node = Node::start().await.ready().await;
    node.admin.add_metrics(Arc::new(Listener));
    let metrics = node.get("/metrics").await;
    assert!(
        metrics
            .head
            .contains("content-type: application/openmetrics-text; version=1.0.0")
    );
    let lines: Vec<&str> = metrics.body.lines().collect();
    for expected in [
        "kafka_brokers 1",
        "kafka_topic_partitions{topic=\"t\"} 2",
        "kafka_topic_partition_leader{topic=\"t\",partition=\"1\"} 1",
        "kafka_topic_partition_under_replicated_partition{topic=\"t\",partition=\"0\"} 0",
        "plimsoll_replicas{state=\"leader\"} 2",
        "plimsoll_replica_state{topic=\"t\",partition=\"0\",state=\"leader\"} 1",
        "plimsoll_connections_closed_total{reason=\"client_closed\"} 3.0",
        "plimsoll_hw_missed_wakeup_total 0",
        "plimsoll_controller_active 1",
        "plimsoll_node_trust 2",
        "plimsoll_node_fenced{node=\"1\"} 0",
        "plimsoll_partitions_under_min_isr 0",
        "plimsoll_replicas_out_of_sync{code=\"R002\",cause=\"peer-unreachable\"} 0",
        "plimsoll_replica_divergence_total 0",
        "plimsoll_replica_lag_records{topic=\"t\",partition=\"0\",node=\"1\"} 0.0",
        "plimsoll_replica_lag_bytes{topic=\"t\",partition=\"0\",node=\"1\"} 0.0",
        "plimsoll_replica_lag_seconds{topic=\"t\",partition=\"0\",node=\"1\"} 0.0",
        "plimsoll_replica_stalls_total{reason=\"no_progress\"} 0",
        "plimsoll_replica_heal_duration_seconds_count 0",
        "plimsoll_leader_elections_total 0",
        "plimsoll_build_info{version=\"1.2.3\",commit=\"unknown\"} 1",
        "# EOF",
    ] {
        assert!(lines.contains(&expected), "{expected}\n{}", metrics.body);
    }
    for beginning in [
        "kafka_topic_partition_current_offset{topic=\"t\",partition=\"0\"} ",
        "plimsoll_replica_high_watermark{topic=\"t\",partition=\"0\"} ",
        "plimsoll_request_duration_seconds_count{api=\"CreateTopics\",phase=\"total\"} 1",
        "plimsoll_request_duration_seconds_count{api=\"CreateTopics\",phase=\"work\"} 1",
        "plimsoll_request_duration_seconds_count{api=\"CreateTopics\",phase=\"wait\"} 1",
        "plimsoll_requests_total{api=\"Produce\"} ",
        "plimsoll_replica_heal_duration_seconds_bucket{le=\"+Inf\"} ",
        "plimsoll_request_duration_seconds_bucket{le=\"+Inf\",api=\"Fetch\"",
        "plimsoll_disk_free_bytes ",
        "plimsoll_fsync_duration_seconds_bucket{le=\"+Inf\"} ",
        "plimsoll_scrubbed_bytes_total ",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(beginning)),
            "{beginning}"
        );
    }
}

#[tokio::test]
async fn families_are_written_once_and_whole() {
    let node = Node::start().await.ready().await;
    let metrics = node.get("/metrics").await.body;
    let mut described = std::collections::BTreeSet::new();
    for line in metrics.lines() {
        if let Some(name) = line.strip_prefix("# TYPE ") {
            assert!(described.insert(name.to_owned()), "{name} twice");
        }
    }
    assert!(described.len() > 20);
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    let bounds = Bounds {
        max_connections: 2,
        ..Bounds::default()
    };
    let node = Node::within(bounds).await;
    let first = TcpStream::connect(node.address).await.expect("connects");
    let second = TcpStream::connect(node.address).await.expect("connects");
    let mut third = TcpStream::connect(node.address)
        .await
        .expect("the kernel takes it");
    let waiting = tokio::spawn(async move { ask_on(&mut third, "GET", "/livez").await });
    drop((first, second));
    assert_eq!(waiting.await.expect("no panic").status, 200);
}

#[tokio::test]
async fn a_silent_connection_loses_its_place() {
    let bounds = Bounds {
        max_silence: Duration::from_millis(20),
        ..Bounds::default()
    };
    let node = Node::within(bounds).await;
    let mut silent = TcpStream::connect(node.address).await.expect("connects");
    let mut end = Vec::new();
    // Closed or reset: either way it is over, and nothing was said.
    let _ = silent.read_to_end(&mut end).await;
    assert!(end.is_empty());
    assert_eq!(node.get("/livez").await.status, 200);
}

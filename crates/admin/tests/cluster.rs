//! What a node tells about the whole cluster, out of what it and the others know.

mod support;

use std::sync::{Arc, Mutex};

use plimsoll_admin::{Order, Orders};
use plimsoll_health::{Cause, ReplicaState};
use plimsoll_types::NodeId;
use support::cluster::{Fake, all_well, cluster, id, image, other, status};

#[tokio::test]
async fn a_healthy_cluster_has_nothing_to_tell() {
    let (own, others) = all_well();
    let node = cluster(image(None, &[1, 2, 3], Some(1)), Some(2), own, others).await;
    let health = node.get("/healthz").await;
    assert_eq!(health.status, 200, "{}", health.body);
    assert_eq!(health.json()["verdict"], "ok");
    let unhealthy = node.get("/v1/replicas?unhealthy=1").await.json();
    assert_eq!(unhealthy["replicas"], serde_json::json!([]));
    let doctor = node.get("/v1/doctor").await.json();
    assert_eq!(doctor["problems"], serde_json::json!([]));
    assert_eq!(
        doctor["summary"],
        "3 of 3 nodes answer, 1 partitions, 3 of 3 replicas in sync"
    );
    let status = node.get("/v1/status").await.json();
    assert_eq!(status["quorum_leader"], 2);
    assert_eq!(status["nodes"][1]["state"], "up");
    let can_stop = node.get("/v1/nodes/2/can-stop").await.json();
    assert_eq!(can_stop["can_stop"], true);
}

#[tokio::test]
async fn every_replica_has_a_row_with_every_key() {
    let (own, others) = all_well();
    let node = cluster(image(None, &[1, 2, 3], Some(1)), Some(1), own, others).await;
    let replicas = node.get("/v1/replicas").await.json();
    assert_eq!(replicas["schema"], 1);
    let rows = replicas["replicas"].as_array().expect("rows");
    assert_eq!(rows.len(), 3);
    for key in [
        "topic",
        "partition",
        "node",
        "leader",
        "state",
        "log_end",
        "durable_end",
        "high_watermark",
        "lag_records",
        "in_sync",
        "cause",
        "cause_name",
        "evidence",
        "action",
        "next_attempt",
        "estimate",
        "advice",
    ] {
        assert!(
            rows.iter().all(|row| row.get(key).is_some()),
            "{key}: {rows:?}"
        );
    }
    assert_eq!(rows[0]["state"], "leader");
    assert_eq!(rows[2]["in_sync"], true);
}

#[tokio::test]
async fn the_leaders_word_wins_over_silence() {
    let gone = status(3, ReplicaState::Offline, Some(Cause::PeerUnreachable), 40);
    let (mut own, mut others) = all_well();
    own[2] = gone;
    others.pop();
    let node = cluster(image(Some(3), &[1, 2], Some(1)), Some(1), own, others).await;
    let rows = node.get("/v1/replicas?unhealthy=true").await.json();
    let row = &rows["replicas"][0];
    assert_eq!(
        (&row["node"], &row["state"]),
        (&3.into(), &"offline".into())
    );
    assert_eq!(row["cause"], "R002");
    assert_eq!(row["cause_name"], "peer-unreachable");
    assert_eq!(
        (&row["log_end"], &row["in_sync"]),
        (&40.into(), &false.into())
    );
    assert_eq!(row["next_attempt"], 0.8);
    assert!(row["advice"].is_string());
    let doctor = node.get("/v1/doctor").await.json();
    assert_eq!(doctor["verdict"], "degraded");
    let problems = doctor["problems"].as_array().expect("a list");
    assert_eq!(
        problems.len(),
        1,
        "a dead node is one problem: {problems:?}"
    );
    assert_eq!(problems[0]["what"], "hello/0 on node 3 is offline");
    let status = node.get("/v1/status").await.json();
    assert_eq!(status["nodes"][2]["state"], "fenced");
    assert_eq!(status["nodes"][2]["reason"], "connection refused");
}

#[tokio::test]
async fn a_followers_own_word_gives_its_offsets_and_what_only_it_knows() {
    let (mut own, mut others) = all_well();
    own[1] = status(2, ReplicaState::CatchingUp, Some(Cause::CatchingUp), 50);
    others[0].1 = vec![status(
        2,
        ReplicaState::Stalled,
        Some(Cause::FollowerDiskFull),
        60,
    )];
    let node = cluster(image(None, &[1, 3], Some(1)), Some(1), own, others).await;
    let rows = node.get("/v1/replicas?unhealthy=1").await.json();
    let row = &rows["replicas"][0];
    assert_eq!(
        (&row["cause"], &row["log_end"]),
        (&"R001".into(), &60.into())
    );
    assert_eq!(
        (&row["lag_records"], &row["in_sync"]),
        (&50.into(), &false.into())
    );
}

#[tokio::test]
async fn without_a_leader_nothing_is_served_and_the_reason_is_told() {
    let own = vec![status(1, ReplicaState::Stalled, None, 80)];
    let node = cluster(image(Some(3), &[3], None), Some(1), own, Vec::new()).await;
    let health = node.get("/healthz").await;
    assert_eq!(health.status, 503, "{}", health.body);
    assert_eq!(health.json()["verdict"], "unhealthy");
    let doctor = node.get("/v1/doctor").await.json();
    let first = &doctor["problems"][0];
    assert_eq!(
        (&first["code"], &first["severe"]),
        (&"R015".into(), &true.into())
    );
    assert_eq!(first["what"], "hello/0 has no leader");
    assert_eq!(first["evidence"], "in sync when it had one: 3");
}

#[tokio::test]
async fn a_node_that_is_cut_off_does_not_know() {
    let (own, _) = all_well();
    let node = cluster(image(None, &[1, 2, 3], Some(1)), None, own, Vec::new()).await;
    let health = node.get("/healthz").await;
    assert_eq!(
        (health.status, &health.json()["verdict"]),
        (503, &"unknown".into())
    );
    assert!(health.body.contains("1 of 3 nodes can be heard from here"));
}

#[tokio::test]
async fn a_node_that_may_not_stop_says_for_whose_sake() {
    let (own, others) = all_well();
    let node = cluster(image(None, &[2], Some(2)), Some(1), own, others).await;
    let can_stop = node.get("/v1/nodes/2/can-stop").await.json();
    assert_eq!(can_stop["can_stop"], false);
    assert_eq!(can_stop["partitions"][0], "hello/0");
    assert_eq!(node.get("/v1/nodes/9/can-stop").await.status, 404);

    // In the ISR, but not in fact.
    let (mut own, mut others) = all_well();
    let cause = Some(Cause::PeerUnreachable);
    own[1] = status(2, ReplicaState::Offline, cause, 90);
    own[2] = status(3, ReplicaState::Offline, cause, 90);
    others.clear();
    let node = cluster(image(None, &[1, 2, 3], Some(1)), Some(1), own, others).await;
    let can_stop = node.get("/v1/nodes/1/can-stop").await.json();
    assert_eq!(can_stop["can_stop"], false);
}

#[tokio::test]
async fn the_flight_recorders_of_all_nodes_are_told_together() {
    let (own, mut others) = all_well();
    others.pop();
    let node = cluster(image(None, &[1, 2, 3], Some(1)), Some(1), own, others).await;
    let history = node.get("/v1/partitions/hello/0/history?since=2h").await;
    assert_eq!(history.status, 200, "{}", history.body);
    let history = history.json();
    assert_eq!(history["events"][0]["what"], "seen by 1");
    assert_eq!(history["events"][1]["what"], "seen by 2");
    assert_eq!(history["events"][0]["at_ms"], 1_699_999_000_000_u64);
    assert_eq!(history["silent"][0]["node"], 3);
    for (path, status) in [
        ("/v1/partitions/hello/0/history?since=soon", 400),
        ("/v1/partitions/hello/1/history", 404),
        ("/v1/partitions/hello/x/history", 404),
    ] {
        assert_eq!(node.get(path).await.status, status, "{path}");
    }
}

#[derive(Default)]
struct Given(Mutex<Vec<(Order, NodeId)>>);

#[async_trait::async_trait]
impl Orders for Given {
    async fn carry_out(&self, order: Order, node: NodeId) -> Result<String, String> {
        self.0.lock().expect("no panic").push((order, node));
        match node.get() {
            9 => Err("there is no node 9".to_owned()),
            _ => Ok("done".to_owned()),
        }
    }
}

#[tokio::test]
async fn orders_are_given_by_those_who_mean_it() {
    let (own, others) = all_well();
    let node = cluster(image(None, &[1, 2, 3], Some(1)), Some(1), own, others).await;
    let header = "X-Plimsoll-Request: 1\r\n";
    let absent = node.order("/v1/chaos/kill/2", header).await;
    assert_eq!(absent.status, 409, "{}", absent.body);
    let orders = Arc::new(Given::default());
    node.admin.set_chaos(Arc::clone(&orders) as Arc<dyn Orders>);
    node.admin
        .set_operator(Arc::clone(&orders) as Arc<dyn Orders>);
    assert_eq!(node.order("/v1/chaos/kill/2", "").await.status, 400);
    assert_eq!(node.order("/v1/chaos/drain/2", header).await.status, 404);
    assert!(orders.0.lock().expect("no panic").is_empty());
    assert_eq!(node.order("/v1/chaos/kill/2", header).await.status, 200);
    assert_eq!(node.order("/v1/nodes/3/drain", header).await.status, 200);
    assert_eq!(node.order("/v1/nodes/9/drain", header).await.status, 409);
    let given = orders.0.lock().expect("no panic").clone();
    assert_eq!(
        given,
        [
            (Order::Kill, id(2)),
            (Order::Drain, id(3)),
            (Order::Drain, id(9))
        ]
    );
}

#[tokio::test]
async fn what_is_not_understood_is_answered_all_the_same() {
    let admin = other(Fake {
        me: 2,
        image: Arc::new(image(None, &[1], Some(1))),
        controller: None,
        statuses: Vec::new(),
    });
    let answer = admin.answer_query(b"{\"query\":\"weather\"}");
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(answer["answer"], "failed");
}

//! The verbs against a real node: answers, exit codes, and what destroys asks first.

use serde_json::Value;

use crate::node::Node;

fn node() -> (tempfile::TempDir, Node) {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path());
    (dir, node)
}

#[test]
fn topics_are_made_shown_changed_and_deleted() {
    let (_dir, node) = node();
    node.ok(
        &[
            "topic",
            "create",
            "orders",
            "-p",
            "3",
            "-c",
            "retention.ms=1000",
        ],
        b"",
    );
    assert_eq!(node.ok(&["topic", "list", "-o", "name"], b""), "orders\n");
    node.ok(
        &[
            "topic",
            "set",
            "orders",
            "retention.ms=",
            "segment.bytes=1048576",
        ],
        b"",
    );

    let described = node.ok(&["topic", "describe", "orders", "-o", "json"], b"");
    let described: Value = serde_json::from_str(&described).expect("JSON");
    let topic = &described["topics"][0];
    assert_eq!(described["schema"], 1);
    assert_eq!(topic["partitions"].as_array().map(Vec::len), Some(3));
    assert_eq!(topic["configs"]["segment.bytes"]["source"], "topic");
    assert_eq!(topic["configs"]["retention.ms"]["source"], "default");

    node.ok(&["topic", "delete", "orders", "--yes"], b"");
    assert_eq!(node.ok(&["topic", "list", "-o", "name"], b""), "");
}

#[test]
fn scripts_learn_what_happened_from_the_exit_code() {
    let (_dir, node) = node();
    node.ok(&["topic", "create", "here"], b"");
    for (arguments, code) in [
        (&["topic", "create", "here"][..], 6),
        (&["topic", "create", "here", "--if-not-exists"], 0),
        (&["topic", "create", "wide", "-r", "3"], 1),
        (&["topic", "create", "odd", "-c", "retention.ms=soon"], 1),
        (&["topic", "describe", "gone"], 4),
        (&["topic", "describe", "here", "gone"], 4),
        (&["topic", "delete", "gone", "--yes"], 4),
        (&["consume", "gone", "-e"], 4),
        (&["consume", "here", "-p", "9", "-e"], 4),
        (&["group", "describe", "gone"], 4),
        (&["status"], 0),
    ] {
        let said = node.run(arguments, b"");
        assert_eq!(said.code, code, "{arguments:?}: {}", said.err);
        let errors = said
            .err
            .lines()
            .filter(|line| line.starts_with("error[P"))
            .count();
        assert_eq!(
            errors,
            usize::from(code != 0),
            "{arguments:?}: {}",
            said.err
        );
    }
}

#[test]
fn nothing_is_deleted_without_a_yes() {
    let (_dir, node) = node();
    node.ok(&["produce", "precious"], b"one\n");
    let said = node.run(&["topic", "delete", "precious"], b"y\n");
    assert_eq!(said.code, 7, "no terminal, so nobody can have agreed");
    assert!(said.err.contains("offsets held 1"), "{}", said.err);
    node.ok(&["topic", "delete", "precious", "--dry-run"], b"");
    assert_eq!(
        node.ok(&["consume", "precious", "-o", "beginning", "-e"], b""),
        "one\n"
    );
}

#[test]
fn keys_headers_nulls_and_codecs_come_back_as_they_were_sent() {
    let (_dir, node) = node();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let produce = ["produce", codec, "-K", ":", "-Z", "-H", "a=1", "-z", codec];
        node.ok(&produce, b"k1:v1\nk2:\nplain\n");
        let format = [
            "consume",
            codec,
            "-o",
            "beginning",
            "-e",
            "-f",
            "%k|%v|%V|%h\\n",
        ];
        assert_eq!(
            node.ok(&format, b""),
            "k1|v1|2|a=1\nk2||-1|a=1\n|plain|5|a=1\n",
            "{codec}"
        );
    }
}

#[test]
fn consuming_starts_where_it_is_told() {
    let (_dir, node) = node();
    node.ok(&["produce", "t"], b"a\nb\nc\nd\n");
    for (offset, expected) in [
        ("beginning", "a\nb\nc\nd\n"),
        ("2", "c\nd\n"),
        ("-1", "d\n"),
        ("-99", "a\nb\nc\nd\n"),
        ("end", ""),
    ] {
        assert_eq!(
            node.ok(&["consume", "t", "-e", "-o", offset], b""),
            expected,
            "{offset}"
        );
    }
    assert_eq!(
        node.ok(&["consume", "t", "-o", "@0", "-c", "1"], b""),
        "a\n"
    );
    assert_eq!(
        node.ok(&["consume", "t", "-e", "-o", "@99999999999999"], b""),
        ""
    );
}

#[test]
fn a_group_reads_on_where_it_stopped_and_can_be_described() {
    let (_dir, node) = node();
    node.ok(&["produce", "t"], b"a\nb\nc\n");
    let first = [
        "consume",
        "t",
        "-g",
        "readers",
        "-o",
        "beginning",
        "-c",
        "2",
    ];
    assert_eq!(node.ok(&first, b""), "a\nb\n");
    assert_eq!(node.ok(&["group", "list", "-o", "name"], b""), "readers\n");
    let described = node.ok(&["group", "describe", "readers", "-o", "json"], b"");
    let described: Value = serde_json::from_str(&described).expect("JSON");
    let position = &described["groups"][0]["partitions"][0];
    assert_eq!(
        (&position["committed_offset"], &position["behind"]),
        (&2.into(), &1.into())
    );
    assert_eq!(
        node.ok(&["consume", "t", "-g", "readers", "-e"], b""),
        "c\n"
    );
}

#[test]
fn records_are_json_lines_for_machines() {
    let (_dir, node) = node();
    node.ok(&["produce", "t"], b"a\n\xff\n");
    let lines = node.ok(
        &["consume", "t", "-o", "beginning", "-e", "--output", "json"],
        b"",
    );
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        (&lines[0]["value"], &lines[1]["offset"]),
        (&"a".into(), &1.into())
    );
    assert_eq!(lines[1]["value_base64"], "/w==");
}

#[test]
fn a_record_of_a_megabyte_goes_through_and_a_greater_one_is_refused() {
    let (_dir, node) = node();
    let large = vec![b'x'; 1_000_000];
    node.ok(&["produce", "t", "--whole"], &large);
    let back = node.ok(&["consume", "t", "-o", "beginning", "-e"], b"");
    assert!(back.trim_end().bytes().eq(large));
    let said = node.run(&["produce", "t", "--whole"], &vec![b'x'; 2_000_000]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("error[P0308]"), "{}", said.err);
}

//! Parts of a node's JSON as words for people; what is absent is empty.

use std::time::Duration;

use serde_json::Value;

pub(super) fn text(of: &Value, name: &str) -> String {
    match &of[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number, or `-`.
pub(super) fn number(of: &Value, name: &str) -> String {
    match &of[name] {
        Value::Null => "-".to_owned(),
        number => number.to_string(),
    }
}

/// A number of seconds; see [`time`].
pub(super) fn seconds(of: &Value, name: &str) -> Option<String> {
    let seconds = of[name].as_f64()?;
    Duration::try_from_secs_f64(seconds).ok().map(time)
}

/// `0.8 s`, `3 min 5 s`, `2 h 10 min`.
pub(super) fn time(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{s}.{} s", time.subsec_millis() / 100),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_absent_is_not_made_up() {
        let of = json!({"a": null, "b": 7, "c": "x", "t": 185.2});
        assert_eq!((text(&of, "a"), text(&of, "z")), Default::default());
        assert_eq!(
            (number(&of, "a"), number(&of, "b")),
            ("-".into(), "7".into())
        );
        assert_eq!(text(&of, "c"), "x");
        assert_eq!(seconds(&of, "t").as_deref(), Some("3 min 5 s"));
        assert_eq!(seconds(&of, "a"), None);
    }
}

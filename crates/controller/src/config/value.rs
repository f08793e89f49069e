//! Config values: text in, canonical text out.

use super::keys::Kind;
use crate::refusal::ConfigFault;
use std::fmt::Display;
use std::str::FromStr;

/// The canonical text of `value` for a key of this kind: without blanks, numbers in plain
/// digits, list words once each and in the order given.
///
/// # Errors
/// What the value should have been.
pub fn canonical(key: &str, kind: Kind, value: &str) -> Result<String, ConfigFault> {
    let text = value.trim();
    let legal = match kind {
        Kind::Int { min, max } => number(text, min, max),
        Kind::Long { min, max } => number(text, min, max),
        Kind::Ratio => ratio(text),
        Kind::Truth => choice(&text.to_ascii_lowercase(), &["true", "false"]),
        Kind::Choice(words) => choice(text, words),
        Kind::List(words) => list(text, words),
    };
    legal.map_err(|expected| ConfigFault::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        expected,
    })
}

fn number<T: Copy + FromStr + PartialOrd + Display>(
    text: &str,
    min: T,
    max: T,
) -> Result<String, String> {
    match text.parse::<T>() {
        Ok(number) if number < min => Err(format!("Value must be at least {min}")),
        Ok(number) if number > max => Err(format!("Value must be no more than {max}")),
        Ok(number) => Ok(number.to_string()),
        Err(_) => Err(format!("Not a whole number from {min} to {max}")),
    }
}

fn ratio(text: &str) -> Result<String, String> {
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio.to_string()),
        _ => Err("Not a fraction from 0 to 1".to_owned()),
    }
}

fn choice(text: &str, words: &[&str]) -> Result<String, String> {
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("String must be one of: {}", words.join(", ")))
}

fn list(text: &str, words: &[&str]) -> Result<String, String> {
    let mut given: Vec<&str> = Vec::new();
    for word in text.split(',').map(str::trim) {
        if !words.contains(&word) {
            return Err(format!(
                "String must be one or more of: {}",
                words.join(", ")
            ));
        }
        if !given.contains(&word) {
            given.push(word);
        }
    }
    Ok(given.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODDS: Kind = Kind::Int { min: 1, max: 9 };
    const LIST: Kind = Kind::List(&["compact", "delete"]);

    #[test]
    fn legal_values_come_out_canonical() {
        let cases = [
            (ODDS, " 07 ", "7"),
            (Kind::Ratio, "0.50", "0.5"),
            (Kind::Ratio, "1", "1"),
            (LIST, "compact , delete,compact", "compact,delete"),
            (Kind::Choice(&["fsync", "os"]), "os", "os"),
        ];
        for (kind, value, expected) in cases {
            assert_eq!(canonical("k", kind, value).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn illegal_values_are_told_what_is_legal() {
        let cases = [
            (ODDS, "0", "at least 1"),
            (ODDS, "10", "no more than 9"),
            (ODDS, "ten", "whole number from 1 to 9"),
            (ODDS, "", "whole number"),
            (Kind::Ratio, "NaN", "fraction"),
            (Kind::Ratio, "1.1", "fraction"),
            (LIST, "", "one or more of: compact, delete"),
            (LIST, "compact,", "one or more of"),
            (Kind::Choice(&["fsync", "os"]), "FSYNC", "one of: fsync, os"),
        ];
        for (kind, value, expected) in cases {
            let fault = canonical("k", kind, value).expect_err(value).to_string();
            assert!(fault.contains(expected), "{value:?}: {fault}");
        }
    }
}

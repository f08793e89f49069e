//! The `Debug` form of a message as a tree, so that two libraries' structs can be compared by the
//! names and values of their fields. Equal bytes alone would not show two fields mixed up.

use std::collections::BTreeMap;

/// A value as `Debug` shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Struct(String, BTreeMap<String, Shape>),
    List(Vec<Shape>),
    Some(Box<Shape>),
    /// A number, a boolean, a quoted string, a uuid, `None`, an empty map.
    Plain(String),
}

impl Shape {
    /// The tree of `value`; a wrapper with one field counts as what it wraps.
    pub(crate) fn of(value: &impl std::fmt::Debug) -> Self {
        let text = format!("{value:?}");
        let mut parser = Parser { rest: &text };
        let shape = parser.value();
        assert_eq!(parser.rest, "", "all of the text is read: {text}");
        shape
    }

    /// How many bytes a quoted byte string shows, or an abbreviation of records tells.
    fn record_bytes(&self) -> Option<usize> {
        let Self::Plain(text) = self else { return None };
        if let Ok(bytes) = text.strip_suffix(" bytes")?.parse() {
            return Some(bytes);
        }
        None
    }
}

/// Asserts that `ours` has the names and values of `theirs`, but for the fields that `is_beyond`
/// says belong to versions not served.
pub(crate) fn assert_alike(
    ours: &Shape,
    theirs: &Shape,
    is_beyond: &impl Fn(&str, &str) -> bool,
    place: &str,
) {
    match (ours, theirs) {
        (Shape::Struct(our_name, our_fields), Shape::Struct(their_name, their_fields)) => {
            assert_eq!(our_name, their_name, "{place}");
            for (name, their) in their_fields {
                let Some(our) = our_fields.get(name) else {
                    assert!(is_beyond(their_name, name), "{place}.{name} is missing");
                    continue;
                };
                assert_alike(our, their, is_beyond, &format!("{place}.{name}"));
            }
            for name in our_fields.keys() {
                assert!(their_fields.contains_key(name), "{place}.{name} is unknown");
            }
        }
        (Shape::List(ours), Shape::List(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{place}");
            for (our, their) in ours.iter().zip(theirs) {
                assert_alike(our, their, is_beyond, place);
            }
        }
        (Shape::Some(our), Shape::Some(their)) => assert_alike(our, their, is_beyond, place),
        // Records show their size alone; their bytes are compared where messages are encoded.
        (our, Shape::Plain(_)) if our.record_bytes().is_some() => {}
        _ => assert_eq!(ours, theirs, "{place}"),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn value(&mut self) -> Shape {
        if self.eat("[") {
            let mut list = Vec::new();
            while !self.eat("]") {
                list.push(self.value());
                self.eat(", ");
            }
            return Shape::List(list);
        }
        if self.rest.starts_with('"') || self.rest.starts_with("b\"") {
            return self.quoted();
        }
        let end = self
            .rest
            .find([' ', '(', ')', ',', ']', '}'])
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let word = word.to_owned();
        self.rest = rest;
        if word == "{" {
            assert!(self.eat("}"), "only empty maps");
            return Shape::Plain("{}".to_owned());
        }
        if self.eat(" { ") {
            let mut fields = BTreeMap::new();
            while !self.eat(" }") {
                let (name, rest) = self.rest.split_once(": ").expect("a field");
                let name = name.trim_start_matches("r#").to_owned();
                self.rest = rest;
                fields.insert(name, self.value());
                self.eat(", ");
            }
            return Shape::Struct(word, fields);
        }
        if word == "Records" && self.eat("(") {
            let (size, rest) = self.rest.split_once(')').expect("an end");
            let size = size.to_owned();
            self.rest = rest;
            return Shape::Plain(size);
        }
        if self.eat("(") {
            let inner = self.value();
            assert!(self.eat(")"), "one field alone in {word}: {}", self.rest);
            return if word == "Some" {
                Shape::Some(Box::new(inner))
            } else {
                inner
            };
        }
        Shape::Plain(word)
    }

    fn quoted(&mut self) -> Shape {
        let start = self.rest.find('"').expect("a quote") + 1;
        let mut escaped = false;
        let end = self.rest[start..].find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (text, rest) = self.rest.split_at(start + end.expect("an end") + 1);
        let text = text.to_owned();
        self.rest = rest;
        Shape::Plain(text)
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

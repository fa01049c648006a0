//! Reads TOML tables key by key: each key is asked for by name and type, and what nobody asked for
//! is an error. Every error knows the bytes that it is about.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Problem;
use crate::time::parse_duration;

/// A table that is being read.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// How an error calls it: `[alua]`, `[[unit]]`.
    name: String,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
    asked: Vec<&'static str>,
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Field<'a> {
    pub(crate) key: &'static str,
    value: &'a DeValue<'a>,
    pub(crate) span: Range<usize>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(name: &str, entries: &'a DeTable<'a>, span: Range<usize>) -> Self {
        Self { name: name.to_owned(), entries, span, asked: Vec::new() }
    }

    /// The same table under the name that errors shall use.
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// The value of `key`, if it is there.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.asked.push(key);
        let value: &Spanned<DeValue<'a>> = self.entries.get(key)?;
        Some(Field { key, value: value.get_ref(), span: value.span() })
    }

    /// The value of `key`, which must be there.
    pub(crate) fn need(&mut self, key: &'static str) -> Result<Field<'a>, Problem> {
        let (span, name) = (self.head(), self.name.clone());
        self.get(key).ok_or_else(|| {
            Problem::new(span, format!("{name} has no `{key}`"), format!("add a `{key} = ...`"))
        })
    }

    /// The key's value by `read`, or `default`.
    pub(crate) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(Field<'a>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.get(key).map_or(Ok(default), read)
    }

    /// The key's value by `read`, if it is there.
    pub(crate) fn maybe<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Field<'a>) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        self.get(key).map(read).transpose()
    }

    /// The tables of `[[key]]`.
    pub(crate) fn tables(&mut self, key: &'static str) -> Result<Vec<Self>, Problem> {
        let Some(field) = self.get(key) else { return Ok(Vec::new()) };
        let name = format!("[[{key}]]");
        let wrong = |span| Problem::new(span, format!("`{key}` is not a list of tables"), &*name);
        let items = field.value.as_array().ok_or_else(|| wrong(field.span.clone()))?;
        let mut tables = Vec::with_capacity(items.len());
        for item in items.iter() {
            let entries = item.get_ref().as_table().ok_or_else(|| wrong(item.span()))?;
            tables.push(Self::new(&name, entries, item.span()));
        }
        Ok(tables)
    }

    /// Ends the reading: a key that nobody asked for is an error.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let stray = self
            .entries
            .keys()
            .filter(|key| !self.asked.contains(&key.get_ref().as_ref()))
            .min_by_key(|key| key.span().start);
        let Some(stray) = stray else { return Ok(()) };
        let name: &str = stray.get_ref();
        Err(Problem::new(
            stray.span(),
            format!("{} has no key `{name}`", self.name),
            allowed(name, &self.asked),
        ))
    }

    /// The first byte of the table: where its name stands.
    fn head(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// "it takes: a, b, c", led by the nearest of them when that is near.
fn allowed(found: &str, names: &[&str]) -> String {
    let list = format!("allowed: {}", names.join(", "));
    let near = names.iter().map(|&name| (distance(found, name), name)).min();
    match near {
        Some((distance, name)) if distance <= 2 && distance < found.len() => {
            format!("did you mean `{name}`? {list}")
        }
        _ => list,
    }
}

/// How many letters must be added, dropped, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

impl<'a> Field<'a> {
    /// An error about this value.
    pub(crate) fn wrong(&self, message: &str, help: impl Into<String>) -> Problem {
        Problem::new(self.span.clone(), format!("`{}` {message}", self.key), help)
    }

    fn not_a(&self, expected: &str) -> Problem {
        self.wrong(&format!("must be {expected}; this is of type {}", self.value.type_str()), "")
    }

    pub(crate) fn str(&self) -> Result<&'a str, Problem> {
        match self.value {
            DeValue::String(text) => Ok(text),
            _ => Err(self.not_a("a string")),
        }
    }

    pub(crate) fn string(self) -> Result<String, Problem> {
        self.str().map(str::to_owned)
    }

    pub(crate) fn bool(self) -> Result<bool, Problem> {
        self.value.as_bool().ok_or_else(|| self.not_a("true or false"))
    }

    /// An integer from `low` to `high`.
    pub(crate) fn integer(self, low: u64, high: u64) -> Result<u64, Problem> {
        let number = self.value.as_integer().ok_or_else(|| self.not_a("an integer"))?;
        u64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|value| (low..=high).contains(value))
            .ok_or_else(|| self.wrong("is out of range", format!("allowed: {low} to {high}")))
    }

    pub(crate) fn u64(self) -> Result<u64, Problem> {
        // TOML's integers are signed.
        self.integer(0, i64::MAX.unsigned_abs())
    }

    pub(crate) fn u32(self) -> Result<u32, Problem> {
        Ok(u32::try_from(self.integer(0, u32::MAX.into())?).unwrap_or(u32::MAX))
    }

    pub(crate) fn u16(self) -> Result<u16, Problem> {
        Ok(u16::try_from(self.integer(0, u16::MAX.into())?).unwrap_or(u16::MAX))
    }

    pub(crate) fn u8(self) -> Result<u8, Problem> {
        Ok(u8::try_from(self.integer(0, u8::MAX.into())?).unwrap_or(u8::MAX))
    }

    pub(crate) fn duration(self) -> Result<Duration, Problem> {
        let help = "a number and a unit in quotes: \"250ms\", \"3s\", \"2min\" (ns, us, ms, s, \
                    min, h)";
        let text = self.str().map_err(|wrong| Problem { help: help.to_owned(), ..wrong })?;
        parse_duration(text).ok_or_else(|| self.wrong("is not a length of time", help))
    }

    /// One of `names`.
    pub(crate) fn choice<T: Copy>(self, names: &[(&str, T)]) -> Result<T, Problem> {
        let text = self.str()?;
        names.iter().find(|(name, _)| *name == text).map(|&(_, value)| value).ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(|&(name, _)| name).collect();
            self.wrong(&format!("cannot be \"{text}\""), allowed(text, &names))
        })
    }

    /// Bytes in hexadecimal; blanks between them are ignored.
    pub(crate) fn bytes(self) -> Result<Vec<u8>, Problem> {
        let digits: Vec<char> = self.str()?.chars().filter(|c| !c.is_whitespace()).collect();
        let wrong = || self.wrong("is not hexadecimal bytes", "for example \"00 0a ff\"");
        if !digits.len().is_multiple_of(2) {
            return Err(wrong());
        }
        let byte = |pair: &[char]| {
            let (high, low) = (pair.first()?.to_digit(16)?, pair.get(1)?.to_digit(16)?);
            u8::try_from(high << 4 | low).ok()
        };
        digits.chunks(2).map(|pair| byte(pair).ok_or_else(wrong)).collect()
    }

    /// The items of a list; a single value counts as a list of one.
    pub(crate) fn list(self) -> Vec<Self> {
        match self.value.as_array() {
            Some(items) => items
                .iter()
                .map(|item| Self { key: self.key, value: item.get_ref(), span: item.span() })
                .collect(),
            None => vec![self],
        }
    }

    pub(crate) fn table(self) -> Result<Table<'a>, Problem> {
        let entries = self.value.as_table().ok_or_else(|| self.not_a("a table"))?;
        Ok(Table::new(&format!("`{}`", self.key), entries, self.span))
    }

    /// The pairs of a table whose keys are numbers.
    pub(crate) fn numbered(self) -> Result<Vec<(u16, Self)>, Problem> {
        let entries = self.value.as_table().ok_or_else(|| self.not_a("a table"))?;
        let mut pairs = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let id = name.get_ref().parse().map_err(|_| {
                Problem::new(name.span(), "the key is not a group id", "a number from 0 to 65535")
            })?;
            let field = Self { key: self.key, value: value.get_ref(), span: value.span() };
            pairs.push((id, field));
        }
        Ok(pairs)
    }
}

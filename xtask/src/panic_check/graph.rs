//! Who refers to whom in a linked object: one node per section, since the compiler gives each
//! function its own.

use std::collections::{BTreeMap, HashMap, VecDeque};

use anyhow::Result;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SymbolKind};

/// What the name of a function of the panic machinery holds.
const PANIC: [&str; 8] = [
    "core::panicking",
    "panic_fmt",
    "unwrap_failed",
    "expect_failed",
    "slice_index_fail",
    "slice_error_fail",
    "len_mismatch_fail",
    "rust_begin_unwind",
];

/// A function or a constant, and what it refers to.
#[derive(Debug)]
struct Node {
    /// Its plain name.
    name: String,
    ours: bool,
    code: bool,
    size: u64,
    uses: Vec<usize>,
}

/// Code and data that is left after linking, in bytes.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) ours: u64,
    pub(super) core: u64,
    pub(super) constants: u64,
}

/// A linked object.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    roots: usize,
}

/// A symbol's name as Rust source spells it.
pub(super) fn plain(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

impl Graph {
    /// Reads the object; `roots` are the symbols that linking started from.
    pub(super) fn read(data: &[u8], roots: &[String]) -> Result<Self> {
        let file = object::File::parse(data)?;
        let mut nodes = Vec::new();
        let mut of_section: HashMap<SectionIndex, usize> = HashMap::new();
        for section in file.sections() {
            let name = section.name()?;
            let code = name.starts_with(".text");
            if !(code || name.starts_with(".rodata") || name.starts_with(".data")) {
                continue;
            }
            of_section.insert(section.index(), nodes.len());
            let (name, size) = (name.to_owned(), section.size());
            nodes.push(Node { name, ours: false, code, size, uses: Vec::new() });
        }
        let mut undefined: BTreeMap<String, usize> = BTreeMap::new();
        for symbol in file.symbols() {
            let name = symbol.name()?;
            if let Some(&node) = symbol.section_index().and_then(|index| of_section.get(&index)) {
                if matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data) {
                    nodes[node].name = plain(name);
                    nodes[node].ours = roots.binary_search_by(|root| (**root).cmp(name)).is_ok();
                }
            } else if symbol.is_undefined() && !name.is_empty() {
                undefined.insert(name.to_owned(), nodes.len());
                nodes.push(Node {
                    name: plain(name),
                    ours: false,
                    code: false,
                    size: 0,
                    uses: Vec::new(),
                });
            }
        }
        for section in file.sections() {
            let Some(&from) = of_section.get(&section.index()) else { continue };
            for (_, relocation) in section.relocations() {
                let RelocationTarget::Symbol(index) = relocation.target() else { continue };
                let symbol = file.symbol_by_index(index)?;
                let to = match symbol.section_index() {
                    Some(section) => of_section.get(&section).copied(),
                    None => undefined.get(symbol.name()?).copied(),
                };
                nodes[from].uses.extend(to);
            }
        }
        Ok(Self { nodes, roots: roots.len() })
    }

    /// How many functions linking started from.
    pub(super) fn roots(&self) -> usize {
        self.roots
    }

    pub(super) fn sizes(&self) -> Sizes {
        let mut sizes = Sizes { ours: 0, core: 0, constants: 0 };
        for node in &self.nodes {
            match (node.code, node.ours) {
                (true, true) => sizes.ours += node.size,
                (true, false) => sizes.core += node.size,
                (false, _) => sizes.constants += node.size,
            }
        }
        sizes
    }

    /// The shortest chain of calls from each function of ours that reaches the panic machinery,
    /// but for those that reach it only through another one of ours. One chain per panic symbol
    /// when there is such a symbol and nothing of ours seems to lead to it.
    pub(super) fn panics(&self) -> Vec<Vec<String>> {
        let next = self.next_towards_panic();
        let mut chains = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(step) = next[index] else { continue };
            if node.ours && step.is_some_and(|to| !self.nodes[to].ours) {
                chains.push(self.chain(index, &next));
            }
        }
        if chains.is_empty() {
            let left = self.nodes.iter().filter(|node| is_panic(&node.name));
            chains.extend(left.map(|node| vec![node.name.clone()]));
        }
        chains
    }

    /// For each node: `None` when no panic can be reached from it, else the next step of the
    /// shortest way there (`Some(None)`: it is part of the panic machinery).
    fn next_towards_panic(&self) -> Vec<Option<Option<usize>>> {
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (user, node) in self.nodes.iter().enumerate() {
            for &used in &node.uses {
                users[used].push(user);
            }
        }
        let mut next = vec![None; self.nodes.len()];
        let mut queue = VecDeque::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if is_panic(&node.name) {
                next[index] = Some(None);
                queue.push_back(index);
            }
        }
        while let Some(index) = queue.pop_front() {
            for &user in &users[index] {
                if next[user].is_none() {
                    next[user] = Some(Some(index));
                    queue.push_back(user);
                }
            }
        }
        next
    }

    fn chain(&self, from: usize, next: &[Option<Option<usize>>]) -> Vec<String> {
        let mut names = vec![self.nodes[from].name.clone()];
        let mut at = from;
        while let Some(Some(to)) = next[at] {
            names.push(self.nodes[to].name.clone());
            at = to;
        }
        names
    }
}

fn is_panic(plain: &str) -> bool {
    PANIC.iter().any(|part| plain.contains(part))
}

#[cfg(test)]
mod tests {
    use super::{Graph, Node, is_panic};

    fn node(name: &str, ours: bool, uses: &[usize]) -> Node {
        Node { name: name.to_owned(), ours, code: true, size: 8, uses: uses.to_vec() }
    }

    #[test]
    fn the_chain_starts_at_the_function_that_leaves_our_code() {
        let nodes = vec![
            node("outer", true, &[1]),
            node("inner", true, &[2]),
            node("core::slice::index::helper", false, &[3]),
            node("core::panicking::panic_fmt", false, &[]),
            node("clean", true, &[]),
        ];
        let chains = Graph { nodes, roots: 3 }.panics();
        assert_eq!(chains, [["inner", "core::slice::index::helper", "core::panicking::panic_fmt"]]);
    }

    #[test]
    fn a_panic_symbol_that_nothing_of_ours_leads_to_is_still_reported() {
        let nodes = vec![node("clean", true, &[]), node("core::panicking::panic", false, &[])];
        assert_eq!(Graph { nodes, roots: 1 }.panics(), [["core::panicking::panic"]]);
    }

    #[test]
    fn panic_symbols_are_known_by_name() {
        assert!(is_panic("core::panicking::panic_bounds_check"));
        assert!(is_panic("core::slice::index::slice_index_fail"));
        assert!(is_panic("core::option::expect_failed"));
        assert!(!is_panic("alua_core::access::AccessState::bits"));
    }
}

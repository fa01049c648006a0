//! Storage of fixed size: places that are named by key, and chains through them.

/// Names an entry of a [`Table`], until the entry is removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    place: u32,
    generation: u32,
}

impl Key {
    pub(crate) const fn place(self) -> usize {
        self.place as usize
    }

    /// The key as one number, for a shell to carry through a transport.
    pub(crate) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.place as u64
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self { place: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// Entries in a fixed number of places, allocated once.
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

impl<T> Table<T> {
    /// A table of `places` places.
    pub(crate) fn new(places: u32) -> Self {
        let slots = (0..places).map(|_| Slot { generation: 0, entry: None }).collect();
        Self { slots, free: (0..places).rev().collect() }
    }

    /// Puts an entry into a free place; `None` where there is none.
    pub(crate) fn insert(&mut self, entry: T) -> Option<Key> {
        let place = self.free.pop()?;
        let slot = &mut self.slots[place as usize];
        debug_assert!(slot.entry.is_none());
        slot.entry = Some(entry);
        Some(Key { place, generation: slot.generation })
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot =
            self.slots.get_mut(key.place()).filter(|slot| slot.generation == key.generation)?;
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.place);
        Some(entry)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.place()).filter(|slot| slot.generation == key.generation)?;
        slot.entry.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot =
            self.slots.get_mut(key.place()).filter(|slot| slot.generation == key.generation)?;
        slot.entry.as_mut()
    }

    /// The key of the entry in a place.
    pub(crate) fn key_at(&self, place: usize) -> Option<Key> {
        let slot = self.slots.get(place).filter(|slot| slot.entry.is_some())?;
        Some(Key { place: place as u32, generation: slot.generation })
    }

    /// Every entry, in the order of places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().zip(0..).filter_map(|(slot, place)| {
            slot.entry.as_ref().map(|it| (Key { place, generation: slot.generation }, it))
        })
    }

    pub(crate) const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) const fn has_room(&self) -> bool {
        !self.free.is_empty()
    }
}

const NONE: u32 = u32::MAX;

/// The links of chains through the places of one table. A place is in at most one chain of the same
/// links at a time.
#[derive(Debug)]
pub(crate) struct Links(Vec<(u32, u32)>);

impl Links {
    pub(crate) fn new(places: u32) -> Self {
        Self(vec![(NONE, NONE); places as usize])
    }
}

/// A chain of places, first in first out, with removal anywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    head: u32,
    tail: u32,
    length: u32,
}

impl Chain {
    pub(crate) const EMPTY: Self = Self { head: NONE, tail: NONE, length: 0 };

    pub(crate) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) const fn len(&self) -> u32 {
        self.length
    }

    pub(crate) const fn first(&self) -> Option<usize> {
        if self.head == NONE { None } else { Some(self.head as usize) }
    }

    /// The place behind `place`, which is in the chain.
    pub(crate) fn next(links: &Links, place: usize) -> Option<usize> {
        let next = links.0[place].1;
        (next != NONE).then_some(next as usize)
    }

    pub(crate) fn push(&mut self, links: &mut Links, place: usize) {
        links.0[place] = (self.tail, NONE);
        if self.tail == NONE {
            self.head = place as u32;
        } else {
            links.0[self.tail as usize].1 = place as u32;
        }
        self.tail = place as u32;
        self.length += 1;
    }

    pub(crate) fn push_front(&mut self, links: &mut Links, place: usize) {
        links.0[place] = (NONE, self.head);
        if self.head == NONE {
            self.tail = place as u32;
        } else {
            links.0[self.head as usize].0 = place as u32;
        }
        self.head = place as u32;
        self.length += 1;
    }

    /// Puts `place` behind `before`, which is in the chain; at the front without it.
    pub(crate) fn insert_behind(&mut self, links: &mut Links, before: Option<usize>, place: usize) {
        let Some(before) = before else { return self.push_front(links, place) };
        let after = links.0[before].1;
        if after == NONE {
            return self.push(links, place);
        }
        links.0[place] = (before as u32, after);
        links.0[before].1 = place as u32;
        links.0[after as usize].0 = place as u32;
        self.length += 1;
    }

    /// Takes `place`, which is in the chain, out of it.
    pub(crate) fn remove(&mut self, links: &mut Links, place: usize) {
        let (before, after) = links.0[place];
        if before == NONE {
            self.head = after;
        } else {
            links.0[before as usize].1 = after;
        }
        if after == NONE {
            self.tail = before;
        } else {
            links.0[after as usize].0 = before;
        }
        links.0[place] = (NONE, NONE);
        self.length -= 1;
    }

    /// From the last to the first.
    pub(crate) fn iter_back<'a>(&self, links: &'a Links) -> impl Iterator<Item = usize> + use<'a> {
        let some = |place: u32| (place != NONE).then_some(place as usize);
        std::iter::successors(some(self.tail), move |&place| some(links.0[place].0))
    }

    pub(crate) fn iter<'a>(&self, links: &'a Links) -> impl Iterator<Item = usize> + use<'a> {
        std::iter::successors(self.first(), move |&place| Self::next(links, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_one_entry_only() {
        let mut table = Table::new(1);
        let first = table.insert('a').unwrap();
        assert_eq!(table.insert('b'), None);
        assert_eq!(table.remove(first), Some('a'));
        let second = table.insert('c').unwrap();
        assert_eq!((table.get(first), table.get(second)), (None, Some(&'c')));
        assert_eq!(Key::from_bits(second.to_bits()), second);
        assert!(!table.has_room());
    }

    #[test]
    fn a_chain_keeps_its_order_when_places_leave_it() {
        let mut links = Links::new(5);
        let mut chain = Chain::EMPTY;
        for place in [3, 0, 4, 1] {
            chain.push(&mut links, place);
        }
        chain.remove(&mut links, 0);
        assert_eq!(chain.iter(&links).collect::<Vec<_>>(), [3, 4, 1]);
        chain.remove(&mut links, 3);
        chain.remove(&mut links, 1);
        chain.push(&mut links, 3);
        assert_eq!(chain.iter(&links).collect::<Vec<_>>(), [4, 3]);
        assert_eq!((chain.len(), chain.first()), (2, Some(4)));
        chain.push_front(&mut links, 2);
        assert_eq!(chain.iter(&links).collect::<Vec<_>>(), [2, 4, 3]);
        chain.insert_behind(&mut links, Some(2), 0);
        assert_eq!(chain.iter_back(&links).collect::<Vec<_>>(), [3, 4, 0, 2]);
    }
}

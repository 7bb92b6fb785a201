//! Writes BTF: a header, the types one after another, and their strings.

use std::collections::HashMap;

/// `BTF_KIND_*`.
#[derive(Clone, Copy)]
enum Kind {
    Int = 1,
    Ptr = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Fwd = 7,
    Typedef = 8,
    FuncProto = 13,
}

/// A struct's or union's member.
pub(crate) struct Member {
    /// Empty if the member has no name.
    pub(crate) name: String,
    /// The id of its type.
    pub(crate) id: u32,
    /// Its offset, in bits.
    pub(crate) bit: u32,
    /// The number of its bits if it is a bit field; 0 otherwise.
    pub(crate) bits: u32,
}

/// Unfinished BTF. A type gets its id when it is added; 0 is `void`. Equal types are written once, and have the same
/// id.
#[derive(Default)]
pub(crate) struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    ids: HashMap<Vec<u32>, u32>,
    places: HashMap<String, u32>,
}

impl Writer {
    pub(crate) fn int(&mut self, name: &str, size: u32, encoding: u32) -> u32 {
        self.add(Kind::Int, false, name, 0, size, &[encoding])
    }

    pub(crate) fn pointer(&mut self, to: u32) -> u32 {
        self.add(Kind::Ptr, false, "", 0, to, &[])
    }

    pub(crate) fn array(&mut self, element: u32, index: u32, count: u32) -> u32 {
        self.add(Kind::Array, false, "", 0, 0, &[element, index, count])
    }

    pub(crate) fn structure(&mut self, name: &str, size: u32, members: &[Member]) -> u32 {
        self.composite(Kind::Struct, name, size, members)
    }

    pub(crate) fn union(&mut self, name: &str, size: u32, members: &[Member]) -> u32 {
        self.composite(Kind::Union, name, size, members)
    }

    /// Adds an enumeration. The values of a signed enumeration are those of an `i32`.
    pub(crate) fn enumeration(
        &mut self,
        name: &str,
        size: u32,
        is_signed: bool,
        values: &[(String, u32)],
    ) -> u32 {
        let rest: Vec<u32> = values.iter().flat_map(|(name, value)| [self.string(name), *value]).collect();
        self.add(Kind::Enum, is_signed, name, values.len(), size, &rest)
    }

    /// Adds a struct that is declared and not defined.
    pub(crate) fn forward(&mut self, name: &str) -> u32 {
        self.add(Kind::Fwd, false, name, 0, 0, &[])
    }

    pub(crate) fn typedef(&mut self, name: &str, of: u32) -> u32 {
        self.add(Kind::Typedef, false, name, 0, of, &[])
    }

    /// Adds a function's type. Its parameters have no names.
    pub(crate) fn prototype(&mut self, returned: u32, parameters: &[u32]) -> u32 {
        let rest: Vec<u32> = parameters.iter().flat_map(|&id| [0, id]).collect();
        self.add(Kind::FuncProto, false, "", parameters.len(), returned, &rest)
    }

    /// The finished file.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        const MAGIC_AND_VERSION: u32 = 0x0001_eb9f;
        const HEADER_LEN: u32 = 24;
        self.string("");
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let header = [MAGIC_AND_VERSION, HEADER_LEN, 0, types, types, strings];
        let mut file: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).collect();
        file.extend(self.types);
        file.extend(self.strings);
        file
    }

    fn composite(&mut self, kind: Kind, name: &str, size: u32, members: &[Member]) -> u32 {
        let has_bit_fields = members.iter().any(|member| member.bits > 0);
        let rest: Vec<u32> = members
            .iter()
            .flat_map(|member| [self.string(&member.name), member.id, member.bits << 24 | member.bit])
            .collect();
        self.add(kind, has_bit_fields, name, members.len(), size, &rest)
    }

    fn add(
        &mut self,
        kind: Kind,
        flag: bool,
        name: &str,
        count: usize,
        size_or_type: u32,
        rest: &[u32],
    ) -> u32 {
        let info = u32::from(flag) << 31 | (kind as u32) << 24 | count as u32;
        let mut record = vec![self.string(name), info, size_or_type];
        record.extend(rest);
        let next = self.ids.len() as u32 + 1;
        let types = &mut self.types;
        *self.ids.entry(record).or_insert_with_key(|record| {
            types.extend(record.iter().flat_map(|word| word.to_le_bytes()));
            next
        })
    }

    /// The offset of a string among the strings. The first string is empty.
    fn string(&mut self, text: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if text.is_empty() {
            return 0;
        }
        let strings = &mut self.strings;
        *self.places.entry(text.to_owned()).or_insert_with(|| {
            let place = strings.len() as u32;
            strings.extend(text.as_bytes());
            strings.push(0);
            place
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `bpftool btf dump` reads these bytes as `[1] INT 'int' size=4 encoding=SIGNED`, `[2] STRUCT 's' size=8 vlen=2`
    /// with `'a' type_id=1 bits_offset=0` and `'int' type_id=1 bits_offset=35 bitfield_size=2`, `[3] PTR type_id=2`.
    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut writer = Writer::default();
        let int = writer.int("int", 4, 0x0100_0020);
        let member = |name: &str, bit, bits| Member { name: name.to_owned(), id: int, bit, bits };
        let structure = writer.structure("s", 8, &[member("a", 0, 0), member("int", 35, 2)]);
        let pointer = writer.pointer(structure);
        assert_eq!((int, structure, pointer), (1, 2, 3));
        assert_eq!(writer.int("int", 4, 0x0100_0020), 1, "equal types are one");
        #[rustfmt::skip]
        let words = [
            0x0001_eb9f, 24, 0, 64, 64, 9,
            1, 0x0100_0000, 4, 0x0100_0020,
            7, 0x8400_0002, 8, 5, 1, 0, 1, 1, 0x0200_0023,
            0, 0x0200_0000, 2,
        ];
        let mut expected: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        expected.extend(b"\0int\0a\0s\0");
        assert_eq!(writer.finish(), expected);
    }

    #[test]
    fn an_empty_btf_still_has_the_empty_string() {
        let file = Writer::default().finish();
        assert_eq!((file.len(), file.last()), (25, Some(&0)));
    }
}
